"""Random (control): a uniformly random step of the searched part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import Detector, StepChecker, WrongTrace, limit_search
from heal.records import derive_seed


class Random(Detector):
    """Shows what a cut is worth at any place. A trace's breakpoint does not depend on the other traces."""

    name = "random"

    def find(
        self, traces: Sequence[WrongTrace], gear: Gear, seed: int, first_wrong_step: StepChecker | None = None
    ) -> list[int | None]:
        breakpoints: list[int | None] = []
        for trace in traces:
            rng = np.random.default_rng(derive_seed(seed, "random", trace.row["trace_id"]))
            breakpoints.append(1 + int(rng.integers(limit_search(len(trace.steps), gear.search_fraction))))
        return breakpoints
