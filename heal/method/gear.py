"""GEAR's first half: find where the teacher's failed reasoning breaks, and decide where to cut. No model is needed.

Pure functions from graded traces to cuts; `heal.pipeline.repair` goes on from there with a hint. The search range and the step
back are reported of the paper; entropy, surge and every threshold are ours.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heal.config.experiment import Gear
from heal.method.entropy import per_step, surges
from heal.method.steps import Step, split
from heal.records import Row, request_seed


@dataclass(frozen=True)
class WrongTrace:
    """A failed trace as the detectors see it; K steps, T tokens."""

    row: Row
    question: str
    steps: Sequence[Step]
    step_entropies_K: np.ndarray
    surges_K: np.ndarray


@dataclass(frozen=True)
class Cut:
    """Where a wrong trace is cut: breakpoint k* (from 1; None: nothing surges) and how many steps are kept.

    certain: whether the upper bounds of the entropies have the same breakpoint; None where entropies are exact.
    """

    trace: WrongTrace
    breakpoint: int | None
    kept_steps: int
    certain: bool | None = None

    @property
    def kept_tokens(self) -> int:
        return self.trace.steps[self.kept_steps - 1].end if self.kept_steps else 0


def search_window(steps: int, fraction: float) -> int:
    """The last candidate for k*: max(2, ceil(f·K)), at most K (reported: the first third; the floor of 2 is ours)."""
    return min(steps, max(2, math.ceil(fraction * steps - 1e-9)))


def breakpoint(scores_K: np.ndarray, fraction: float, minimum: float = -math.inf) -> int | None:
    """k* = argmax of the scores over 1 ≤ k ≤ max(2, ceil(f·K)), from 1; ties: the earliest; None below the minimum."""
    if len(scores_K) == 0:
        return None
    candidates = np.asarray(scores_K)[: search_window(len(scores_K), fraction)]
    best = int(np.argmax(candidates))
    return best + 1 if candidates[best] >= minimum else None


def kept_steps(breakpoint: int, rewind: int) -> int:
    """Rewind 1 keeps steps 1 … k*−1; 0 keeps the surging step too, 2 drops one more."""
    return max(0, breakpoint - rewind)


def wrong_agreement(answers: Sequence[str | None]) -> float:
    """Share of the most frequent answer among wrong answers; 0 where none was extracted."""
    given = [answer for answer in answers if answer is not None]
    return Counter(given).most_common(1)[0][1] / len(answers) if given else 0.0


def leaks(text: str, patterns: Sequence[str]) -> bool:
    """Whether a text speaks of the hint."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def window_level(trace: WrongTrace, tokens: int = 16) -> np.ndarray:
    """Per step, the largest mean entropy of `tokens` consecutive tokens that end in it.

    After DeepConf's lowest group confidence (arXiv 2508.15260), with entropy in place of the mean top-k log-prob.
    """
    entropies = np.asarray(trace.row["entropies"], dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(entropies)])
    ends = np.arange(1, len(total))
    means = (total[ends] - total[np.maximum(ends - tokens, 0)]) / np.minimum(ends, tokens)
    return per_step(means, trace.steps, "max")


def step_surprisal(trace: WrongTrace, statistic: str) -> np.ndarray:
    return per_step(-np.asarray(trace.row["logprobs"]), trace.steps, statistic)


SCORES: dict[str, Callable[[WrongTrace, Gear], np.ndarray]] = {
    "entropy_surge": lambda trace, gear: trace.surges_K,
    "entropy_level": lambda trace, gear: trace.step_entropies_K,
    "surprisal": lambda trace, gear: step_surprisal(trace, gear.statistic),
    "confidence_window": lambda trace, gear: window_level(trace),
    "shortest_step": lambda trace, gear: -np.array([step.end - step.start for step in trace.steps], dtype=float),
    "first_step": lambda trace, gear: -np.arange(len(trace.steps), dtype=float),
}


def find_breakpoints(
    traces: Sequence[WrongTrace],
    gear: Gear,
    seed: int,
    first_wrong_step: Callable[[WrongTrace], int | None] | None = None,
) -> list[int | None]:
    """k* of every trace by the configured detector. `first_wrong_step` is needed by `oracle` only."""
    if gear.detector == "oracle":
        if first_wrong_step is None:
            raise ValueError("the oracle detector needs a checker of steps")
        return [first_wrong_step(trace) for trace in traces]
    if gear.detector == "random":
        return [
            1 + int(rng_of(seed, "random", trace).integers(search_window(len(trace.steps), gear.search_fraction)))
            for trace in traces
        ]
    if gear.detector == "position_matched":
        surge = gear.model_copy(update={"detector": "entropy_surge"})
        return match_positions(traces, find_breakpoints(traces, surge, seed), seed)
    minimum = gear.min_surge_nats if gear.detector == "entropy_surge" else -math.inf
    score = SCORES[gear.detector]
    return [breakpoint(score(trace, gear), gear.search_fraction, minimum) for trace in traces]


