"""ROC of PURE's anomaly: the area under every curve is its AUROC, and teacher seeds are one sample."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from evals.audits.checker_truth import Truth
from evals.figures import style
from evals.figures.roc import LEAST, ScoredRepairs, compute_curve, compute_roc, plot_roc
from evals.stats import compute_auroc
from heal.config.experiment import Pure
from tests.support.figure_data import GOLD, PROBLEMS, N, make_scored_repairs, reverse_rows


def compute(*parts: ScoredRepairs) -> pd.DataFrame:
    return compute_roc(parts, Truth(PROBLEMS), Pure(), GOLD, 0)


def select_curve(numbers: pd.DataFrame, name: str, error: str = "fresh") -> pd.DataFrame:
    return numbers[(numbers["error"] == error) & (numbers["score"] == name)]


def test_a_score_that_separates_jumps_finds_them_all_and_a_blind_one_is_on_the_diagonal():
    telling = select_curve(compute(make_scored_repairs(3.0, 0.5)), "anomaly")
    blind = select_curve(compute(make_scored_repairs(1.0, 1.0)), "anomaly")
    assert (telling["auroc"] == 1).all() and (telling["true_positive_rate"].iloc[1:] == 1).all()
    assert blind["true_positive_rate"].tolist() == pytest.approx(blind["false_positive_rate"].tolist())
    assert (select_curve(compute(make_scored_repairs(0.5, 3.0)), "anomaly")["auroc"] == 0).all()
    assert telling[["invalid", "valid"]].iloc[0].tolist() == [N / 2, N / 2]


def test_the_area_under_every_curve_is_its_auroc_and_no_curve_falls():
    rng = np.random.default_rng(2)
    values, invalid = rng.normal(size=400).round(1), rng.uniform(size=400) < 0.3
    values[invalid] += 0.7
    values[:20] = -np.inf
    false, true = np.array(compute_curve(values, invalid)).T
    assert np.trapezoid(true, false) == pytest.approx(compute_auroc(values, invalid).mean, abs=0.01)
    assert (np.diff(true) >= 0).all() and (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_teacher_seeds_are_one_sample_and_neither_their_order_nor_that_of_their_rows_matters():
    one, two = make_scored_repairs(3.0, 0.5), reverse_rows(make_scored_repairs(0.2, 0.5))
    pooled = [compute(*parts) for parts in permutations([one, two])]
    pd.testing.assert_frame_equal(*pooled)
    pd.testing.assert_frame_equal(compute(reverse_rows(one)), compute(one))
    first = select_curve(pooled[0], "max step perplexity").iloc[0]
    assert first["auroc"] == pytest.approx(0.5), "one teacher seed is right, the other wrong"
    assert first["invalid"] == N
    both = compute(one, reverse_rows(make_scored_repairs(5.0, 0.5)))
    assert (select_curve(both, "max step perplexity")["auroc"] == 1).all()


def test_an_error_that_does_not_occur_gives_an_empty_panel():
    numbers = compute(make_scored_repairs(3.0, 0.5))
    inherited = select_curve(numbers, "anomaly", "inherited")
    assert len(inherited) == 1 and inherited["true_positive_rate"].isna().all() and inherited["invalid"].iloc[0] == 0
    figure = plot_roc(numbers.assign(teacher="t"))
    assert len(figure.axes) == 1 and "inherited errors: cannot say, 0 invalid" in figure.get_supxlabel()
    style.plt.close(figure)


def test_a_curve_needs_thirty_invalid_repairs():
    whole = make_scored_repairs(3.0, 0.5)
    fewer = ScoredRepairs(whole.scores[: 2 * LEAST - 2], whole.repairs[: 2 * LEAST - 2])
    assert select_curve(compute(whole), "anomaly")["true_positive_rate"].notna().all()
    numbers = compute(fewer)
    assert select_curve(numbers, "anomaly")["true_positive_rate"].isna().all()
    figure = plot_roc(numbers.assign(teacher="t"))
    assert not figure.axes and f"{LEAST - 1} invalid" in figure.texts[0].get_text()
    style.plt.close(figure)
