"""Whether a teacher's traces can test HEAL at all: unsolved problems, and hints that help more than luck?

Reads problems, base samples, grades, answer-guided samples and repairs; writes premise.json (no times in it, so equal
traces give equal bytes). Tables say "premise absent: not a test of HEAL" where `holds` is false.

    python -m heal.premise --problems problems/train.parquet --samples samples.parquet --grades grades.parquet \\
        --guided guided.parquet --repairs repairs/entropy_surge-….parquet --options '{"max_pass_rate": 0.033}' \\
        --tests problems/hard.parquet --out premise.json

Hint uplift, the number in question. With a hint: distinct accepted repairs per 1,000 teacher tokens, all tokens of the
repairs file (rejected repairs and hints too). Without: distinct correct base samples per 1,000 teacher tokens. Treated
problems have next to no correct sample by selection, so the rate without a hint is measured where selection has not
looked: problems are selected on the first half of their samples, and counted on the second half. That set also holds
problems that the whole set of samples would not have selected: it is easier, so the uplift is rather under- than
overstated. A problem's prompt is counted once, as drawing more samples of it would.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from heal import records
from heal.config import Gear
from heal.errors import HealError, exit_with_errors
from heal.gear import problems_to_treat
from heal.methods import by_problem
from heal.provenance import recorded
from heal.records import Row, Usage
from heal.stage import arguments_parser, read_options

MIN_UNSOLVED = 20  # ours: fewer unsolved problems carry no stage III worth the name
MIN_UPLIFT = 1.0  # ours: a repair must be cheaper than a lucky sample
MIN_REPAIRED = 0.05  # ours: share of treated problems with an accepted repair
Z_95, Z_POWER_80 = 1.959964, 0.841621  # normal quantiles: two-sided 5 %, power 80 %


def histogram(grades: Sequence[Row]) -> list[dict[str, int]]:
    """How many problems have c correct of their N base samples, by N and c."""
    counts = Counter((len(rows), sum(row["correct"] for row in rows)) for rows in by_problem(grades).values())
    return [{"samples": n, "correct": c, "problems": counts[n, c]} for n, c in sorted(counts)]


def distinct_texts(rows: Iterable[Row]) -> int:
    return len({(row["problem_id"], row["text"]) for row in rows})


def rate(successes: int, tokens: float) -> float | None:
    """Successes per 1,000 tokens; None where no token was spent."""
    return 1000 * successes / tokens if tokens else None


def halves(samples: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The first and second half of each problem's samples, by index."""
    first, second = [], []
    for rows in by_problem(samples).values():
        ordered = sorted(rows, key=lambda row: row["index"])
        first += ordered[: len(ordered) // 2]
        second += ordered[len(ordered) // 2 :]
    return first, second


def resampling(samples: Sequence[Row], grades: Sequence[Row], prompt_tokens: float, gear: Gear) -> dict[str, Any]:
    """Correct samples per 1,000 tokens on the second half, where the first half says "treat"; prompts by problem."""
    grade = {row["trace_id"]: row for row in grades}
    first, second = halves(samples)
    chosen = set(problems_to_treat([grade[row["trace_id"]] for row in first], gear.max_pass_rate, 1.0)[0])
    measured = [row for row in second if row["problem_id"] in chosen]
    correct = distinct_texts(row for row in measured if grade[row["trace_id"]]["correct"])
    tokens = sum(len(row["token_ids"]) for row in measured) + prompt_tokens * len(chosen)
    return {
        "problems": len(chosen),
        "correct": correct,
        "tokens": round(tokens),
        "per_1000_tokens": rate(correct, tokens),
    }


def hinted(rows: Sequence[Row], usage: Usage, treated: set[str]) -> dict[str, Any]:
    """Accepted traces of treated problems per 1,000 tokens.

    What the file spent on prompts and hints is shared out evenly among its problems; the traces' own tokens are exact.
    """
    here = [row for row in rows if row["problem_id"] in treated]
    accepted = [row for row in here if row["accepted"]]
    problems = {row["problem_id"] for row in rows}
    share = len({row["problem_id"] for row in here}) / len(problems) if problems else 0.0
    shared = usage.get("prefill", 0) + usage.get("generated", 0) - sum(len(row["entropies"]) for row in rows)
    tokens = shared * share + sum(len(row["entropies"]) for row in here)
    solved = {row["problem_id"] for row in accepted}
    return {
        "accepted": distinct_texts(accepted),
        "tokens": round(tokens),
        "per_1000_tokens": rate(distinct_texts(accepted), tokens),
        "problems": len(solved),
        "share_of_treated": len(solved) / len(treated) if treated else None,
    }


def detectable(questions: int) -> float | None:
    """Smallest difference between two accuracies near one half that so many questions show (5 %, power 80 %).

    Two independent proportions, one answer each: an upper bound, as methods answer the same questions. Training seeds
    are not in it; the difference that a table could have seen stands in that table.
    """
    return round((Z_95 + Z_POWER_80) * math.sqrt(0.5 / questions), 4) if questions else None


def premise(
    problems: Sequence[Row],
    samples: Sequence[Row],
    grades: Sequence[Row],
    guided: Sequence[Row],
    repairs: Sequence[Row],
    gear: Gear,
    usages: dict[str, Usage],
) -> dict[str, Any]:
    """The content of premise.json. Raises HealError where a sample has no grade or is of no known problem."""
    check(problems, samples, grades)
    treated, suspect = problems_to_treat(grades, gear.max_pass_rate, gear.max_wrong_agreement)
    unsolved = [i for i, rows in by_problem(grades).items() if not any(row["correct"] for row in rows)]
    sampled = len(by_problem(samples))
    prompt_tokens = usages["samples"].get("prefill", 0) / sampled if sampled else 0.0
    without = resampling(samples, grades, prompt_tokens, gear)
    repaired = hinted(repairs, usages["repairs"], set(treated))
    with_hint, luck = repaired["per_1000_tokens"], without["per_1000_tokens"]
    uplift = with_hint / luck if with_hint is not None and luck else None
    found = {
        "problems": len(problems),
        "pass_rates": histogram(grades),
        "unsolved": len(unsolved),
        "treated": len(treated),
        "suspect": sorted(suspect),
        "repairs": repaired,
        "guided": hinted(guided, usages["guided"], set(treated)),
        "resampling": without,
        "uplift": uplift,
        "uplift_per_1000_tokens": None if with_hint is None or luck is None else with_hint - luck,
        "thresholds": {"unsolved": MIN_UNSOLVED, "uplift": MIN_UPLIFT, "share_of_treated": MIN_REPAIRED},
    }
    reasons = why_not(found)
    return found | {"holds": not reasons, "reasons": reasons}


def why_not(found: dict[str, Any]) -> list[str]:
    """The premises that fail, in words; [] where the traces can test HEAL."""
    reasons = []
    if found["unsolved"] < MIN_UNSOLVED:
        reasons.append(f"{found['unsolved']} unsolved problems, fewer than {MIN_UNSOLVED}")
    share = found["repairs"]["share_of_treated"]
    if share is None or share < MIN_REPAIRED:
        told = (
            "no problem is treated" if share is None else f"{share:.1%} of the treated problems have an accepted repair"
        )
        reasons.append(told)
    with_hint, luck = found["repairs"]["per_1000_tokens"], found["resampling"]["per_1000_tokens"]
    if with_hint is None or with_hint <= MIN_UPLIFT * (luck or 0.0):
        told = (
            "repairs cost no token"
            if with_hint is None
            else f"{with_hint:.3f} accepted repairs per 1,000 teacher tokens"
        )
        reasons.append(f"no hint uplift: {told}, {luck or 0.0:.3f} correct samples")
    return reasons


def check(problems: Sequence[Row], samples: Sequence[Row], grades: Sequence[Row]) -> None:
    known, graded = {row["problem_id"] for row in problems}, {row["trace_id"] for row in grades}
    for number, row in enumerate(samples, 1):
        if row["problem_id"] not in known or row["trace_id"] not in graded:
            missing = "grade" if row["problem_id"] in known else "problem"
            raise HealError(
                f"sample {row['trace_id']} has no {missing}",
                where=f"samples, row {number}",
                cure="give problems, samples and grades of the same run",
            )


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "samples", "grades", "guided", "repairs")
    parser.add_argument(
        "--tests", nargs="*", default=[], help="problems files of the benchmarks, for what they can show"
    )
    arguments = parser.parse_args()
    gear = read_options(Gear, arguments.options)
    tables = {name: records.read(getattr(arguments, name), name) for name in ("problems", "samples", "grades")}
    tables |= {name: records.read(getattr(arguments, name), name) for name in ("guided", "repairs")}
    with recorded(arguments.out, "heal.premise", options=vars(arguments)):
        usages = {name: records.usage(getattr(arguments, name)) for name in ("samples", "guided", "repairs")}
        found = premise(**tables, gear=gear, usages=usages)
        sizes = {Path(path).stem: len(records.read(path, "problems")) for path in arguments.tests}
        found["tests"] = {
            name: {"questions": size, "detectable_difference": detectable(size)} for name, size in sorted(sizes.items())
        }
        records.write_json(arguments.out, found)


if __name__ == "__main__":
    exit_with_errors(main)
