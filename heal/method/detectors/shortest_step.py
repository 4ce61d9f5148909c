"""Shortest step (control): the step with the fewest tokens."""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace


class ShortestStep(ScoreDetector):
    """Shows whether a mean over few tokens, not the entropy, decides."""

    name = "shortest_step"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        return -np.array([step.end - step.start for step in trace.steps], dtype=float)
