"""Accuracy of every method on every benchmark, with its interval and the means of the single students.

Reads the answers of a run; writes --out (svg), the same as png, and the numbers as csv.

    heal plot-accuracy --config config/config.yaml --comparison main --out figures/main/accuracy.svg
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.panels import PANEL, make_method_panels
from evals.results import TEACHER, UNTRAINED, ComparisonCommand, Run
from evals.tables.contrasts import estimate_mean

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

COLUMNS = ["teacher", "student", "benchmark", "method", "mean", "ci_low", "ci_high", "seeds"]


class PlotAccuracy(ComparisonCommand, FigureCommand):
    name = "plot-accuracy"

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = collect_accuracy(self.open_run())
        return plot_accuracy(numbers), numbers


def collect_accuracy(run: Run) -> pd.DataFrame:
    """One row per teacher, student, benchmark and method: mean, 95 % interval, and each student's mean in `seeds`."""
    rows = []
    for teacher, student in product(run.teachers, run.students):
        for benchmark in run.list_benchmarks(teacher):
            for method, scores_TSQ in read_scores(run, teacher, student, benchmark):
                interval = estimate_mean(scores_TSQ)
                means = " ".join(map("{:.4f}".format, scores_TSQ.mean(axis=-1).ravel()))
                bounds = (interval.mean, interval.low, interval.high)
                rows.append([teacher, student, benchmark, method, *bounds, means])
    return pd.DataFrame(rows, columns=COLUMNS)


def read_scores(run: Run, teacher: str, student: str, benchmark: str) -> Iterator[tuple[str, np.ndarray]]:
    """(method, scores [teacher seeds, training seeds, questions]): the teacher, the untrained student, every method."""
    yield TEACHER, run.get_teacher_scores(teacher, benchmark)[None, None]
    yield UNTRAINED, run.get_untrained_scores(teacher, student, benchmark)[None, None]
    for method in run.methods:
        yield method, run.get_student_scores(teacher, student, method, benchmark)


def plot_accuracy(numbers: pd.DataFrame) -> Figure:
    """A panel per teacher, student and benchmark; a line per method: mean, interval, a tick for each student."""
    methods = list(dict.fromkeys(numbers["method"]))
    figure, axes = make_method_panels(numbers, methods)
    for axis, (_, panel) in zip(axes, numbers.groupby(PANEL, sort=False), strict=True):
        plot_panel(axis, panel, methods)
    label = "accuracy (share correct), 95 % interval; ticks: single students; each panel has its own scale"
    figure.supxlabel(style.wrap(label))
    return figure


def plot_panel(axis: Axes, panel: pd.DataFrame, methods: list[str]) -> None:
    """The methods of one panel, each on its own line."""
    looks = style.assign_looks(methods)
    for row in panel.itertuples(index=False):
        y = methods.index(row.method)
        color, marker = looks[row.method]
        students = list(map(float, row.seeds.split()))
        if len(students) > 1:
            axis.scatter(students, [y + 0.28] * len(students), s=9, marker="|", color=color, linewidths=1)
        axis.hlines(y, row.ci_low, row.ci_high, color=color, linewidth=1.6)
        axis.scatter(row.mean, y, s=34, marker=marker, color=color, zorder=3)
    axis.grid(axis="x", color=style.LIGHT, linewidth=0.6)
    top = min(1.0, math.ceil(20 * panel[["mean", "ci_high"]].max(axis=None) + 0.01) / 20)
    axis.set_xlim(-0.03 * top, 1.03 * top)
    axis.locator_params(axis="x", nbins=4)