def match_positions(traces: Sequence[WrongTrace], breakpoints: Sequence[int | None], seed: int) -> list[int | None]:
    """Hands each trace the relative position of another trace's breakpoint: position without the entropy."""
    relative = [
        None if k is None else (k - 0.5) / len(trace.steps) for trace, k in zip(traces, breakpoints, strict=True)
    ]
    order = np.random.default_rng(request_seed(seed, "position_matched")).permutation(len(traces))
    return [
        None if (position := relative[other]) is None else min(len(trace.steps), int(position * len(trace.steps)) + 1)
        for trace, other in zip(traces, order, strict=True)
    ]


def rng_of(seed: int, purpose: str, trace: WrongTrace) -> np.random.Generator:
    return np.random.default_rng(request_seed(seed, purpose, trace.row["trace_id"]))


def measure(row: Row, question: str, pieces: Sequence[str], gear: Gear, first_step_baseline: float) -> WrongTrace:
    """Splits a trace and computes its step entropies and surges."""
    steps = split(pieces, gear.min_step_tokens)
    entropies_K = per_step(row["entropies"], steps, gear.statistic)
    return WrongTrace(row, question, steps, entropies_K, surges(entropies_K, first_step_baseline))


def first_step_entropy(rows: Sequence[Row], pieces: Callable[[Row], Sequence[str]], gear: Gear) -> float:
    """Mean first-step entropy of the teacher's correct traces, in nats; 0 where it has none."""
    first = [
        per_step(row["entropies"], steps[:1], gear.statistic)[0]
        for row in rows
        if (steps := split(pieces(row), gear.min_step_tokens))
    ]
    return float(np.mean(first)) if first else 0.0


def problems_to_treat(
    grades: Sequence[Row], max_pass_rate: float, max_wrong_agreement: float
) -> tuple[list[str], list[str]]:
    """(treated, suspect) problem ids: pass rate at most the bound; suspect where the wrong answers agree too much."""
    by_problem = defaultdict(list)
    for grade in grades:
        by_problem[grade["problem_id"]].append(grade)
    treated: list[str] = []
    suspect: list[str] = []
    for problem_id, rows in by_problem.items():
        if sum(row["correct"] for row in rows) > max_pass_rate * len(rows) + 1e-9:
            continue
        wrong = [row["extracted"] for row in rows if not row["correct"]]
        (suspect if wrong_agreement(wrong) > max_wrong_agreement else treated).append(problem_id)
    return treated, suspect


def choose_traces(rows: Sequence[Row], gear: Gear) -> list[Row]:
    """The wrong traces of one problem that are repaired: those that ended by themselves, in the configured order."""
    ended = [row for row in rows if row["token_ids"] and (gear.repair_truncated or row["finish_reason"] == "stop")]
    keys: Mapping[str, Callable[[Row], Any]] = {
        "first": lambda row: row["index"],
        "shortest": lambda row: (len(row["token_ids"]), row["index"]),
        "most_entropy": lambda row: (-float(np.mean(row["entropies"])), row["index"]),
    }
    return sorted(ended, key=keys[gear.order])[: gear.traces_per_problem]


def plan(
    problems: Sequence[Row],
    samples: Sequence[Row],
    grades: Sequence[Row],
    pieces: Callable[[Row], Sequence[str]],
    gear: Gear,
    seed: int,
    first_wrong_step: Callable[[WrongTrace], int | None] | None = None,
) -> list[Cut]:
    """Every cut of the run, in the order of problems and samples; no model is needed for it."""
    correct_ids = {grade["trace_id"] for grade in grades if grade["correct"]}
    treated = set(problems_to_treat(grades, gear.max_pass_rate, gear.max_wrong_agreement)[0])
    correct, wrong = [], defaultdict(list)
    for row in samples:
        if row["trace_id"] in correct_ids:
            correct.append(row)
        elif row["problem_id"] in treated:
            wrong[row["problem_id"]].append(row)
    chosen = [(problem, row) for problem in problems for row in choose_traces(wrong[problem["problem_id"]], gear)]

    def find(bound: Callable[[Row], Row]) -> tuple[list[WrongTrace], list[int | None]]:
        baseline = first_step_entropy([bound(row) for row in correct], pieces, gear)
        traces = [measure(bound(row), problem["question"], pieces(row), gear, baseline) for problem, row in chosen]
        return traces, find_breakpoints(traces, gear, seed, first_wrong_step)

    traces, breakpoints = find(lambda row: row)
    bounded = any(row["entropies_upper"] is not None for row in samples)
    upper = find(at_upper_bound)[1] if bounded else breakpoints
    return [
        Cut(trace, k, 0 if k is None else kept_steps(k, gear.rewind), k == other if bounded else None)
        for trace, k, other in zip(traces, breakpoints, upper, strict=True)
    ]


def at_upper_bound(row: Row) -> Row:
    """The trace as if each entropy were as large as the engine's log-probs allow."""
    return row if row["entropies_upper"] is None else row | {"entropies": row["entropies_upper"]}
