"""Decide whether a teacher's traces can test HEAL at all: unsolved problems, and hints that help more than luck.

Reads problems, base samples, grades, answer-guided samples, greedy samples and repairs; writes premise.json (no times
in it, so equal traces give equal bytes). Tables say "premise absent: not a test of HEAL" where `holds` is false.

    heal premise --config config/config.yaml --problems problems/train.parquet --samples samples.parquet \\
        --grades grades.parquet --guided guided.parquet --greedy shards/greedy/0.parquet \\
        --repairs repairs/default.parquet --tests problems/hard.parquet --out premise.json

Hint uplift, the number in question. With a hint: distinct accepted repairs per 1,000 teacher tokens, all tokens of the
repairs file (rejected repairs and hints too). Without: distinct correct base samples per 1,000 teacher tokens. Treated
problems have next to no correct sample by selection, so the rate without a hint is measured on samples that the
selection does not use: problems are selected on the first half of their samples, and counted on the second half. That
set also holds problems that the whole set of samples would not have selected: it is easier, so the uplift is
underestimated rather than overestimated. A problem's prompt is counted once, as for further samples of it. The margin
is the same without tokens: the share of the repairs that are accepted minus the share of those fresh samples that are
correct.

`ceiling`: how many of the treated problems the teacher solves otherwise: greedily, and by the majority of their base
samples. Problems are treated because next to none of these samples is correct, so their majority is low by selection;
`resampling.majority` is that of the fresh samples. Above `max_greedy` the ceiling is one of sampling, not of what the
teacher knows (`of_sampling`), and the tables say so.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from heal import records
from heal.command import Command, Section
from heal.config.experiment import Gear
from heal.config.experiment import Premise as PremiseOptions
from heal.errors import HealError
from heal.method.base import group_by_problem
from heal.method.gear import select_treated_problems
from heal.provenance import record_run
from heal.records import Row, Usage

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

Z_95, Z_POWER_80 = 1.959964, 0.841621
"""Normal quantiles: two-sided 5 %, power 80 %."""


class Premise(Command):
    problems: Path
    """The problems file."""
    samples: Path
    """The teacher's base samples."""
    grades: Path
    """Their grades."""
    guided: Path
    """The answer-guided samples."""
    greedy: list[Path] = []
    """The greedy samples of the treated problems (once per shard)."""
    repairs: Path
    """The repairs of the run's own GEAR."""
    tests: list[Path] = []
    """Problems files of the benchmarks, for the difference they can detect (once per file)."""
    gear: Annotated[Gear, Section("gear")] = Gear()
    """GEAR: which problems are treated."""
    thresholds: Annotated[PremiseOptions, Section("premise")] = PremiseOptions()
    """What the premise asks for."""
    out: Path
    """The json file to write."""

    def run(self) -> None:
        with record_run(self.out, "premise", VERSION, {"options": self.describe_options()}):
            usages = {}
            for name, path in (("samples", self.samples), ("guided", self.guided), ("repairs", self.repairs)):
                usages[name] = records.read_usage(path)
            premise = check_premise(
                records.read(self.problems, "problems"),
                records.read(self.samples, "samples"),
                records.read(self.grades, "grades"),
                records.read(self.guided, "guided"),
                [row for path in self.greedy for row in records.read(path, "guided")],
                records.read(self.repairs, "repairs"),
                self.gear,
                usages,
                self.thresholds,
            )
            tests = {}
            for path in sorted(self.tests, key=lambda path: path.stem):
                questions = len(records.read(path, "problems"))
                detectable = compute_detectable_difference(questions)
                tests[path.stem] = {"questions": questions, "detectable_difference": detectable}
            records.write_json(self.out, premise | {"tests": tests})
            print("premise: " + ("present" if premise["holds"] else f"absent: {'; '.join(premise['reasons'])}"))


