"""Accuracy on the primary benchmark against what the students were shown: exposures per example, supervised tokens.

Reads a comparison's table and exposures, and every student's training.json; writes --out (svg), the same as png, and
the numbers as csv.

    heal plot-exposures --config config/config.yaml --comparison ablations --table tables/ablations.csv \\
        --exposures tables/ablations_exposures.csv --out figures/ablations/exposures.svg
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.panels import (
    ACCURACY_LABEL,
    MEAN,
    PANEL,
    add_legend,
    format_title,
    plot_methods,
    read_table,
    select_outcome_rows,
    set_limits,
)
from evals.figures.style import plt
from evals.results import UNTRAINED, ComparisonCommand, Run, read_json
from heal.errors import HealError

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

KEYS = ["teacher", "student", "method"]
EXPOSURES = {
    "exposures_per_example": ("rank_exposures", "exposures per training example"),
    "supervised_tokens": ("rank_supervised", "supervised tokens per student"),
}
"""Column → column of its rank correlation with accuracy, axis label."""


class PlotExposures(ComparisonCommand, FigureCommand):
    name = "plot-exposures"

    table: Path
    """The comparison's csv."""
    exposures: Path
    """The comparison's exposures csv."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = collect_exposures(self.open_run(), read_table(self.table), pd.read_csv(self.exposures))
        return plot_exposures(numbers), numbers


def collect_exposures(run: Run, table: pd.DataFrame, exposures: pd.DataFrame) -> pd.DataFrame:
    """One row per teacher, student, benchmark and method: what its students were shown, and their accuracy.

    exposures_per_example: over all stages and teacher seeds; supervised_tokens: mean over all seeds. rank_…: Spearman's
    correlation with accuracy over the methods of a panel, NaN below three. Raises HealError for missing files.
    """
    sums = exposures.groupby(KEYS)[["exposures", "examples"]].sum()
    per_example = (sums["exposures"] / sums["examples"]).rename("exposures_per_example").reset_index()
    tokens = []
    for teacher, student, method in product(run.teachers, run.students, run.methods):
        tokens.append([teacher, student, method, average_supervised_tokens(run, teacher, student, method)])
    shown = per_example.merge(pd.DataFrame(tokens, columns=[*KEYS, "supervised_tokens"]), on=KEYS)
    rows = select_outcome_rows(table)
    rows = rows[rows["method"] != UNTRAINED][[*PANEL, "method", *MEAN]]
    numbers = rows.merge(shown, on=KEYS, how="left")
    missing = numbers[numbers[list(EXPOSURES)].isna().any(axis=1)]
    if len(missing):
        problem = f"no exposures of method {missing.iloc[0]['method']!r}"
        raise HealError(problem, where="--exposures, --comparison", fix="give table and exposures of one comparison")
    rank_columns = []
    for column, (rank_column, _) in EXPOSURES.items():
        ranks = numbers.groupby(PANEL)[[column, "mean"]].apply(compute_rank_correlation, column)
        numbers = numbers.join(ranks.rename(rank_column), on=PANEL)
        rank_columns.append(rank_column)
    return numbers[[*PANEL, "method", *EXPOSURES, *MEAN, *rank_columns]]


def average_supervised_tokens(run: Run, teacher: str, student: str, method: str) -> float:
    """Tokens under the loss in the training of one student, mean over all seeds. Raises HealError."""
    total = 0
    for teacher_seed, seed in run.list_seeds():
        folder = run.get_student_folder(teacher, teacher_seed, student, method, seed)
        total += read_json(folder / "training.json")["tokens"]["supervised"]
    return total / len(run.list_seeds())


def compute_rank_correlation(rows: pd.DataFrame, column: str) -> float:
    """Spearman's, of a column with the mean accuracy; NaN below three methods or without variation."""
    if len(rows) < 3 or rows[column].nunique() < 2 or rows["mean"].nunique() < 2:
        return math.nan
    return float(rows[column].corr(rows["mean"], method="spearman"))


def plot_exposures(numbers: pd.DataFrame) -> Figure:
    """A line of panels per teacher, student and benchmark, a panel per quantity with its rank correlation."""
    panels = list(numbers.groupby(PANEL, sort=False))
    methods = list(dict.fromkeys(numbers["method"]))
    height = max(len(panels) * 2.7 + 0.4, 0.6 + 0.2 * len(methods))
    figure, axes = plt.subplots(
        len(panels), len(EXPOSURES), figsize=(10.8, height), sharex="col", sharey=True, squeeze=False
    )
    for line, (place, panel) in zip(axes, panels, strict=True):
        for axis, column in zip(line, EXPOSURES, strict=True):
            plot_methods(axis, panel, column, methods)
            label_panel(axis, panel, column)
        line[0].set_title(format_title(place, numbers), loc="left")
    for axis, column in zip(axes[0], EXPOSURES, strict=True):
        set_limits(axis, numbers[column], numbers)
    axes[0, 1].xaxis.set_major_formatter(EngFormatter(sep=" "))
    add_legend(figure, methods)
    figure.supylabel(ACCURACY_LABEL, size=9)
    return figure


def label_panel(axis: Axes, panel: pd.DataFrame, column: str) -> None:
    """Rank correlation on top, the quantity below."""
    rank_column, label = EXPOSURES[column]
    rank = panel[rank_column].iloc[0]
    text = "cannot say" if math.isnan(rank) else f"{rank:+.2f}"
    axis.set_title(f"rank correlation over methods: {text}", loc="right", size=8)
    axis.grid(axis="y", color=style.LIGHT, linewidth=0.6)
    axis.tick_params(labelbottom=True)
    axis.set_xlabel(label)
