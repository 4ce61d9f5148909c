"""Losses are averaged in blocks of one stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evals.figures.loss import BLOCKS, DIVERGENCE, LIKELIHOOD, average_blocks, collect_losses, find_losses
from heal.errors import HealError
from heal.registry import build_method
from tests.support.run_factory import METHODS


def test_losses_are_averaged_in_blocks_of_one_stage(compared_run):
    numbers = collect_losses(compared_run, dict.fromkeys(METHODS, LIKELIHOOD))
    assert (numbers["trained"] == 6).all()
    assert numbers.groupby(["method", "stage"]).size().max() <= BLOCKS
    assert (numbers["loss"].between(numbers["stage"], numbers["stage"] + 0.2)).all()
    assert (numbers["least"] <= numbers["loss"]).all() and (numbers["loss"] <= numbers["most"]).all()
    steps = numbers[numbers["method"] == "heal"]["step"]
    assert steps.is_monotonic_increasing and len(numbers[numbers["stage"] == 3]) == 2 * len(METHODS)
    one = pd.DataFrame({"step": range(1, 11), "stage": 1, "loss": np.arange(10.0)})
    assert average_blocks(one)["loss"].tolist() == one["loss"].tolist(), "a short stage has a block per optimizer step"
    next(compared_run.folder.glob("students/**/loss.csv")).unlink()
    with pytest.raises(HealError, match="no such file"):
        collect_losses(compared_run, dict.fromkeys(METHODS, LIKELIHOOD))


def test_a_method_that_learns_from_the_teacher_s_probabilities_has_a_loss_of_its_own_kind():
    methods = {name: build_method(name, {}, where="test", field=name) for name in ("heal", "on_policy")}
    assert find_losses(methods) == {"heal": LIKELIHOOD, "on_policy": DIVERGENCE}
