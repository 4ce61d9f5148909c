"""Figures of training: losses in blocks of one stage, hours that add up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evals.figures import training as training_figures
from heal.errors import HealError
from tests.support.ledger import make_ledger
from tests.support.run_factory import METHODS


def test_losses_are_averaged_in_blocks_of_one_stage(compared_run):
    numbers = training_figures.loss_numbers(compared_run)
    assert (numbers["trained"] == 6).all()
    assert numbers.groupby(["method", "stage"]).size().max() <= training_figures.BLOCKS
    assert (numbers["loss"].between(numbers["stage"], numbers["stage"] + 0.2)).all()
    assert (numbers["least"] <= numbers["loss"]).all() and (numbers["loss"] <= numbers["most"]).all()
    steps = numbers[numbers["method"] == "heal"]["step"]
    assert steps.is_monotonic_increasing and len(numbers[numbers["stage"] == 3]) == 2 * len(METHODS)
    one = pd.DataFrame({"step": range(1, 11), "stage": 1, "loss": np.arange(10.0)})
    assert training_figures.in_blocks(one)["loss"].tolist() == one["loss"].tolist()  # short stages lose nothing
    next(compared_run.folder.glob("students/**/loss.csv")).unlink()
    with pytest.raises(HealError, match="no such file"):
        training_figures.loss_numbers(compared_run)


def test_hours_add_up_and_what_is_made_of_results_is_left_out():
    numbers = training_figures.hours_numbers(make_ledger(2))
    assert numbers["part"].tolist() == ["samples", "extra", "repairs", "passes", "students", "evals"]
    assert numbers["seconds"].sum() == make_ledger(2)["seconds"][:7].sum() and numbers["jobs"].tolist() == [
        2,
        1,
        1,
        1,
        1,
        1,
    ]
    shuffled = training_figures.hours_numbers(make_ledger(2).sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled, numbers)
    assert len(training_figures.hours_figure(numbers).axes) == 2
    assert len(training_figures.hours_figure(training_figures.hours_numbers(make_ledger(0))).axes) == 1
    with pytest.raises(HealError, match="no provenance"):
        training_figures.hours_numbers(make_ledger(0)[7:])
