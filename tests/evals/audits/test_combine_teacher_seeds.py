"""Audits of several teacher seeds: averaged, their order without effect, premises by the mean and by each seed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evals.audits import combine_teacher_seeds as audit_seeds
from evals.audits import run as audits
from evals.tables.notes import Note, Topic, get_notes_path, read_notes, write_notes
from heal import cli, records
from heal.errors import HealError
from tests.support.audit_rows import ONE, TWO, make_audit_rows


def get_quantity(frame: pd.DataFrame, name: str) -> pd.Series:
    (row,) = (row for _, row in frame.iterrows() if row["quantity"] == name)
    return row


def test_one_teacher_seed_combined_keeps_its_values():
    pd.testing.assert_frame_equal(audit_seeds.combine_audits([ONE])[audits.COLUMNS], ONE)


def test_teacher_seeds_are_averaged_and_their_order_does_not_matter():
    combined = audit_seeds.combine_audits([ONE, TWO])
    exact = get_quantity(combined, "exact")
    assert exact[["value", "low", "high", "n", "least", "most", "n_teacher_seeds"]].tolist() == pytest.approx(
        [0.6, 0.45, 0.75, 20, 0.5, 0.7, 2]
    )
    again = audit_seeds.combine_audits([TWO, ONE]).set_index("quantity").loc[combined["quantity"]].reset_index()
    pd.testing.assert_frame_equal(again[combined.columns], combined)


def test_a_seed_without_a_value_is_skipped_and_a_bar_that_it_lacks_is_zero():
    combined = audit_seeds.combine_audits([ONE, TWO])
    assert get_quantity(combined, "after")[["value", "n_teacher_seeds"]].tolist() == [0.1, 1]
    bars = combined[combined["quantity"].str.startswith("distance")]
    assert bars["value"].sum() == pytest.approx(1) and (bars["n"] == 20).all()
    only_one = get_quantity(combined, "distance -1")
    assert only_one["value"] == 0.25 and math.isnan(only_one["low"]) and only_one["n_teacher_seeds"] == 2


@pytest.mark.workflow
def test_the_combined_interval_covers_a_mean_of_seeds_that_share_all_or_nothing():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        shared, own = rng.normal(size=1), rng.normal(size=3)
        for values in (np.repeat(shared, 3), own):
            seeds = [make_audit_rows(exact=(value, value - 1.96, value + 1.96)) for value in values]
            row = get_quantity(audit_seeds.combine_audits(seeds), "exact")
            covered += row["low"] <= 0 <= row["high"]
    assert covered / 600 > 0.93


def test_premises_hold_by_the_mean_and_by_each_seed_and_notes_are_read_as_notes(tmp_path):
    surge = {"audit": "entropy", "quantity": "largest surge is a wrong step"}
    first_notes = [Note(Topic.WORLD, "Any wording.\n* not a note"), Note(Topic.MEASURES, "distance: steps")]
    arguments = ["combine-audits", "--teacher", "t", "--out", str(tmp_path / "audits_t.csv")]
    for teacher_seed, value in enumerate((0.9, 0.5)):
        path = tmp_path / f"teacher_seed{teacher_seed}/audits_t.csv"
        frame = make_audit_rows(exact=(value, 0.0, 1.0)).assign(**surge)
        records.write_text(path, frame.to_csv(index=False))
        write_notes(get_notes_path(path), first_notes)
        arguments += ["--audits", str(path)]
    cli.main(arguments)
    premises = pd.read_csv(tmp_path / "premises_t.csv").set_index("premise")
    assert premises.loc["P1", ["value", "holds", "by_teacher_seed"]].tolist() == [0.7, "no", "yes, no"]
    assert premises.loc["P2", "holds"] == "cannot say"
    notes = read_notes(tmp_path / "audits_t_notes.json")
    assert notes[:2] == first_notes
    assert [note.text for note in notes if note.topic is Topic.PREMISE][0] == "P1 by teacher seed: yes, no."
    assert "2 teacher sampling seed(s)" in (tmp_path / "audits_t.md").read_text()


def test_a_missing_or_foreign_csv_is_refused(tmp_path):
    with pytest.raises(HealError, match="no such file"):
        audit_seeds.read_audits(tmp_path / "audits_t.csv")
    records.write_text(tmp_path / "other.csv", "a,b\n1,2\n")
    with pytest.raises(HealError, match="no column 'audit'"):
        audit_seeds.read_audits(tmp_path / "other.csv")
