"""PURE: keep real breakthroughs, drop shortcuts. Pure functions from scores to the traces that are kept.

A step that is surprising and after which the answer is nearly certain looks like a jump to the known answer. The ratio
and ε are reported in the paper; what ppl and u are, the scope and the rules are ours (docs/method.md, PURE).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from heal.config.experiment import Pure
from heal.records import Row, derive_seed

SURPRISE = {"mean": "nll_mean", "top20": "nll_top20", "max_token": "nll_max"}

SECTIONS = 8
"""Parts into which the steps around a crossing are divided at once; two would read the trace again more often."""


def compute_log_ratios(nll_K: np.ndarray, uncertainty_K: np.ndarray, epsilon: float) -> np.ndarray:
    """ln r_k = ln(ppl_k / (u_k + ε)), shape [K] (reported), with ppl_k = exp(step surprise in nats) (ours)."""
    return np.asarray(nll_K, dtype=np.float64) - np.log(np.maximum(uncertainty_K, 0.0) + epsilon)


def find_last_scored_step(
    uncertainty_K: Sequence[float] | np.ndarray, statement: int | None, certain_below: float
) -> int:
    """k₁, from 1: the first step with u_k < certain_below, else the last before the answer statement; 0 without one.

    What follows k₁ is verification and is not scored; neither is the answer statement itself (ours).
    statement: the answer statement's step, from 1; None where the trace has none.
    """
    last = len(uncertainty_K) if statement is None else statement - 1
    for k in range(1, last + 1):
        if uncertainty_K[k - 1] < certain_below:
            return k
    return last


def section_crossing(points: Sequence[int], uncertainty: np.ndarray, certain_below: float) -> list[int]:
    """Up to SECTIONS − 1 evenly spaced steps between the first measured certain one and the measured one before it.

    [] where none lies between them. points: measured steps, ascending, from 1. Before the first step nothing is
    certain.
    """
    certain = np.flatnonzero(np.asarray(uncertainty) < certain_below)
    if not len(certain):
        return []
    first = int(certain[0])
    low, high = points[first - 1] if first else 0, points[first]
    parts = min(SECTIONS, high - low)
    return [low + (high - low) * part // parts for part in range(1, parts)]


def compute_scored_ratios(score: Row, pure: Pure) -> np.ndarray:
    """ln r_k of the steps in scope, k = 1 … k₁ (or to the answer statement for `all`)."""
    u_K = np.asarray(score[f"uncertainty_{pure.uncertainty}"], dtype=np.float64)
    certain_below = pure.certain_below if pure.scope == "until_certain" else -math.inf
    last = find_last_scored_step(u_K, score["statement"], certain_below)
    nll_K = np.asarray(score[SURPRISE[pure.surprise]], dtype=np.float64)
    return compute_log_ratios(nll_K[:last], u_K[:last], pure.epsilon)


def compute_anomaly(score: Row, pure: Pure) -> float:
    """max over k ≤ k₁ of ln r_k; −inf for a trace with no step before its answer statement."""
    return float(np.max(compute_scored_ratios(score, pure), initial=-math.inf))


def select_kept(
    scores: Sequence[Row], origin: str, pure: Pure, *, seed: int = 0, valid: Collection[str] = ()
) -> set[str]:
    """Trace ids that PURE keeps of one origin (repair or guided). scores: the whole file; valid: ids, for `oracle`."""
    judged, own = [], []
    for score in scores:
        if score["origin"] == origin:
            judged.append(score)
        elif score["origin"] == "sample":
            own.append(score)
    return select_traces(judged, pure, own=own, seed=seed, valid=valid)


def select_traces(
    scores: Sequence[Row], pure: Pure, *, own: Sequence[Row] = (), seed: int = 0, valid: Collection[str] = ()
) -> set[str]:
    """The trace ids that PURE keeps. `own`: scores of unaided correct traces; `valid`: ids, for `oracle`."""
    if not pure.enabled:
        return get_ids(scores)
    if pure.rule == "oracle":
        return get_ids(scores) & set(valid)
    if pure.rule == "calibrated":
        return keep_calibrated(scores, own, pure)
    if pure.rule == "random":
        return keep_random(scores, pure, seed)
    return keep_quantile(scores, pure)


def keep_quantile(scores: Sequence[Row], pure: Pure) -> set[str]:
    """All but the most anomalous λ of the traces (rounded down); ties are ordered by trace id."""
    ranked = sorted(scores, key=lambda score: (compute_anomaly(score, pure), score["trace_id"]))
    return get_ids(ranked[: len(ranked) - count_dropped(ranked, pure)])


def keep_random(scores: Sequence[Row], pure: Pure, seed: int) -> set[str]:
    """The control: drops as many as `quantile`, at random."""
    order = sorted(scores, key=lambda score: derive_seed(seed, "random drop", score["trace_id"]))
    return get_ids(order[: len(order) - count_dropped(order, pure)])


def keep_calibrated(scores: Sequence[Row], own: Sequence[Row], pure: Pure) -> set[str]:
    """Traces of which at most the share λ of the steps is above the limit of their distance to k₁."""
    get_limit = calibrate_limits(own, pure)
    kept_ids = set()
    for score in scores:
        ratios = compute_scored_ratios(score, pure)[::-1]
        limits = np.array(list(map(get_limit, range(len(ratios)))))
        share = float(np.mean(ratios > limits)) if len(ratios) else 0.0
        if share <= pure.drop_share:
            kept_ids.add(score["trace_id"])
    return kept_ids


def calibrate_limits(own: Sequence[Row], pure: Pure) -> Callable[[int], float]:
    """The limit of ln r_k at each distance k₁ − k: a high quantile over the teacher's own unaided correct traces.

    A distance that none of them has takes the limit over all distances; without any trace there is no limit.
    """
    ratios_by_distance: dict[int, list[float]] = {}
    for score in own:
        for distance, ratio in enumerate(compute_scored_ratios(score, pure)[::-1]):
            ratios_by_distance.setdefault(distance, []).append(ratio)
    limits: dict[int, float] = {}
    every_ratio: list[float] = []
    for distance, ratios in ratios_by_distance.items():
        limits[distance] = float(np.quantile(ratios, pure.calibration_quantile))
        every_ratio += ratios
    overall = float(np.quantile(every_ratio, pure.calibration_quantile)) if every_ratio else math.inf
    return lambda distance: limits.get(distance, overall)


def count_dropped(scores: Sequence[Row], pure: Pure) -> int:
    """λ of the traces, rounded down."""
    return math.floor(pure.drop_share * len(scores) + 1e-9)


def get_ids(scores: Sequence[Row]) -> set[str]:
    return {score["trace_id"] for score in scores}
