"""Cuts by position: every cut trace is counted once, and valid repairs are a part of the accepted ones."""

from __future__ import annotations

import pandas as pd

from evals.audits.checker_truth import Truth
from evals.figures.positions import count_cuts, plot_positions
from tests.support.cut_repairs import PROBLEMS, make_cut_repairs


def test_positions_count_every_cut_trace_once_and_valid_is_a_part_of_accepted():
    rows = make_cut_repairs([0, 0, 1, 2, 2, None])
    numbers = count_cuts(rows, Truth(PROBLEMS))
    assert numbers["traces"].sum() == 5 and numbers["repairs"].sum() == 10
    assert numbers.iloc[0][["from_share", "to_share", "traces"]].tolist() == [0, 0, 2]
    assert (numbers["accepted"] == 1).all() and (numbers["valid"] == 0.5).all()
    assert (numbers["from_share"] <= numbers["to_share"]).all() and numbers["from_share"].is_monotonic_increasing
    pd.testing.assert_frame_equal(count_cuts(rows[::-1], Truth(PROBLEMS)), numbers)
    unchecked = count_cuts(rows, None)
    assert unchecked["valid"].isna().all() and (unchecked["accepted"] == numbers["accepted"]).all()


def test_a_run_without_cuts_has_a_figure_that_says_so():
    figure = plot_positions(count_cuts(make_cut_repairs([None] * 6), None))
    assert not figure.axes and "No wrong trace was cut." in figure.texts[0].get_text()