def check_premise(
    problems: Sequence[Row],
    samples: Sequence[Row],
    grades: Sequence[Row],
    guided: Sequence[Row],
    greedy: Sequence[Row],
    repairs: Sequence[Row],
    gear: Gear,
    usages: dict[str, Usage],
    thresholds: PremiseOptions,
) -> dict[str, Any]:
    """The content of premise.json. Raises HealError where a sample has no grade or is of no known problem."""
    check_completeness(problems, samples, grades)
    treated, suspect = select_treated_problems(grades, gear.max_pass_rate, gear.max_wrong_agreement)
    unsolved = 0
    for rows in group_by_problem(grades).values():
        unsolved += not any(row["correct"] for row in rows)
    sampled = len(group_by_problem(samples))
    prompt_tokens = usages["samples"].get("prefill", 0) / sampled if sampled else 0.0
    resampling = measure_resampling(samples, grades, prompt_tokens, gear)
    repaired = measure_hinted(repairs, usages["repairs"], set(treated))
    with_hint, without_hint = repaired["per_1000_tokens"], resampling["per_1000_tokens"]
    known = with_hint is not None and without_hint is not None
    premise = {
        "problems": len(problems),
        "pass_rates": count_pass_rates(grades),
        "unsolved": unsolved,
        "treated": len(treated),
        "suspect": sorted(suspect),
        "repairs": repaired,
        "guided": measure_hinted(guided, usages["guided"], set(treated)),
        "resampling": resampling,
        "ceiling": measure_ceiling(grades, greedy, set(treated), thresholds.max_greedy),
        "uplift": with_hint / without_hint if with_hint is not None and without_hint else None,
        "uplift_per_1000_tokens": with_hint - without_hint if known else None,
        "margin": None if repaired["share"] is None else repaired["share"] - (resampling["share"] or 0.0),
        "pass_rate": compute_share(row["correct"] for row in grades),
        "thresholds": thresholds.model_dump(),
    }
    reasons = list_failures(premise, thresholds)
    return premise | {"holds": not reasons, "reasons": reasons}


def check_completeness(problems: Sequence[Row], samples: Sequence[Row], grades: Sequence[Row]) -> None:
    """Raises HealError for a sample without its problem or its grade."""
    problem_ids = {row["problem_id"] for row in problems}
    graded_ids = {row["trace_id"] for row in grades}
    for number, row in enumerate(samples, 1):
        if row["problem_id"] not in problem_ids or row["trace_id"] not in graded_ids:
            missing = "grade" if row["problem_id"] in problem_ids else "problem"
            raise HealError(
                f"sample {row['trace_id']} has no {missing}",
                where=f"samples, row {number}",
                fix="give problems, samples and grades of the same run",
            )


def count_pass_rates(grades: Sequence[Row]) -> list[dict[str, int]]:
    """How many problems have c correct of their N base samples, by N and c."""
    counts: Counter[tuple[int, int]] = Counter()
    for rows in group_by_problem(grades).values():
        counts[len(rows), sum(row["correct"] for row in rows)] += 1
    return [{"samples": n, "correct": c, "problems": counts[n, c]} for n, c in sorted(counts)]


def count_distinct_texts(rows: Iterable[Row]) -> int:
    """Different texts per problem; only their hashes are kept."""
    return len({(row["problem_id"], hashlib.sha256(row["text"].encode()).digest()) for row in rows})


def compute_rate(successes: int, tokens: float) -> float | None:
    """Successes per 1,000 tokens; None where there are no tokens."""
    return 1000 * successes / tokens if tokens else None


def compute_share(verdicts: Iterable[bool]) -> float | None:
    """Share of true verdicts; None where there are none."""
    values = list(verdicts)
    return sum(values) / len(values) if values else None


def measure_ceiling(
    grades: Sequence[Row], greedy: Sequence[Row], treated: set[str], max_greedy: float
) -> dict[str, Any]:
    """How many of the treated problems greedy decoding solves, and the majority of their base samples."""
    share = compute_share(row["accepted"] for row in greedy if row["problem_id"] in treated)
    return {
        "greedy": share,
        "majority": compute_majority_share(row for row in grades if row["problem_id"] in treated),
        "of_sampling": share is not None and share > max_greedy,
    }


def compute_majority_share(grades: Iterable[Row]) -> float | None:
    """Share of problems whose most frequent answer is right, ties broken at random; None without problems.

    Right answers are one class however they are written; a sample without an answer casts no vote.
    """
    chances = []
    for rows in group_by_problem(grades).values():
        right = sum(row["correct"] for row in rows)
        wrong = Counter(row["extracted"] for row in rows if not row["correct"] and row["extracted"] is not None)
        most = max([right, *wrong.values()])
        ties = sum(count == most for count in wrong.values())
        chances.append(1 / (1 + ties) if right and right == most else 0.0)
    return sum(chances) / len(chances) if chances else None


