"""Audits of several draws: averaged, their order without effect, premises by the mean and by each draw."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evals.audits import combine_draws as audit_draws
from evals.audits import run as audits
from heal import records
from tests.support.audit_rows import ONE, TWO, make_audit_rows
from tests.support.commands import run_main


def quantity(frame: pd.DataFrame, name: str) -> pd.Series:
    (row,) = (row for _, row in frame.iterrows() if row["quantity"] == name)
    return row


def test_one_draw_joined_says_what_it_said():
    pd.testing.assert_frame_equal(audit_draws.joined([ONE])[audits.COLUMNS], ONE)


def test_draws_are_averaged_and_their_order_does_not_matter():
    found = audit_draws.joined([ONE, TWO])
    exact = quantity(found, "exact")
    assert exact[["value", "low", "high", "n", "least", "most", "draws"]].tolist() == pytest.approx(
        [0.6, 0.45, 0.75, 20, 0.5, 0.7, 2]
    )
    again = audit_draws.joined([TWO, ONE]).set_index("quantity").loc[found["quantity"]].reset_index()
    pd.testing.assert_frame_equal(again[found.columns], found)


def test_a_draw_that_cannot_say_is_left_out_and_a_bar_that_it_lacks_is_zero():
    found = audit_draws.joined([ONE, TWO])
    assert quantity(found, "after")[["value", "draws"]].tolist() == [0.1, 1]
    bars = found[found["quantity"].str.startswith("distance")]
    assert bars["value"].sum() == pytest.approx(1) and (bars["n"] == 20).all()
    only_one = quantity(found, "distance -1")
    assert only_one["value"] == 0.25 and math.isnan(only_one["low"]) and only_one["draws"] == 2


def test_the_joined_interval_covers_a_mean_of_draws_that_share_all_or_nothing():
    rng, kept = np.random.default_rng(0), 0
    for _ in range(300):
        shared, own = rng.normal(size=1), rng.normal(size=3)
        for values in (np.repeat(shared, 3), own):
            draws = [make_audit_rows(exact=(value, value - 1.96, value + 1.96)) for value in values]
            row = quantity(audit_draws.joined(draws), "exact")
            kept += row["low"] <= 0 <= row["high"]
    assert kept / 600 > 0.93


def test_premises_are_told_by_the_mean_and_by_each_draw(tmp_path, monkeypatch):
    surge = {"audit": "entropy", "quantity": "largest surge is a wrong step"}
    paths = []
    for draw, value in enumerate((0.9, 0.5)):
        paths.append(tmp_path / f"draw{draw}/audits_t.csv")
        frame = make_audit_rows(exact=(value, 0.0, 1.0)).assign(**surge)
        records.write_text(paths[-1], frame.to_csv(index=False))
        records.write_text(paths[-1].with_suffix(".md"), "# Audits\n\n* the first draw's note\n")
    run_main(monkeypatch, audit_draws.main, "--teacher", "t", "--audits", *paths, "--out", tmp_path / "audits_t.csv")
    flags = pd.read_csv(tmp_path / "premises_t.csv").set_index("premise")
    assert flags.loc["P1", ["value", "holds", "by_draw"]].tolist() == [0.7, "no", "yes, no"]
    assert flags.loc["P2", "holds"] == "cannot say"
    told = (tmp_path / "audits_t.md").read_text()
    assert "* the first draw's note" in told and "P1 by draw: yes, no" in told and "2 draw(s)" in told
