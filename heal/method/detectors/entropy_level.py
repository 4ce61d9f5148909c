"""Entropy level (control): the step with the largest entropy, whatever the step before it."""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace


class EntropyLevel(ScoreDetector):
    """Separates the surge from the level of the entropy."""

    name = "entropy_level"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        return trace.step_entropies_K
