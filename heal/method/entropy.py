"""Token entropy → step entropy → surge (ours: docs/method.md; the paper's formula is unknown to us).

T: tokens of a trace. K: its steps, or the number of listed log-probs where an argument says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from heal.method.steps import Step


def bound_entropies(top_logprobs_K: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound of entropies in nats, [...], from the K largest log-probs, [..., K] (ours).

    With r the remaining mass and p_K the smallest listed probability: the rest adds at least r·max(0, ln(r/p_K)),
    since no unlisted token exceeds p_K, and at most r·ln(V-K), where it is spread evenly. A listed probability of 0 (a
    server's -9999 or -inf) says nothing of the rest, and is no p_K.
    """
    from scipy import special  # most commands that import this module compute no entropy, and scipy takes long

    p_K = np.exp(np.asarray(top_logprobs_K, dtype=np.float64))
    rest = np.maximum(0.0, 1.0 - p_K.sum(-1))
    unlisted = vocabulary - p_K.shape[-1]
    rest = np.where((rest < 1e-12) | (unlisted <= 0), 0.0, rest)
    listed = -special.xlogy(p_K, p_K).sum(-1) - special.xlogy(rest, rest)
    smallest = np.where(p_K > 0, p_K, 1.0).min(-1)
    low = listed + rest * np.maximum(0.0, np.log(np.maximum(rest, np.finfo(float).tiny) / smallest))
    high = listed + rest * np.log(max(unlisted, 1))
    return np.minimum(low, high), high


def aggregate_tokens(values_T: np.ndarray, statistic: str) -> float:
    """One number for a step's tokens: mean, maximum (`max` or `max_token`), or mean of the top 20 %; 0 for no token."""
    if len(values_T) == 0:
        return 0.0
    if statistic == "mean":
        return float(np.add.reduce(values_T) / len(values_T))  # np.mean, without its overhead for short steps
    if statistic == "top20":
        return float(np.mean(np.sort(values_T)[-math.ceil(0.2 * len(values_T)) :]))
    return float(np.max(values_T))


def aggregate_steps(values_T: ArrayLike, steps: Sequence[Step], statistic: str) -> np.ndarray:
    """E_k, shape [K]: the statistic of each step's token values, in their unit."""
    values = np.asarray(values_T, dtype=np.float64)
    return np.array([aggregate_tokens(values[step.start : step.end], statistic) for step in steps])


def compute_surges(step_entropies_K: np.ndarray, first_step_baseline: float) -> np.ndarray:
    """Δ_k = E_k − E_{k−1} in nats, shape [K]; Δ_1 is taken against the mean first step of correct traces."""
    return np.diff(step_entropies_K, prepend=first_step_baseline)
