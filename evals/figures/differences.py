"""The paired difference of every method to the reference, on every benchmark: the comparison's result.

Reads a comparison's table; writes --out (svg), the same as png, and the numbers as csv. Nothing is estimated a second
time: differences, intervals and verdicts are the table's.

    heal plot-differences --table tables/main.csv --out figures/main/differences.svg
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.panels import PANEL, make_method_panels
from evals.report.summary import read_comparison
from evals.tables.comparison_rows import CANNOT_SAY, HIGHER, LOWER, PRIMARY, REFERENCE

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

DIFFERENCE = ["diff", "diff_low", "diff_high", "new_low", "new_high"]
COLUMNS = [*PANEL, "method", "reference", "family", *DIFFERENCE, "verdict", "why_not"]


class PlotDifferences(FigureCommand):
    name = "plot-differences"

    table: Path
    """The comparison's csv."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = select_differences(pd.DataFrame(read_comparison(self.table)))
        return plot_differences(numbers), numbers


def select_differences(table: pd.DataFrame) -> pd.DataFrame:
    """The table's rows that are compared with a reference, in its order: the primary contrast first."""
    references = table[table["verdict"] == REFERENCE].set_index(PANEL)["method"]
    rows = table[~table["verdict"].isin(["", REFERENCE])]
    return rows.join(references.rename("reference"), on=PANEL)[COLUMNS].reset_index(drop=True)


def plot_differences(numbers: pd.DataFrame) -> Figure:
    """A panel per teacher, student and benchmark; a line per method: its difference and both intervals.

    Where no difference can be said, a sentence that says why.
    """
    if numbers.empty:
        return style.plot_message("No difference: the table compares no two methods.")
    if (numbers["verdict"] == CANNOT_SAY).all():
        return style.plot_message(f"No difference can be said: {'; '.join(dict.fromkeys(numbers['why_not']))}.")
    methods = list(dict.fromkeys(numbers["method"]))
    figure, axes = make_method_panels(numbers, methods)
    low, high = numbers[DIFFERENCE].min(axis=None), numbers[DIFFERENCE].max(axis=None)
    low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.06 * max(high - low, 0.02)
    for axis, (_, panel) in zip(axes, numbers.groupby(PANEL, sort=False), strict=True):
        plot_panel(axis, panel, methods)
        axis.set_xlim(low - margin, high + margin)
        axis.locator_params(axis="x", nbins=4)
        if (panel["family"] == PRIMARY).any():
            axis.set_title(f"{axis.get_title(loc='left')} (primary)", loc="left")
    reference = ", ".join(dict.fromkeys(numbers["reference"]))
    label = (
        f"accuracy minus that of {reference}; thick: interval on these questions, thin: on new ones; "
        "filled mark: the thick one excludes 0"
    )
    figure.supxlabel(style.wrap(label))
    return figure


def plot_panel(axis: Axes, panel: pd.DataFrame, methods: list[str]) -> None:
    """The differences of one panel, each on its own line; where nothing can be said, these words."""
    looks = style.assign_looks(methods)
    axis.axvline(0, color=style.BLACK, linewidth=0.8, zorder=0)
    for row in panel.itertuples(index=False):
        y = methods.index(row.method)
        color, marker = looks[row.method]
        if row.verdict == CANNOT_SAY:
            axis.text(0, y, f" {CANNOT_SAY}", color=style.GRAY, va="center")
            continue
        axis.hlines(y, row.new_low, row.new_high, color=color, linewidth=1)
        axis.hlines(y, row.diff_low, row.diff_high, color=color, linewidth=3)
        face = color if row.verdict in (HIGHER, LOWER) else "white"
        axis.scatter(row.diff, y, s=40, marker=marker, facecolor=face, edgecolor=color, linewidths=1.4, zorder=3)
    axis.grid(axis="x", color=style.LIGHT, linewidth=0.6)
