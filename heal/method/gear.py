"""GEAR's first half: find where the teacher's failed reasoning breaks, and decide where to cut. No model is needed.

Pure functions from graded traces to cuts; heal.pipeline.plan_cuts writes them, heal.pipeline.repair continues from them
with a hint. The search range and the step back are reported in the paper; entropy, surge and every threshold are ours.
The breakpoint is found by a detector (heal/method/detectors).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors import make_detector
from heal.method.detectors.base import StepChecker, WrongTrace
from heal.method.entropy import aggregate_steps, compute_surges
from heal.method.steps import OPENING_TOKENS, GetTexts, Step, count_opening_tokens, find_first_step, split
from heal.records import Row

ENTROPY_COLUMNS = ("entropies", "entropies_upper")
"""Columns of a sample: entropies or their lower bounds, and the upper bounds where the engine gives bounds."""


@dataclass(frozen=True)
class Cut:
    """Where a wrong trace is cut: breakpoint k*, from 1, None where the detector finds none; number of kept steps.

    certain: whether the upper bounds of the entropies have the same breakpoint; None where entropies are exact.
    """

    trace: WrongTrace
    breakpoint: int | None
    kept_steps: int
    certain: bool | None = None

    @property
    def kept_tokens(self) -> int:
        return self.trace.steps[self.kept_steps - 1].end if self.kept_steps else 0


def select_cuts(
    problems: Sequence[Row],
    samples: Sequence[Row],
    grades: Sequence[Row],
    get_texts: GetTexts,
    gear: Gear,
    seed: int,
    first_wrong_step: StepChecker | None = None,
) -> list[Cut]:
    """Every cut of the run, in the order of problems and samples. Raises HealError for an unknown detector."""
    detector = make_detector(gear.detector)
    correct, chosen = select_sources(problems, samples, grades, gear)
    bounded = any(row["entropies_upper"] is not None for _, row in chosen)
    breakpoints = []
    traces_by_column = measure_traces(chosen, correct, get_texts, gear, ENTROPY_COLUMNS[: 1 + bounded])
    for traces in traces_by_column:
        breakpoints.append(detector.find(traces, gear, seed, first_wrong_step))
    cuts = []  # where entropies are bounds, the lower ones decide
    for trace, k, upper_k in zip(traces_by_column[0], breakpoints[0], breakpoints[-1], strict=True):
        kept_steps = 0 if k is None else count_kept_steps(k, gear.rewind)
        cuts.append(Cut(trace, k, kept_steps, k == upper_k if bounded else None))
    return cuts


def select_sources(
    problems: Sequence[Row], samples: Sequence[Row], grades: Sequence[Row], gear: Gear
) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """The correct samples, and (problem, wrong sample) of each sample that is repaired."""
    correct_ids = {grade["trace_id"] for grade in grades if grade["correct"]}
    treated = set(select_treated_problems(grades, gear.max_pass_rate, gear.max_wrong_agreement)[0])
    correct: list[Row] = []
    wrong: dict[str, list[Row]] = {}
    for row in samples:
        if row["trace_id"] in correct_ids:
            correct.append(row)
        elif row["problem_id"] in treated:
            wrong.setdefault(row["problem_id"], []).append(row)
    chosen: list[tuple[Row, Row]] = []
    for problem in problems:
        for row in choose_traces(wrong.get(problem["problem_id"], []), gear):
            chosen.append((problem, row))
    return correct, chosen


def select_treated_problems(
    grades: Sequence[Row], max_pass_rate: float, max_wrong_agreement: float
) -> tuple[list[str], list[str]]:
    """(treated, suspect) problem ids among those with a pass rate of at most `max_pass_rate`.

    Suspect: the wrong answers agree more than `max_wrong_agreement`, so the gold answer may be wrong (ours).
    """
    grades_by_problem: dict[str, list[Row]] = {}
    for grade in grades:
        grades_by_problem.setdefault(grade["problem_id"], []).append(grade)
    treated: list[str] = []
    suspect: list[str] = []
    for problem_id, rows in grades_by_problem.items():
        answers = [row["extracted"] for row in rows if not row["correct"]]
        if len(rows) - len(answers) > max_pass_rate * len(rows) + 1e-9:
            continue
        if compute_wrong_agreement(answers) > max_wrong_agreement:
            suspect.append(problem_id)
        else:
            treated.append(problem_id)
    return treated, suspect


def compute_wrong_agreement(answers: Sequence[str | None]) -> float:
    """Share of the most frequent answer among wrong answers; 0 where none was extracted."""
    counts = Counter(answers)
    counts.pop(None, None)
    return max(counts.values()) / len(answers) if counts else 0.0


def choose_traces(rows: Sequence[Row], gear: Gear) -> list[Row]:
    """The wrong traces of one problem that are repaired, in the configured order; truncated ones only if so set."""
    candidates = []
    for row in rows:
        if len(row["token_ids"]) and (gear.repair_truncated or row["finish_reason"] == "stop"):
            candidates.append(row)

    def get_rank(row: Row) -> Any:
        if gear.order == "shortest":
            return len(row["token_ids"]), row["index"]
        if gear.order == "most_entropy":
            return -float(np.mean(row["entropies"])), row["index"]
        return row["index"]

    return sorted(candidates, key=get_rank)[: gear.traces_per_problem]


def measure_traces(
    chosen: Sequence[tuple[Row, Row]],
    correct: Sequence[Row],
    get_texts: GetTexts,
    gear: Gear,
    columns: Sequence[str] = ENTROPY_COLUMNS[:1],
) -> list[list[WrongTrace]]:
    """The (problem, wrong sample) pairs with step entropies and surges, once per column of entropies.

    `correct` gives the first step's baseline.
    """
    baselines = compute_first_step_entropies(correct, get_texts, gear, columns)
    traces_by_column: list[list[WrongTrace]] = [[] for _ in columns]
    for problem, row in chosen:
        steps = split(get_texts(row["token_ids"]), gear.min_step_tokens)
        for traces, column, baseline in zip(traces_by_column, columns, baselines, strict=True):
            traces.append(measure_steps(row, problem["question"], steps, gear, baseline, column))
    return traces_by_column


def measure_trace(row: Row, question: str, pieces: Sequence[str], gear: Gear, first_step_baseline: float) -> WrongTrace:
    """Splits a trace into steps and computes their entropies and surges, in nats."""
    return measure_steps(row, question, split(pieces, gear.min_step_tokens), gear, first_step_baseline)


def measure_steps(
    row: Row,
    question: str,
    steps: Sequence[Step],
    gear: Gear,
    first_step_baseline: float,
    column: str = ENTROPY_COLUMNS[0],
) -> WrongTrace:
    """A trace with the entropies and surges of its steps, in nats."""
    column = choose_column(row, column)
    entropies_K = aggregate_steps(row[column], steps, gear.statistic)
    return WrongTrace(row, question, steps, entropies_K, compute_surges(entropies_K, first_step_baseline), column)


def choose_column(row: Row, column: str) -> str:
    """The column of entropies, or the exact ones where the trace has no bounds."""
    return column if row[column] is not None else ENTROPY_COLUMNS[0]


def compute_first_step_entropies(
    rows: Sequence[Row], get_texts: GetTexts, gear: Gear, columns: Sequence[str]
) -> list[float]:
    """Mean first-step entropy of the teacher's correct traces, in nats, per column; 0 where it has none."""
    entropies: list[list[float]] = [[] for _ in columns]
    for row in rows:
        first = find_first_step(row["token_ids"], get_texts, gear.min_step_tokens)
        if first is None:
            continue
        for values, column in zip(entropies, columns, strict=True):
            values.append(aggregate_steps(row[choose_column(row, column)], [first], gear.statistic)[0])
    return [float(np.mean(values)) if values else 0.0 for values in entropies]


