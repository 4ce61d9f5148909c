"""PURE: keep real breakthroughs, drop shortcuts. Pure functions from scores to the traces that are kept.

A step that is surprising and after which the answer is nearly certain looks like a jump to the known answer. The ratio
and ε are reported of the paper; what ppl and u are, the scope and the two rules are ours (docs/method.md, PURE).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

import numpy as np

from heal.config.experiment import Pure
from heal.records import Row, request_seed

SURPRISE = {"mean": "nll_mean", "top20": "nll_top20", "max_token": "nll_max"}


def log_ratios(nll_K: np.ndarray, uncertainty_K: np.ndarray, epsilon: float) -> np.ndarray:
    """ln r_k = ln(ppl_k / (u_k + ε)), with ppl_k = exp(step surprise in nats); shape [K]."""
    return np.asarray(nll_K, dtype=np.float64) - np.log(np.maximum(uncertainty_K, 0.0) + epsilon)


def last_scored_step(uncertainty_K: Sequence[float] | np.ndarray, statement: int | None, certain_below: float) -> int:
    """k₁, from 1: the first step with u_k < 0.1, else the last before the answer is stated; 0 where there is none.

    What follows k₁ is verification and is not scored; neither is the answer statement itself.
    """
    before = len(uncertainty_K) if statement is None else statement - 1
    return next((k for k in range(1, before + 1) if uncertainty_K[k - 1] < certain_below), before)


def scored_ratios(score: Row, pure: Pure) -> np.ndarray:
    """ln r_k of the steps in scope, k = 1 … k₁ (or to the answer statement for `all`)."""
    u_K = np.asarray(score[f"uncertainty_{pure.uncertainty}"], dtype=np.float64)
    certain_below = pure.certain_below if pure.scope == "until_certain" else -math.inf
    last = last_scored_step(u_K, score["statement"], certain_below)
    nll_K = np.asarray(score[SURPRISE[pure.surprise]], dtype=np.float64)
    return log_ratios(nll_K[:last], u_K[:last], pure.epsilon)


def anomaly(score: Row, pure: Pure) -> float:
    """max over k ≤ k₁ of ln r_k; −inf for a trace with no step before its answer statement."""
    return float(np.max(scored_ratios(score, pure), initial=-math.inf))


def keep_quantile(scores: Sequence[Row], pure: Pure) -> set[str]:
    """All but the most anomalous λ of the traces (rounded down); ties go by trace id."""
    ranked = sorted(scores, key=lambda score: (anomaly(score, pure), score["trace_id"]))
    return {score["trace_id"] for score in ranked[: len(ranked) - math.floor(pure.drop_share * len(ranked) + 1e-9)]}


def step_limits(own: Sequence[Row], pure: Pure) -> Callable[[int], float]:
    """The limit of ln r_k at each distance k₁ − k: a high quantile over the teacher's own unaided correct traces.

    A distance that none of them has takes the limit over all distances; without any trace there is no limit.
    """
    at = defaultdict(list)
    for score in own:
        for distance, value in enumerate(scored_ratios(score, pure)[::-1]):
            at[distance].append(value)
    everything = [value for values in at.values() for value in values]
    overall = float(np.quantile(everything, pure.calibration_quantile)) if everything else math.inf
    limits = {distance: float(np.quantile(values, pure.calibration_quantile)) for distance, values in at.items()}
    return lambda distance: limits.get(distance, overall)


def keep_calibrated(scores: Sequence[Row], own: Sequence[Row], pure: Pure) -> set[str]:
    """Traces of which at most the share λ of the steps is above the limit of their distance to k₁."""
    limit = step_limits(own, pure)

    def anomalous_share(score: Row) -> float:
        ratios = scored_ratios(score, pure)[::-1]
        return (
            float(np.mean([value > limit(distance) for distance, value in enumerate(ratios)])) if len(ratios) else 0.0
        )

    return {score["trace_id"] for score in scores if anomalous_share(score) <= pure.drop_share}


def keep_random(scores: Sequence[Row], pure: Pure, seed: int) -> set[str]:
    """The control: as many dropped as `quantile` drops, chosen without looking."""
    order = sorted(scores, key=lambda score: request_seed(seed, "random drop", score["trace_id"]))
    return {score["trace_id"] for score in order[: len(order) - math.floor(pure.drop_share * len(order) + 1e-9)]}


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
    return kept(judged, pure, own=own, seed=seed, valid=valid)


def kept(
    scores: Sequence[Row], pure: Pure, *, own: Sequence[Row] = (), seed: int = 0, valid: Collection[str] = ()
) -> set[str]:
    """The trace ids that PURE keeps. `own`: scores of unaided correct traces; `valid`: ids, for `oracle`."""
    if not pure.enabled:
        return {score["trace_id"] for score in scores}
    if pure.rule == "oracle":
        return {score["trace_id"] for score in scores} & set(valid)
    if pure.rule == "calibrated":
        return keep_calibrated(scores, own, pure)
    if pure.rule == "random":
        return keep_random(scores, pure, seed)
    return keep_quantile(scores, pure)
