"""Accuracy against exposures: what the students were shown, and how it ranks with accuracy."""

from __future__ import annotations

import pytest

from heal import records
from heal.errors import HealError
from tests.support.figure_data import collect_run_exposures
from tests.support.run_factory import METHODS


def test_exposures_are_what_students_were_shown(study_run):
    numbers = collect_run_exposures(study_run)
    assert numbers["exposures_per_example"].tolist() == pytest.approx([30 / 12] * 3)
    assert numbers["supervised_tokens"].tolist() == [50] * 3
    assert numbers["rank_exposures"].isna().all(), "exposures that do not vary explain nothing"


def test_exposures_that_rise_with_accuracy_have_rank_correlation_1_and_missing_ones_are_refused(study_run):
    for tokens, name in enumerate(METHODS):  # accuracies rise in this order
        for path in (study_run / "students/t").glob(f"*/s/{name}/*/training.json"):
            records.write_json(path, {"tokens": {"total": 100, "supervised": 50 + tokens}})
    numbers = collect_run_exposures(study_run)
    assert sorted(numbers["supervised_tokens"]) == [50, 51, 52]
    assert numbers["rank_supervised"].tolist() == [1, 1, 1]
    with pytest.raises(HealError, match="no exposures of method 'oracle'"):
        collect_run_exposures(study_run, ["rs", "heal"])
    next((study_run / "students/t/teacher_seed1/s/heal").glob("*/training.json")).unlink()
    with pytest.raises(HealError, match="no such file"):
        collect_run_exposures(study_run)
