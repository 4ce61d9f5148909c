"""Confidence window (control): the step with the least confident group of consecutive tokens, after DeepConf."""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace
from heal.method.entropy import aggregate_steps

WINDOW_TOKENS = 16


class ConfidenceWindow(ScoreDetector):
    """Scores a step by the largest mean entropy, in nats, of WINDOW_TOKENS consecutive tokens that end in it.

    After DeepConf's lowest group confidence (arXiv 2508.15260); entropy replaces the mean top-k log-prob (ours).
    """

    name = "confidence_window"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(trace.entropies_T)])
        ends = np.arange(1, len(sums))
        means_T = (sums[ends] - sums[np.maximum(ends - WINDOW_TOKENS, 0)]) / np.minimum(ends, WINDOW_TOKENS)
        return aggregate_steps(means_T, trace.steps, "max")
