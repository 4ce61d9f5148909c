"""Entropy surge (reported): the step whose entropy rises most over the step before it."""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace


class EntropySurge(ScoreDetector):
    """GEAR's own detector. A trace whose largest surge is below `min_surge_nats` has no breakpoint (ours)."""

    name = "entropy_surge"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        return trace.surges_K

    def get_minimum(self, gear: Gear) -> float:
        return gear.min_surge_nats
