"""What the figures of accuracy against a quantity share: rows of the primary benchmark, marks with numbers, legend.

Shown is the benchmark of the primary contrast, or all benchmarks where a table has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from evals.figures import style
from evals.results import TEACHER
from evals.tables.comparison_rows import PRIMARY
from heal.errors import HealError

PANEL = ["teacher", "student", "benchmark"]
MEAN = ["mean", "ci_low", "ci_high"]
TOKENS = ["teacher_tokens_generated", "teacher_tokens_prefilled"]
"""Token columns of a comparison's table; the second includes scored tokens."""

SHIFT_POINTS = 5.5
"""Distance of marks that are moved apart, in points."""
CLOSE = 0.02
"""Marks closer than this share of the axis are moved apart."""
MARGIN = 0.14
"""Empty share of the axis on either side of the marks."""
ACCURACY_LABEL = "accuracy (share correct), 95 % interval"


def read_table(path: Path) -> pd.DataFrame:
    """The csv of a comparison; a student's name is text, also where it is a number."""
    return pd.read_csv(path, dtype={"student": str}, keep_default_na=False, na_values=[""])


def select_outcome_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the primary contrast's benchmark, without the teacher's. Raises HealError where there are none."""
    fix = "give the csv that heal tabulate-comparison writes"
    for column in (*PANEL, "method", "family", *MEAN, *TOKENS):
        if column not in table.columns:
            raise HealError(f"no column {column!r}", where="--table", fix=fix)
    students = table[table["method"] != TEACHER]
    primary = students.loc[students["family"] == PRIMARY, "benchmark"]
    chosen = students[students["benchmark"].isin(primary)] if len(primary) else students
    if chosen.empty:
        raise HealError("no row of a student", where="--table", fix=fix)
    return chosen


def move_apart(x: np.ndarray, width: float) -> np.ndarray:
    """By how many places each mark is moved, so that marks within `width` of the leftmost one do not overlap."""
    places = np.zeros(len(x))
    order, start = np.argsort(x, kind="stable"), 0
    for i in range(1, len(x) + 1):
        if i == len(x) or x[order[i]] - x[order[start]] > width:
            places[order[start:i]] = np.arange(i - start) - (i - start - 1) / 2
            start = i
    return places


def plot_methods(axis: Axes, panel: pd.DataFrame, column: str, methods: Sequence[str]) -> None:
    """A mark with interval and number for each method; overlapping ones are moved, a tick shows their value.

    methods: every method of the figure; a method's number is its place in it.
    """
    x = panel[column].to_numpy(float)
    span = np.ptp(x) or max(abs(x.max()), 1.0)
    axis.set_xlim(x.min() - MARGIN * span, x.max() + MARGIN * span)
    for row, place in zip(panel.itertuples(index=False), move_apart(x, CLOSE * span), strict=True):
        color, marker = style.get_look(row.method)
        moved = axis.transData + ScaledTranslation(SHIFT_POINTS * place / 72, 0, axis.figure.dpi_scale_trans)
        value = getattr(row, column)
        options: dict[str, Any] = {"color": color, "transform": moved, "clip_on": False}
        axis.plot([value, value], [row.ci_low, row.ci_high], linewidth=1.4, zorder=2, **options)
        axis.scatter([value], [row.mean], s=30, marker=marker, zorder=3, **options)
        axis.plot([value], [0.02], marker="|", markersize=5, color=style.GRAY, transform=axis.get_xaxis_transform())
        top = row.mean if math.isnan(row.ci_high) else row.ci_high
        axis.annotate(
            str(methods.index(row.method) + 1),
            (value, top),
            xytext=(SHIFT_POINTS * place, 3),
            textcoords="offset points",
            ha="center",
            size=7,
        )


def add_legend(figure: Figure, methods: Sequence[str], extra: Sequence[Line2D] = ()) -> None:
    """Number, mark and name of every method: with the numbers the figure can be read in gray."""
    handles = []
    for number, method in enumerate(methods, 1):
        color, marker = style.get_look(method)
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="", label=f"{number} {method}"))
    figure.legend(handles=[*handles, *extra], loc="outside right upper", fontsize=8)


def format_title(panel: tuple[str, str, str], numbers: pd.DataFrame) -> str:
    """Teacher and benchmark, and the student where the figure has several."""
    teacher, student, benchmark = panel
    models = f"teacher {teacher}"
    if numbers["student"].nunique() > 1:
        models += f", student {student}"
    return f"{models}\n{benchmark.replace(':', ': ')}"


def set_limits(axis: Axes, x: pd.Series, numbers: pd.DataFrame) -> None:
    """Limits of a shared axis: every x with a margin, and every accuracy of `numbers`."""
    margin = MARGIN * (np.ptp(x) or max(x.max(), 1.0))
    axis.set_xlim(x.min() - margin, x.max() + margin)
    top = 1.12 * max(float(np.nanmax(numbers[MEAN].to_numpy(float))), 0.05)
    axis.set_ylim(-0.03 * top, top)
