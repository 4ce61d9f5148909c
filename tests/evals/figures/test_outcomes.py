"""Figures of outcomes: accuracy against teacher tokens and against exposures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.figures import accuracy as figures
from evals.figures import outcomes as outcome_figures
from evals.results import UNSOLVED
from heal import records
from heal.errors import HealError
from tests.support.figure_data import (
    compute_dose_numbers,
    read_main_table,
)
from tests.support.figures import find_points, make_cost_table
from tests.support.run_factory import METHODS


def test_costs_and_means_are_the_table_s_own_and_of_the_unsolved_questions_only(study_run):
    table, numbers = read_main_table(study_run), outcome_figures.cost_numbers(read_main_table(study_run))
    assert set(numbers["benchmark"]) == {f"b{UNSOLVED}"}
    assert set(numbers["method"]) == {"untrained", *METHODS}
    merged = numbers.merge(table, on=["benchmark", "method"])
    assert (merged["mean_x"] == merged["mean_y"]).all() and (merged["ci_low_x"] == merged["ci_low_y"]).all()
    heal = numbers[numbers["method"] == "heal"].iloc[0]
    assert heal["teacher_tokens"] == 24_000  # four files of 5,000 generated and 1,000 prefilled
    assert math.isnan(numbers[numbers["method"] == "untrained"]["teacher_tokens"].iloc[0])
    no_stratum = table[~table["benchmark"].str.endswith(UNSOLVED)]
    assert set(outcome_figures.cost_numbers(no_stratum)["benchmark"]) == {"b", "greedy"}
    with pytest.raises(HealError, match="no row of a student"):
        outcome_figures.cost_numbers(table[table["method"] == "teacher"])


def test_doses_are_what_students_were_shown(study_run):
    numbers = compute_dose_numbers(study_run)
    assert numbers["exposures_per_example"].tolist() == pytest.approx([30 / 12] * 3)
    assert numbers["supervised_tokens"].tolist() == [50] * 3
    assert numbers["rank_exposures"].isna().all()  # a dose that does not vary explains nothing


def test_a_dose_that_rises_with_accuracy_is_told_and_a_missing_one_refused(study_run):
    for tokens, name in enumerate(METHODS):  # accuracies rise in this order
        for path in (study_run / "students/t").glob(f"*/s/{name}/*/training.json"):
            records.write_json(path, {"tokens": {"total": 100, "supervised": 50 + tokens}})
    numbers = compute_dose_numbers(study_run)
    assert numbers["supervised_tokens"].tolist() == [50, 51, 52]
    assert numbers["rank_supervised"].tolist() == [1, 1, 1]
    with pytest.raises(HealError, match="no dose of method 'oracle'"):
        compute_dose_numbers(study_run, ["rs", "heal"])
    next((study_run / "students/t/draw1/s/heal").glob("*/training.json")).unlink()
    with pytest.raises(HealError, match="no such file"):
        compute_dose_numbers(study_run)


def test_marks_of_equal_cost_stand_side_by_side_and_others_where_they_are():
    x = np.array([5.0, 1.0, 5.0, 9.0, 5.0])
    places = outcome_figures.side_by_side(x, 0.1)
    assert places[[1, 3]].tolist() == [0, 0]
    assert sorted(places[[0, 2, 4]]) == [-1, 0, 1]
    assert sorted(outcome_figures.side_by_side(np.array([1.0, 1.0]), 0.1)) == [-0.5, 0.5]


def test_a_method_without_teacher_tokens_stretches_no_axis(compared_run):
    cost = make_cost_table(figures.accuracy_numbers(compared_run).query("benchmark == 'b' and method != 'teacher'"))
    cost.loc[cost["method"] == "oracle", ["mean", "teacher_tokens"]] = [0.99, 0.0]
    figure = outcome_figures.cost_figure(cost, [])
    (axis,) = figure.axes
    assert "without teacher tokens:\noracle 0.990" in axis.get_title(loc="left")
    assert len(find_points(axis)) == 2 and axis.get_ylim()[1] < 0.99
    alone = cost.assign(teacher_tokens=0.0)
    assert len(find_points(outcome_figures.cost_figure(alone, []).axes[0])) == 3
