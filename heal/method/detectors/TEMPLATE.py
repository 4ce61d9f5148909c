"""Copy this file to heal/method/detectors/<name>.py to add a detector. It is found by scanning; no list has to be
extended.

Checklist:
1. `name` is what `gear.detector` in the config says, and the value of the column `detector` of repairs.
2. One score per step: subclass ScoreDetector, as here. Anything else: subclass Detector and define `find`.
3. A trace's breakpoint depends on the trace, the options and the seed only, not on the order of the traces
   (tests/method/test_gear.py checks it for every detector it finds).
4. Say in the first line whether the paper reports it or it is a control of ours, and give its source.
"""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace


class LongestStep(ScoreDetector):
    """The step with the most tokens."""

    name = "longest_step"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        return np.array([step.end - step.start for step in trace.steps], dtype=float)
