"""Position matched (control): the relative position of another trace's entropy surge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import Detector, StepChecker, WrongTrace
from heal.method.detectors.entropy_surge import EntropySurge
from heal.records import derive_seed


class PositionMatched(Detector):
    """Has the positions of the entropy surges without the entropies: they are permuted among the traces."""

    name = "position_matched"

    def find(
        self, traces: Sequence[WrongTrace], gear: Gear, seed: int, first_wrong_step: StepChecker | None = None
    ) -> list[int | None]:
        positions: list[float | None] = []
        for trace, k in zip(traces, EntropySurge().find(traces, gear, seed), strict=True):
            positions.append(None if k is None else (k - 0.5) / len(trace.steps))
        order = np.random.default_rng(derive_seed(seed, self.name)).permutation(len(traces))
        breakpoints: list[int | None] = []
        for trace, other in zip(traces, order, strict=True):
            position = positions[other]
            steps = len(trace.steps)
            breakpoints.append(None if position is None else min(steps, int(position * steps) + 1))
        return breakpoints
