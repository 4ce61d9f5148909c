"""Surprisal (control): the step whose sampled tokens were least likely."""

from __future__ import annotations

import numpy as np

from heal.config.experiment import Gear
from heal.method.detectors.base import ScoreDetector, WrongTrace
from heal.method.entropy import aggregate_steps


class Surprisal(ScoreDetector):
    """Uses −ln p of the sampled tokens, in nats, in place of the entropy."""

    name = "surprisal"

    def score_steps(self, trace: WrongTrace, gear: Gear) -> np.ndarray:
        return aggregate_steps(-np.asarray(trace.row["logprobs"]), trace.steps, gear.statistic)