def list_kept_ids(cut: Cut, get_texts: GetTexts) -> list[int]:
    """The tokens before the cut; a trace that opened a thinking block keeps at least the opening."""
    ids = cut.trace.row["token_ids"]
    kept_ids = ids[: cut.kept_tokens or count_opening_tokens(get_texts(ids[:OPENING_TOKENS]))]
    return list(map(int, kept_ids))


def build_cut_row(cut: Cut, gear: Gear, get_texts: GetTexts) -> Row:
    """A row of the schema `cuts`: what is known before the teacher continues."""
    return {
        "problem_id": cut.trace.row["problem_id"],
        "source_id": cut.trace.row["trace_id"],
        "detector": gear.detector,
        "step_entropies": cut.trace.step_entropies_K,
        "surges": cut.trace.surges_K,
        "breakpoint": cut.breakpoint,
        "kept_steps": cut.kept_steps,
        "cut_certain": cut.certain,
        "kept_ids": list_kept_ids(cut, get_texts),
    }


def count_kept_steps(breakpoint: int, rewind: int) -> int:
    """Rewind 1 keeps steps 1 … k*−1 (reported: one back); 0 keeps the surging step too, 2 drops one more."""
    return max(0, breakpoint - rewind)


def has_leak(text: str, patterns: Sequence[str]) -> bool:
    """Whether a text speaks of the hint: one of the regular expressions matches, in any case."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
