"""Whether a teacher's traces can test HEAL at all: unsolved problems, and hints that help more than luck?

Reads problems, base samples, grades, answer-guided samples and repairs; writes premise.json (no times in it, so equal
traces give equal bytes). Tables say "premise absent: not a test of HEAL" where `holds` is false.

    python -m heal.pipeline.premise --problems problems/train.parquet --samples samples.parquet --grades grades.parquet \\
        --guided guided.parquet --repairs repairs/entropy_surge-….parquet --gear '{"max_pass_rate": 0.033}' \\
        --options '{"min_unsolved": 20}' --tests problems/hard.parquet --out premise.json

Hint uplift, the number in question. With a hint: distinct accepted repairs per 1,000 teacher tokens, all tokens of the
repairs file (rejected repairs and hints too). Without: distinct correct base samples per 1,000 teacher tokens. Treated
problems have next to no correct sample by selection, so the rate without a hint is measured where selection has not
looked: problems are selected on the first half of their samples, and counted on the second half. That set also holds
problems that the whole set of samples would not have selected: it is easier, so the uplift is rather under- than
overstated. A problem's prompt is counted once, as drawing more samples of it would. Beside it the same without tokens:
the share of the repairs that are accepted, less the share of those fresh samples that are correct.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from heal import records
from heal.config.experiment import Gear, Premise
from heal.errors import HealError, exit_with_errors
from heal.method.base import by_problem
from heal.method.gear import problems_to_treat
from heal.pipeline.runner import arguments_parser, read_options
from heal.provenance import recorded
from heal.records import Row, Usage

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


def share_of(verdicts: Iterable[bool]) -> float | None:
    """How many are true; None where there are none."""
    every = list(verdicts)
    return sum(every) / len(every) if every else None


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
        "share": share_of(grade[row["trace_id"]]["correct"] for row in measured),
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
        "share": share_of(row["accepted"] for row in here if row["trace_id"] is not None),
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
    options: Premise,
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
        "points": None if repaired["share"] is None else repaired["share"] - (without["share"] or 0.0),
        "pass_rate": share_of(row["correct"] for row in grades),
        "thresholds": options.model_dump(),
    }
    reasons = why_not(found, options)
    return found | {"holds": not reasons, "reasons": reasons}


def why_not(found: dict[str, Any], options: Premise) -> list[str]:
    """The premises that fail, in words; [] where the traces can test HEAL."""
    reasons = []
    if found["unsolved"] < options.min_unsolved:
        reasons.append(f"{found['unsolved']} unsolved problems, fewer than {options.min_unsolved}")
    least, most = options.min_pass_rate, options.max_pass_rate
    if found["pass_rate"] is not None and not least <= found["pass_rate"] <= most:
        reasons.append(f"the teacher's pass rate is {found['pass_rate']:.1%}, not between {least:.0%} and {most:.0%}")
    share = found["repairs"]["share_of_treated"]
    if share is None:
        reasons.append("no problem is treated")
    elif share < options.min_repaired:
        reasons.append(f"{share:.1%} of the treated problems have an accepted repair")
    with_hint, luck = found["repairs"]["per_1000_tokens"], found["resampling"]["per_1000_tokens"] or 0.0
    if with_hint is None:
        reasons.append("no hint uplift: no repair was tried")
    elif with_hint <= options.min_uplift * luck:
        told = f"{with_hint:.3f} accepted repairs per 1,000 teacher tokens, {luck:.3f} correct samples"
        reasons.append(f"no hint uplift: {told}")
    if found["points"] is not None and found["points"] < options.min_margin:
        told = f"{100 * found['points']:.1f} points more of the repairs are accepted than of fresh samples correct"
        reasons.append(f"{told}, fewer than {100 * options.min_margin:.1f}")
    return reasons


def check(problems: Sequence[Row], samples: Sequence[Row], grades: Sequence[Row]) -> None:
    known, graded = {row["problem_id"] for row in problems}, {row["trace_id"] for row in grades}
    for number, row in enumerate(samples, 1):
        if row["problem_id"] not in known or row["trace_id"] not in graded:
            missing = "grade" if row["problem_id"] in known else "problem"
            raise HealError(
                f"sample {row['trace_id']} has no {missing}",
                where=f"samples, row {number}",
                fix="give problems, samples and grades of the same run",
            )


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "samples", "grades", "guided", "repairs")
    parser.add_argument("--gear", default="{}", help="GEAR's options as JSON: which problems are treated")
    parser.add_argument(
        "--tests", nargs="*", default=[], help="problems files of the benchmarks, for what they can show"
    )
    arguments = parser.parse_args()
    gear, options = read_options(Gear, arguments.gear, "--gear"), read_options(Premise, arguments.options)
    tables = {name: records.read(getattr(arguments, name), name) for name in ("problems", "samples", "grades")}
    tables |= {name: records.read(getattr(arguments, name), name) for name in ("guided", "repairs")}
    with recorded(arguments.out, "heal.pipeline.premise", options=vars(arguments)):
        usages = {name: records.usage(getattr(arguments, name)) for name in ("samples", "guided", "repairs")}
        found = premise(**tables, gear=gear, usages=usages, options=options)
        sizes = {Path(path).stem: len(records.read(path, "problems")) for path in arguments.tests}
        found["tests"] = {
            name: {"questions": size, "detectable_difference": detectable(size)} for name, size in sorted(sizes.items())
        }
        records.write_json(arguments.out, found)


if __name__ == "__main__":
    exit_with_errors(main)
