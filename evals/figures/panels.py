"""What the figures of accuracy against a quantity share: rows of the primary benchmark, numbered marks, legend.

Shown is the benchmark of the primary contrast, or all benchmarks where a table has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from evals.figures import style
from evals.figures.style import plt
from evals.results import TEACHER
from evals.tables.comparison_rows import PRIMARY
from heal.errors import HealError

PANEL = ["teacher", "student", "benchmark"]
MEAN = ["mean", "ci_low", "ci_high"]
TOKENS = ["teacher_tokens_generated", "teacher_tokens_prefilled"]
"""Token columns of a comparison's table; the second includes scored tokens."""

LABEL_POINTS = 11
"""Distance of two numbers of marks, points."""
CLOSE = 0.08
"""Marks closer than this share of the axis have their numbers in one column."""
MARGIN = 0.12
"""Empty share of the axis on either side of the marks."""
PANELS_PER_ROW = 2
"""Panels with a line per method."""
PANEL_CHARACTERS = 24
"""Characters in the title of one of them at most."""
ACCURACY_LABEL = "accuracy, 95 % interval"


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


def group_close(x: np.ndarray, width: float) -> list[np.ndarray]:
    """Indices of marks, in groups within `width` of their leftmost one."""
    groups: list[list[int]] = []
    for index in np.argsort(x, kind="stable"):
        if groups and x[index] - x[groups[-1][0]] <= width:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [np.array(group) for group in groups]


def spread(y: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Places near `y` and at least `gap` apart, in the same order, between `low` and `high` where they fit."""
    order = np.argsort(y, kind="stable")
    offsets = gap * np.arange(len(y))
    # Places at least a gap apart less their offsets do not fall: the nearest such are an isotonic regression.
    shifted = isotonic_regression(y[order] - offsets).x
    places = np.empty(len(y))
    places[order] = np.clip(shifted, low, max(low, high - offsets[-1])) + offsets
    return places


def plot_methods(axis: Axes, panel: pd.DataFrame, column: str, methods: Sequence[str], height_points: float) -> None:
    """A mark with interval for each method, at its own x; its number beside it, with a line where it had to move.

    The limits of the axis are set already. methods: every method of the figure; a method's number is its place in it.
    """
    looks = style.assign_looks(methods)
    x, y = panel[column].to_numpy(float), panel["mean"].to_numpy(float)
    left, right = axis.get_xlim()
    low, high = axis.get_ylim()
    gap = LABEL_POINTS / height_points * (high - low)
    for group in group_close(x, CLOSE * (right - left)):
        places = spread(y[group], gap, low + gap / 2, high - gap / 2)
        edge = x[group].max() + 0.03 * (right - left)
        for index, place in zip(group, places, strict=True):
            row = panel.iloc[index]
            color, marker = looks[row["method"]]
            axis.plot([x[index]] * 2, [row["ci_low"], row["ci_high"]], color=color, linewidth=1.2, alpha=0.5, zorder=2)
            axis.scatter([x[index]], [y[index]], s=34, marker=marker, color=color, zorder=3, clip_on=False)
            axis.plot([x[index], edge], [y[index], place], color=style.GRAY, linewidth=0.5, zorder=1)
            number = methods.index(row["method"]) + 1
            axis.text(edge, place, f" {number}", ha="left", va="center", size=style.TEXT_POINTS, clip_on=False)


def measure_height(panels: Sequence[pd.DataFrame], columns: Sequence[str], least: float) -> float:
    """Height of a panel in inches, with room for the longest column of numbers. least: in inches."""
    longest = 0
    for panel in panels:
        for column in columns:
            x = panel[column].to_numpy(float)
            span = np.ptp(x) or 1.0
            longest = max(longest, *(len(group) for group in group_close(x, CLOSE * (1 + 2 * MARGIN) * span)))
    return max(least, 1.1 * LABEL_POINTS * longest / 72)


def add_legend(figure: Figure, methods: Sequence[str], extra: Sequence[Line2D] = ()) -> None:
    """Number, mark and name of every method, below: with the numbers the figure can be read in gray."""
    handles = []
    looks = style.assign_looks(methods)
    for number, method in enumerate(methods, 1):
        color, marker = looks[method]
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="", label=f"{number} {method}"))
    handles += extra
    figure.legend(handles=handles, loc="outside lower left", ncols=2, handletextpad=0.3, columnspacing=1.0)


def measure_legend(entries: int) -> float:
    """Height of the legend in inches."""
    return 0.25 + 0.2 * math.ceil(entries / 2)


def make_method_panels(numbers: pd.DataFrame, methods: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Two panels a row, one per teacher, student and benchmark, with a line per method.

    numbers: one row per panel and method. Only the panels on the left name the methods.
    """
    places = list(numbers[PANEL].drop_duplicates().itertuples(index=False, name=None))
    columns = min(PANELS_PER_ROW, len(places))
    lines = math.ceil(len(places) / columns)
    size = (style.WIDTH_IN, lines * (0.85 + 0.22 * len(methods)) + 0.5)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    has_several_models = len(numbers[["teacher", "student"]].drop_duplicates()) > 1
    for axis, (teacher, student, benchmark) in zip(axes.flat, places, strict=False):
        models = f"\n{teacher} → {student}" if has_several_models else ""
        axis.set_title(style.wrap(benchmark.replace(":", ": ") + models, PANEL_CHARACTERS), loc="left")
    axes.flat[0].set_yticks(range(len(methods)), methods)
    axes.flat[0].set_ylim(len(methods) - 0.4, -0.6)
    for axis in axes.flat[len(places) :]:
        axis.set_visible(False)
    return figure, list(axes.flat[: len(places)])


def format_title(panel: tuple[str, str, str], numbers: pd.DataFrame) -> str:
    """Benchmark and teacher, and the student where the figure has several."""
    teacher, student, benchmark = panel
    models = f"teacher {teacher}"
    if numbers["student"].nunique() > 1:
        models += f", student {student}"
    return style.wrap(f"{benchmark.replace(':', ': ')}; {models}")


def set_limits(axis: Axes, x: pd.Series, numbers: pd.DataFrame) -> None:
    """Limits of a shared axis: every x with a margin, and every accuracy of `numbers`."""
    margin = MARGIN * (np.ptp(x) or max(x.max(), 1.0))
    axis.set_xlim(x.min() - margin, x.max() + margin)
    top = 1.12 * max(float(np.nanmax(numbers[MEAN].to_numpy(float))), 0.05)
    axis.set_ylim(-0.03 * top, top)
