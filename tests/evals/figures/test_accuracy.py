"""The accuracy figure has the numbers of the comparison's table."""

from __future__ import annotations

import pandas as pd

from evals.figures.accuracy import PlotAccuracy
from tests.support.figures import assert_equal_pictures
from tests.support.run_factory import make_view
from tests.support.tables import get_row


def test_accuracy_figure_has_equal_bytes_and_the_table_s_numbers(run, table):
    for name in ("one", "two"):
        PlotAccuracy(comparison="main", view=make_view(run), out=run / name / "accuracy.svg").run()
    assert_equal_pictures(run / "one/accuracy.svg", run / "two/accuracy.svg")
    numbers = pd.read_csv(run / "one/accuracy.csv")
    heal = numbers[(numbers["method"] == "heal") & (numbers["benchmark"] == "b")].iloc[0]
    assert heal["mean"] == get_row(table, "heal")["mean"]
    assert len(heal["seeds"].split()) == 3
