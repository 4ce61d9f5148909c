"""First step (control): always the first step, so that nothing of the trace is kept after a rewind of 1."""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace


class FirstStep(ScoreDetector):
    """Shows what the kept steps are worth."""

    name = "first_step"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        return -np.arange(len(trace.steps), dtype=float)
