"""Oracle (control): the first step that is wrong, by the step checker of the problems' world."""

from __future__ import annotations

from collections.abc import Sequence

from heal.config.experiment import Gear
from heal.errors import HealError
from heal.method.detectors.base import Detector, StepChecker, WrongTrace


class Oracle(Detector):
    """The upper bound of every detector; it searches all steps."""

    name = "oracle"

    def find(
        self, traces: Sequence[WrongTrace], gear: Gear, seed: int, first_wrong_step: StepChecker | None = None
    ) -> list[int | None]:
        if first_wrong_step is None:
            raise HealError(
                "the oracle detector needs a checker of steps",
                where="gear.detector",
                fix="use problems of a world that can check steps, or another detector",
            )
        return [first_wrong_step(trace) for trace in traces]
