"""The figure of the differences has the table's numbers, the primary contrast first, and says why it has none."""

from __future__ import annotations

import pandas as pd
import pytest

from evals.figures import style
from evals.figures.differences import DIFFERENCE, plot_differences, select_differences
from evals.report.summary import read_comparison
from tests.support.figures import find_points
from tests.support.tables import write_comparison


@pytest.fixture
def numbers(run):
    return select_differences(pd.DataFrame(read_comparison(write_comparison(run))))


def test_differences_are_the_table_s_own_and_the_primary_contrast_is_first(run, numbers):
    table = pd.read_csv(run / "tables/main.csv")
    compared = table[table["diff"].notna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(numbers[DIFFERENCE], compared[DIFFERENCE])
    assert numbers["family"].iloc[0] == "primary" and set(numbers["reference"]) == {"rs"}
    figure = plot_differences(numbers)
    panels = [panel for _, panel in numbers.groupby("benchmark", sort=False)]
    for axis, panel in zip(figure.axes, panels, strict=False):
        assert axis.get_title(loc="left").split(":")[0].split(" ")[0] == panel["benchmark"].iloc[0].split(":")[0]
        assert [item.get_offsets()[0][0] for item in find_points(axis)] == panel["diff"].tolist()
    style.plt.close(figure)


def test_without_any_difference_the_figure_says_why(numbers):
    untested = numbers.assign(verdict="cannot say", why_not="one training seed")
    figure = plot_differences(untested)
    assert not figure.axes and "one training seed" in figure.texts[0].get_text()
    style.plt.close(figure)
    figure = plot_differences(select_differences(numbers[:0].drop(columns="reference")))
    assert not figure.axes and "no two methods" in figure.texts[0].get_text()
    style.plt.close(figure)
