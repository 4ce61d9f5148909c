"""Accuracy against teacher tokens: the table's own numbers, and every mark where it can be seen."""

from __future__ import annotations

import math

import pytest

from evals.figures.accuracy import collect_accuracy
from evals.figures.cost import collect_costs, list_sampling_methods, plot_cost
from heal.config.run_config import MethodSpec
from heal.errors import HealError
from tests.support.figure_data import read_main_table
from tests.support.figures import find_points, make_cost_table
from tests.support.run_factory import METHODS


def test_costs_and_means_are_the_table_s_own_and_of_the_primary_benchmark_only(study_run):
    table = read_main_table(study_run)
    numbers = collect_costs(table, 0.5)
    assert set(numbers["benchmark"]) == {"b"}
    assert set(numbers["method"]) == {"untrained", *METHODS}
    merged = numbers.merge(table, on=["benchmark", "method"])
    assert (merged["mean_x"] == merged["mean_y"]).all() and (merged["ci_low_x"] == merged["ci_low_y"]).all()
    heal = numbers[numbers["method"] == "heal"].iloc[0]
    assert heal["teacher_cost"] == 27_500  # five files of 5,000 generated and 1,000 prefilled
    assert math.isnan(numbers[numbers["method"] == "untrained"]["teacher_cost"].iloc[0])
    no_primary = table.assign(family="main")
    assert set(collect_costs(no_primary, 0.5)["benchmark"]) == {"b", "b:unsolved", "greedy"}
    with pytest.raises(HealError, match="no row of a student"):
        collect_costs(table[table["method"] == "teacher"], 0.5)
    with pytest.raises(HealError, match="no column 'mean'"):
        collect_costs(table.drop(columns="mean"), 0.5)


def test_a_method_without_teacher_tokens_stretches_no_axis(compared_run):
    accuracy = collect_accuracy(compared_run)
    cost = make_cost_table(accuracy.query("benchmark == 'b' and method != 'teacher'"))
    cost.loc[cost["method"] == "oracle", ["mean", "teacher_cost"]] = [0.99, 0.0]
    figure = plot_cost(cost, [])
    (axis,) = figure.axes
    assert "without teacher tokens:\noracle 0.990" in axis.get_title(loc="left")
    assert len(find_points(axis)) == 2 and axis.get_ylim()[1] < 0.99
    alone = cost.assign(teacher_cost=0.0)
    assert len(find_points(plot_cost(alone, []).axes[0])) == 3


def test_sampling_methods_differ_in_the_number_of_samples_only():
    specs = {
        "rs": MethodSpec(method="rejection_sampling"),
        "more": MethodSpec(method="rs_matched"),
        "treated": MethodSpec(method="rs_matched", options={"allocation": "treated"}),
        "heal": MethodSpec(method="heal"),
    }
    assert list_sampling_methods(specs) == ["rs", "more"]
