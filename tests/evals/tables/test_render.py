"""Tables as text: fixed precision, empty cells, escapes."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import pandas as pd
import pytest

from evals.tables.notes import Note, Topic
from evals.tables.render import (
    TextTable,
    format_csv,
    format_difference,
    format_frame_csv,
    format_interval,
    format_markdown,
    format_number,
    format_rows_csv,
    format_tex,
    format_text,
    list_columns,
)


@dataclass(frozen=True)
class Row:
    name: str
    mean: float
    p: float
    n: int | None
    training_tokens: float | None


ROWS = [Row("a, b", -0.00001, 0.0000004, 3, 1e6), Row("|", math.nan, 1, None, None)]


def test_csv_has_fixed_precision_and_empty_cells_for_what_cannot_be_said():
    text = format_rows_csv(ROWS, list_columns(Row))
    assert text.splitlines() == [
        "name,mean,p,n,training_tokens",
        '"a, b",0.0000,0.000000,3,1000000',
        "|,,1,,",
    ]
    assert format_csv(["x"], []) == "x\n"


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((-0.0583, -0.1164, -0.0002), "-0.058 [-0.116, -0.0002]"),
        ((0.05, 0.00004, 0.1), "0.050 [0.00004, 0.100]"),
        ((0.0, -1e-9, 0.0), "0.000 [0.000, 0.000]"),
        ((0.1, math.nan, math.nan), "0.100 [cannot say]"),
        ((math.nan, math.nan, math.nan), ""),
    ],
)
def test_the_bounds_of_a_difference_show_on_which_side_of_zero_they_are(bounds, text):
    assert format_difference(*bounds) == text


def test_rows_and_data_frames_give_the_same_csv():
    rows = [Row("x", math.nan, 0.25, 3, 1e6), Row("y", 0.5, 1.0, 4, 10.0)]
    text = format_frame_csv(pd.DataFrame(rows))
    assert text == format_rows_csv(rows, list_columns(Row))
    assert pd.read_csv(io.StringIO(text))["mean"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((0.5, 0.25, 0.75), "0.500 [0.250, 0.750]"),
        ((0.5, math.nan, 0.75), "0.500 [cannot say]"),
        ((math.nan, 0.0, 1.0), ""),
    ],
)
def test_intervals(bounds, text):
    assert format_interval(*bounds) == text
    assert format_number(-1e-9) == "0.0000"


def test_every_text_has_each_cell_and_note_once():
    table = TextTable("b: 3 questions", ["method", "mean_%"], [["a|b", "0.5"], ["long name", ""]])
    notes = [Note(Topic.RUN, "50 % of $x$")]
    markdown = format_markdown("Title", [table], notes)
    assert markdown == (
        "# Title\n\n**b: 3 questions**\n\n| method | mean_% |\n| --- | ---: |\n| a\\|b | 0.5 |\n| long name |  |\n\n"
        "* 50 % of $x$\n"
    )
    text = format_text("Title", [table], notes)
    assert text.splitlines()[2:6] == ["b: 3 questions", "method     mean_%", "a|b        0.5", "long name"]
    tex = format_tex("Title", [table], notes)
    assert "\\begin{tabular}{lr}" in tex and "mean\\_\\% \\\\" in tex and tex.endswith("50 \\% of \\$x\\$\n")
