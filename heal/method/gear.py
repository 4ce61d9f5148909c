"""GEAR's first half: find where the teacher's failed reasoning breaks, and decide where to cut. No model is needed.

Pure functions from graded traces to cuts; heal.pipeline.repair continues from the cuts with a hint. The search range
and the step back are reported in the paper; entropy, surge and every threshold are ours. The breakpoint is found by a
detector (heal/method/detectors).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors import make_detector
from heal.method.detectors.base import StepChecker, WrongTrace
from heal.method.entropy import aggregate_steps, compute_surges
from heal.method.steps import split
from heal.records import Row

Pieces = Callable[[Row], Sequence[str]]
"""A trace's tokens as text, one string per token."""


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
    pieces: Pieces,
    gear: Gear,
    seed: int,
    first_wrong_step: StepChecker | None = None,
) -> list[Cut]:
    """Every cut of the run, in the order of problems and samples. Raises HealError for an unknown detector."""
    correct, chosen = select_sources(problems, samples, grades, gear)
    detector = make_detector(gear.detector)
    traces = measure_traces(chosen, correct, pieces, gear)
    breakpoints = detector.find(traces, gear, seed, first_wrong_step)
    bounded = any(row["entropies_upper"] is not None for row in samples)
    upper_breakpoints = breakpoints
    if bounded:
        upper_correct = list(map(use_upper_bounds, correct))
        upper_chosen = [(problem, use_upper_bounds(row)) for problem, row in chosen]
        upper_traces = measure_traces(upper_chosen, upper_correct, pieces, gear)
        upper_breakpoints = detector.find(upper_traces, gear, seed, first_wrong_step)
    cuts = []
    for trace, k, upper_k in zip(traces, breakpoints, upper_breakpoints, strict=True):
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
    chosen: Sequence[tuple[Row, Row]], correct: Sequence[Row], pieces: Pieces, gear: Gear
) -> list[WrongTrace]:
    """The (problem, wrong sample) pairs with step entropies and surges; `correct` gives the first step's baseline."""
    baseline = compute_first_step_entropy(correct, pieces, gear)
    traces = []
    for problem, row in chosen:
        traces.append(measure_trace(row, problem["question"], pieces(row), gear, baseline))
    return traces


def measure_trace(row: Row, question: str, pieces: Sequence[str], gear: Gear, first_step_baseline: float) -> WrongTrace:
    """Splits a trace into steps and computes their entropies and surges, in nats."""
    steps = split(pieces, gear.min_step_tokens)
    entropies_K = aggregate_steps(row["entropies"], steps, gear.statistic)
    return WrongTrace(row, question, steps, entropies_K, compute_surges(entropies_K, first_step_baseline))


def compute_first_step_entropy(rows: Sequence[Row], pieces: Pieces, gear: Gear) -> float:
    """Mean first-step entropy of the teacher's correct traces, in nats; 0 where it has none."""
    entropies = []
    for row in rows:
        steps = split(pieces(row), gear.min_step_tokens)
        if steps:
            entropies.append(aggregate_steps(row["entropies"], steps[:1], gear.statistic)[0])
    return float(np.mean(entropies)) if entropies else 0.0


def use_upper_bounds(row: Row) -> Row:
    """The trace with the upper bounds of its entropies, where the engine gives bounds."""
    return row if row["entropies_upper"] is None else row | {"entropies": row["entropies_upper"]}


def count_kept_steps(breakpoint: int, rewind: int) -> int:
    """Rewind 1 keeps steps 1 … k*−1 (reported: one back); 0 keeps the surging step too, 2 drops one more."""
    return max(0, breakpoint - rewind)


def has_leak(text: str, patterns: Sequence[str]) -> bool:
    """Whether a text speaks of the hint: one of the regular expressions matches, in any case."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
