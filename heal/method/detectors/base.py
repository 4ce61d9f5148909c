"""The interface of detectors, the trace as they see it, and the search for a breakpoint that most of them share.

K: number of steps of a trace. T: number of its tokens. Steps are counted from 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from heal.config.experiment import Gear
from heal.method.steps import Step
from heal.records import Row


@dataclass(frozen=True)
class WrongTrace:
    """A failed trace. step_entropies_K, surges_K: nats, shape [K]; the row has the values of the T tokens."""

    row: Row
    question: str
    steps: Sequence[Step]
    step_entropies_K: np.ndarray
    surges_K: np.ndarray
    entropies_column: str = "entropies"
    """Column of the row with the token entropies: `entropies`, or `entropies_upper` for the upper bounds."""

    @property
    def entropies_T(self) -> np.ndarray:
        """Token entropies in nats, shape [T]."""
        return np.asarray(self.row[self.entropies_column], dtype=np.float64)


StepChecker = Callable[[WrongTrace], int | None]
"""The first step of a trace that is not valid, from 1; None where all are."""


class Detector(ABC):
    """Finds breakpoints. heal/method/detectors/TEMPLATE.py shows a complete detector."""

    name: ClassVar[str]
    """How `gear.detector` in the config calls it."""

    @abstractmethod
    def find(
        self, traces: Sequence[WrongTrace], gear: Gear, seed: int, first_wrong_step: StepChecker | None = None
    ) -> list[int | None]:
        """The breakpoint k* of each trace, from 1; None where it has none and is not repaired.

        seed: base seed of the run, for detectors with random numbers. first_wrong_step: checks a trace's steps, where
        the problems' world can.
        """


class ScoreDetector(Detector):
    """A detector that scores each step; the breakpoint is the step with the largest score in the searched part."""

    @abstractmethod
    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        """One score per step, shape [K]."""

    def get_minimum(self, gear: Gear) -> float:
        """The smallest score that counts as a breakpoint."""
        return -math.inf

    def find(
        self, traces: Sequence[WrongTrace], gear: Gear, seed: int, first_wrong_step: StepChecker | None = None
    ) -> list[int | None]:
        breakpoints = []
        for trace in traces:
            scores_K = self.score_steps(trace, gear)
            breakpoints.append(find_maximum(scores_K, gear.search_fraction, self.get_minimum(gear)))
        return breakpoints


def limit_search(steps: int, fraction: float) -> int:
    """The last candidate for k*: max(2, ceil(f·K)), at most K (reported: the first third; the floor of 2 is ours)."""
    return min(steps, max(2, math.ceil(fraction * steps - 1e-9)))


def find_maximum(scores_K: np.ndarray, fraction: float, minimum: float = -math.inf) -> int | None:
    """k* = argmax of the scores over 1 ≤ k ≤ max(2, ceil(f·K)), from 1; ties: the earliest; None below the minimum."""
    if len(scores_K) == 0:
        return None
    candidates = np.asarray(scores_K)[: limit_search(len(scores_K), fraction)]
    best = int(np.argmax(candidates))
    return best + 1 if candidates[best] >= minimum else None