def split_samples(samples: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The first and second half of each problem's samples, by index."""
    first: list[Row] = []
    second: list[Row] = []
    for rows in group_by_problem(samples).values():
        ordered = sorted(rows, key=lambda row: row["index"])
        first += ordered[: len(ordered) // 2]
        second += ordered[len(ordered) // 2 :]
    return first, second


def measure_resampling(
    samples: Sequence[Row], grades: Sequence[Row], prompt_tokens: float, gear: Gear
) -> dict[str, Any]:
    """Correct samples per 1,000 tokens on the second half, of problems that the first half selects.

    prompt_tokens: mean tokens of a problem's prompt.
    """
    grade_by_id = {row["trace_id"]: row for row in grades}
    first, second = split_samples(samples)
    first_grades = [grade_by_id[row["trace_id"]] for row in first]
    selected = set(select_treated_problems(first_grades, gear.max_pass_rate, 1.0)[0])
    measured = [row for row in second if row["problem_id"] in selected]
    measured_grades = [grade_by_id[row["trace_id"]] for row in measured]
    correct = [row for row, grade in zip(measured, measured_grades, strict=True) if grade["correct"]]
    distinct = count_distinct_texts(correct)
    tokens = prompt_tokens * len(selected)
    for row in measured:
        tokens += len(row["token_ids"])
    return {
        "problems": len(selected),
        "correct": distinct,
        "share": len(correct) / len(measured) if measured else None,
        "majority": compute_majority_share(measured_grades),
        "tokens": round(tokens),
        "per_1000_tokens": compute_rate(distinct, tokens),
    }


def measure_hinted(rows: Sequence[Row], usage: Usage, treated: set[str]) -> dict[str, Any]:
    """Accepted traces of treated problems per 1,000 tokens.

    What the file spent on prompts and hints is shared evenly among its problems; the traces' own tokens are exact.
    """
    traces = [row for row in rows if row["problem_id"] in treated]
    accepted = [row for row in traces if row["accepted"]]
    problems = {row["problem_id"] for row in rows}
    share = len({row["problem_id"] for row in traces}) / len(problems) if problems else 0.0
    own_tokens, treated_tokens = 0, 0
    for row in rows:
        length = len(row["entropies"])
        own_tokens += length
        treated_tokens += length if row["problem_id"] in treated else 0
    overhead = usage.get("prefill", 0) + usage.get("generated", 0) - own_tokens
    tokens = overhead * share + treated_tokens
    distinct = count_distinct_texts(accepted)
    solved = {row["problem_id"] for row in accepted}
    return {
        "accepted": distinct,
        "share": compute_share(row["accepted"] for row in traces if row["trace_id"] is not None),
        "tokens": round(tokens),
        "per_1000_tokens": compute_rate(distinct, tokens),
        "problems": len(solved),
        "share_of_treated": len(solved) / len(treated) if treated else None,
    }


def compute_detectable_difference(questions: int) -> float | None:
    """Smallest difference between two accuracies near one half that this many questions show (5 %, power 80 %).

    Two independent proportions, one answer each: an upper bound, as methods answer the same questions. Training seeds
    are not in it; each table has the difference that it could have detected.
    """
    return round((Z_95 + Z_POWER_80) * math.sqrt(0.5 / questions), 4) if questions else None


def list_failures(premise: dict[str, Any], thresholds: PremiseOptions) -> list[str]:
    """The premises that fail, in words; [] where the traces can test HEAL."""
    reasons = []
    if premise["unsolved"] < thresholds.min_unsolved:
        reasons.append(f"{premise['unsolved']} unsolved problems, fewer than {thresholds.min_unsolved}")
    low, high, rate = thresholds.min_pass_rate, thresholds.max_pass_rate, premise["pass_rate"]
    if rate is not None and not low <= rate <= high:
        reasons.append(f"the teacher's pass rate is {rate:.1%}, not between {low:.0%} and {high:.0%}")
    share = premise["repairs"]["share_of_treated"]
    if share is None:
        reasons.append("no problem is treated")
    elif share < thresholds.min_repaired:
        reasons.append(f"{share:.1%} of the treated problems have an accepted repair")
    with_hint = premise["repairs"]["per_1000_tokens"]
    without_hint = premise["resampling"]["per_1000_tokens"] or 0.0
    if with_hint is None:
        reasons.append("no hint uplift: no repair was tried")
    elif with_hint <= thresholds.min_uplift * without_hint:
        rates = f"{with_hint:.3f} accepted repairs per 1,000 teacher tokens, {without_hint:.3f} correct samples"
        reasons.append(f"no hint uplift: {rates}")
    margin = premise["margin"]
    if margin is not None and margin < thresholds.min_margin:
        reasons.append(
            f"the acceptance of repairs exceeds the accuracy of fresh samples by {100 * margin:.1f} points, "
            f"less than {100 * thresholds.min_margin:.1f}"
        )
    return reasons
