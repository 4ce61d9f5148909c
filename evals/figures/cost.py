"""Accuracy on the primary benchmark against the cost of the teacher's tokens.

Reads a comparison's table; writes --out (svg), the same as png, and the numbers as csv. Nothing is estimated a second
time: means, intervals and tokens are the table's.

    heal plot-cost --config config/config.yaml --comparison main --table tables/main.csv --out figures/main/cost.svg
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.panels import (
    ACCURACY_LABEL,
    MEAN,
    PANEL,
    TOKENS,
    add_legend,
    format_title,
    measure_height,
    measure_legend,
    plot_methods,
    read_table,
    select_outcome_rows,
    set_limits,
)
from evals.figures.style import plt
from evals.results import UNTRAINED
from evals.tables.render import format_interval
from heal.command import Section
from heal.config.run_config import ComparisonView, MethodSpec
from heal.cost import price_tokens

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""

SAMPLING_METHODS = ("rejection_sampling", "rs_matched")
"""Methods that differ in the number of the teacher's samples only."""


class PlotCost(FigureCommand):
    name = "plot-cost"

    comparison: str
    """Name of the comparison in the config."""
    view: Annotated[ComparisonView, Section("comparisons.{comparison}")]
    """The comparison, for its methods."""
    table: Path
    """The comparison's csv."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = collect_costs(read_table(self.table), self.view.read_price)
        return plot_cost(numbers, list_sampling_methods(self.view.methods)), numbers


def list_sampling_methods(methods: Mapping[str, MethodSpec]) -> list[str]:
    """The compared methods that differ in the number of the teacher's samples only."""
    names = []
    for name, spec in methods.items():
        if spec.method in SAMPLING_METHODS and spec.options.get("allocation", "uniform") == "uniform":
            names.append(name)
    return names


def collect_costs(table: pd.DataFrame, read_price: float) -> pd.DataFrame:
    """One row per teacher, student, benchmark and method.

    teacher_cost: in generated tokens (heal.cost), of one teacher sampling seed; NaN for the untrained student.
    """
    rows = select_outcome_rows(table)
    generated, read = (rows[column] for column in TOKENS)
    numbers = rows[[*PANEL, "method"]].assign(teacher_cost=price_tokens(generated, read, read_price))
    return numbers.join(rows[MEAN])


def plot_cost(numbers: pd.DataFrame, sampling_methods: Sequence[str]) -> Figure:
    """A panel per teacher, student and benchmark; the sampling methods are joined in the order of their cost.

    A method without teacher tokens is named in the title, unless all are without: it would only stretch both axes.
    """
    trained = numbers["method"] != UNTRAINED
    shown = trained & (numbers["teacher_cost"] > 0)
    if not shown.any():
        shown = trained
    panels = list(numbers.groupby(PANEL, sort=False))
    methods = list(dict.fromkeys(numbers[shown]["method"]))
    reference_lines = [
        Line2D([], [], color=style.GRAY, linestyle="--", linewidth=1, label="more samples only"),
        Line2D([], [], color=style.GRAY, linestyle=":", linewidth=1, label="untrained student"),
    ]
    height = measure_height([panel[shown.loc[panel.index]] for _, panel in panels], ["teacher_cost"], 2.2)
    titles = 0.4 + 0.17 * (numbers[trained & ~shown]["method"].nunique() + 1)
    size = (style.WIDTH_IN, len(panels) * (height + titles) + 0.5 + measure_legend(len(methods) + len(reference_lines)))
    figure, axes = plt.subplots(len(panels), 1, figsize=size, sharex=True, sharey=True, squeeze=False)
    set_limits(axes[0, 0], numbers[shown]["teacher_cost"], numbers[shown])
    for axis, (place, panel) in zip(axes[:, 0], panels, strict=True):
        plot_reference_lines(axis, panel, panel[shown.loc[panel.index]], sampling_methods)
        plot_methods(axis, panel[shown.loc[panel.index]], "teacher_cost", methods, 72 * height)
        free = panel[trained.loc[panel.index] & ~shown.loc[panel.index]]
        axis.set_title(format_title(place, numbers) + format_free_methods(free), loc="left")
        axis.grid(axis="y", color=style.LIGHT, linewidth=0.6)
        axis.tick_params(labelbottom=True)
        axis.set_ylabel(ACCURACY_LABEL)
    axes[0, 0].xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes[-1, 0].set_xlabel("teacher cost per teacher sampling seed, generated tokens")
    add_legend(figure, methods, reference_lines)
    return figure


def plot_reference_lines(axis: Axes, panel: pd.DataFrame, shown: pd.DataFrame, sampling_methods: Sequence[str]) -> None:
    """The sampling methods joined by a dashed line, and the untrained student as a dotted one."""
    joined = shown[shown["method"].isin(sampling_methods)].sort_values("teacher_cost")
    axis.plot(joined["teacher_cost"], joined["mean"], color=style.GRAY, linestyle="--", linewidth=1, zorder=1)
    for mean in panel.loc[panel["method"] == UNTRAINED, "mean"]:
        axis.axhline(mean, color=style.GRAY, linestyle=":", linewidth=1, zorder=1)


def format_free_methods(rows: pd.DataFrame) -> str:
    """Lines for the title with each method that spends no teacher tokens; "" without one."""
    lines = []
    for row in rows.itertuples():
        lines.append(f"\n{row.method} {format_interval(row.mean, row.ci_low, row.ci_high)}")
    return "\nwithout teacher tokens:" + "".join(lines) if lines else ""
