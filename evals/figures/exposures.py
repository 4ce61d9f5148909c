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
    measure_height,
    measure_legend,
    plot_methods,
    read_table,
    select_outcome_rows,
    set_limits,
)
from evals.figures.style import plt
from evals.results import UNTRAINED, ComparisonCommand, Run, read_json
from heal.errors import HealError

VERSION = 3
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
    """A panel per teacher, student, benchmark and quantity, with its rank correlation."""
    panels = list(numbers.groupby(PANEL, sort=False))
    methods = list(dict.fromkeys(numbers["method"]))
    height = measure_height([panel for _, panel in panels], list(EXPOSURES), 2.0)
    lines = len(panels) * len(EXPOSURES)
    size = (style.WIDTH_IN, lines * (height + 0.85) + measure_legend(len(methods)))
    figure, axes = plt.subplots(lines, 1, figsize=size, squeeze=False)
    pairs = product(panels, EXPOSURES)
    for axis, ((place, panel), column) in zip(axes[:, 0], pairs, strict=True):
        set_limits(axis, numbers[column], numbers)
        plot_methods(axis, panel, column, methods, 72 * height)
        label_panel(axis, place, panel, column, numbers)
    add_legend(figure, methods)
    return figure


def label_panel(
    axis: Axes, place: tuple[str, str, str], panel: pd.DataFrame, column: str, numbers: pd.DataFrame
) -> None:
    """The panel's models and rank correlation on top, the quantity below."""
    rank_column, label = EXPOSURES[column]
    rank = panel[rank_column].iloc[0]
    text = "cannot say" if math.isnan(rank) else f"{rank:+.2f}"
    axis.set_title(f"{format_title(place, numbers)}\nrank correlation over methods: {text}", loc="left")
    axis.grid(axis="y", color=style.LIGHT, linewidth=0.6)
    axis.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axis.set_xlabel(label)
    axis.set_ylabel(ACCURACY_LABEL)
