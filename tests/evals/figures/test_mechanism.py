"""Figures of the mechanism: cuts are the audits' numbers, and the area under every curve is its AUROC."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from evals.audits.checker_truth import Truth
from evals.figures import mechanism as mechanism_figures
from evals.figures import style
from evals.stats import compute_auroc
from heal.config.experiment import Pure
from heal.errors import HealError
from tests.support.audit_rows import ONE
from tests.support.figure_data import (
    GOLD,
    PROBLEMS,
    N,
    make_scored_repairs,
)


def test_cuts_are_the_audits_numbers():
    frame = pd.concat(
        [
            ONE,
            ONE.assign(variant="w-2"),
            ONE.assign(audit="repairs", quantity="valid repairs per 1,000 teacher tokens"),
        ]
    )
    numbers = mechanism_figures.cuts_numbers({"t": frame, "u": frame}, {"v-1": "heal"})
    exact = numbers[(numbers["quantity"] == "exact") & (numbers["teacher"] == "u")]
    assert exact[["variant", "method", "value", "low", "high"]].to_numpy().tolist() == [
        ["v-1", "heal", 0.5, 0.3, 0.7],
        ["w-2", "", 0.5, 0.3, 0.7],
    ]
    assert not numbers["quantity"].isin(["after", "distance +1"]).any()
    with pytest.raises(HealError, match="no quantity of cuts for teacher t"):
        mechanism_figures.cuts_numbers({"t": ONE[ONE["quantity"] == "after"]}, {})


def compute_roc(*draws: tuple[list, list]) -> pd.DataFrame:
    return mechanism_figures.roc_numbers(draws, Truth(PROBLEMS), Pure(), GOLD, 0)


def select_curve(numbers: pd.DataFrame, name: str, error: str = "fresh") -> pd.DataFrame:
    return numbers[(numbers["error"] == error) & (numbers["score"] == name)]


def test_a_score_that_tells_jumps_finds_them_all_and_a_blind_one_lies_on_the_diagonal():
    telling, blind = (
        select_curve(compute_roc(make_scored_repairs(3.0, 0.5)), "anomaly"),
        select_curve(compute_roc(make_scored_repairs(1.0, 1.0)), "anomaly"),
    )
    assert (telling["auroc"] == 1).all() and (telling["true_positive_rate"].iloc[1:] == 1).all()
    assert blind["true_positive_rate"].tolist() == pytest.approx(blind["false_positive_rate"].tolist())
    assert (select_curve(compute_roc(make_scored_repairs(0.5, 3.0)), "anomaly")["auroc"] == 0).all()
    assert telling[["invalid", "valid"]].iloc[0].tolist() == [N / 2, N / 2]


def test_the_area_under_every_curve_is_its_auroc_and_no_curve_falls():
    rng = np.random.default_rng(2)
    values, invalid = rng.normal(size=400).round(1), rng.uniform(size=400) < 0.3
    values[invalid] += 0.7
    values[:20] = -np.inf
    false, true = np.array(mechanism_figures.curve(values, invalid)).T
    assert np.trapezoid(true, false) == pytest.approx(compute_auroc(values, invalid).mean, abs=0.01)
    assert (np.diff(true) >= 0).all() and (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_draws_are_one_sample_and_neither_their_order_nor_that_of_their_rows_matters():
    one, two = make_scored_repairs(3.0, 0.5), tuple(rows[::-1] for rows in make_scored_repairs(0.2, 0.5))
    pooled = [compute_roc(*draws) for draws in permutations([one, two])]
    pd.testing.assert_frame_equal(*pooled)
    pd.testing.assert_frame_equal(compute_roc((one[0][::-1], one[1][::-1])), compute_roc(one))
    first = select_curve(pooled[0], "max step perplexity").iloc[0]
    assert first["auroc"] == pytest.approx(0.5)  # one draw tells, one tells wrongly
    assert first["invalid"] == N
    both = compute_roc(one, tuple(rows[::-1] for rows in make_scored_repairs(5.0, 0.5)))
    assert (select_curve(both, "max step perplexity")["auroc"] == 1).all()


def test_a_kind_of_error_that_does_not_occur_is_said_to_be_empty():
    numbers = compute_roc(make_scored_repairs(3.0, 0.5))
    inherited = select_curve(numbers, "anomaly", "inherited")
    assert len(inherited) == 1 and inherited["true_positive_rate"].isna().all() and inherited["invalid"].iloc[0] == 0
    figure = mechanism_figures.roc_figure(numbers.assign(teacher="t"))
    assert "cannot say" in " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    style.plt.close(figure)
