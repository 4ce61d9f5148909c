"""The teacher's pass rates on the training problems: how many it solves how often, and how many never.

Reads problems and the grades of the base samples; writes --out (svg), the same as png, and the numbers as csv.

    heal plot-ceiling --problems problems/train.parquet --grades grades.parquet --out figures/ceiling.svg
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from heal import records
from heal.errors import HealError
from heal.method.base import group_by_problem
from heal.records import Row

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

COLUMNS = ["difficulty", "samples", "correct", "problems"]
COLORS = (style.SKY, style.VERMILLION, style.GREEN, style.ORANGE, style.BLUE, style.PURPLE)
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")


class PlotCeiling(FigureCommand):
    name = "plot-ceiling"

    problems: Path
    """The problems that were sampled."""
    grades: Path
    """The grades of the teacher's base samples."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        problems = records.read(self.problems, "problems")
        numbers = count_solved(problems, records.read(self.grades, "grades"))
        return plot_ceiling(numbers), numbers


def count_solved(problems: Sequence[Row], grades: Sequence[Row]) -> pd.DataFrame:
    """Number of problems by difficulty, samples and correct samples. Raises HealError for grades of other problems."""
    difficulty = {row["problem_id"]: row["difficulty"] for row in problems}
    counts: Counter[tuple[str, int, int]] = Counter()
    for problem_id, rows in group_by_problem(grades).items():
        if problem_id not in difficulty:
            fix = "give the problems that were sampled"
            raise HealError(f"problem {problem_id} is not among the problems", where="grades", fix=fix)
        correct = sum(row["correct"] for row in rows)
        counts[difficulty[problem_id], len(rows), correct] += 1
    numbers = [[*key, counts[key]] for key in sorted(counts)]
    return pd.DataFrame(numbers, columns=COLUMNS)


def plot_ceiling(numbers: pd.DataFrame) -> Figure:
    """A bar per number of correct samples, stacked by difficulty; the bar at 0 is the teacher's ceiling."""
    most = int(numbers["samples"].max())
    figure, axis = plt.subplots(figsize=(style.WIDTH_IN, 3.4))
    base = np.zeros(most + 1)
    for index, (difficulty, rows) in enumerate(numbers.groupby("difficulty", sort=True)):
        heights = np.bincount(rows["correct"], weights=rows["problems"], minlength=most + 1)
        color = COLORS[index % len(COLORS)]
        hatch = HATCHES[index % len(HATCHES)]
        label = difficulty or "not stated"
        axis.bar(
            range(most + 1), heights, bottom=base, width=0.85, label=label, color=color, hatch=hatch, edgecolor="white"
        )
        base += heights
    unsolved = int(base[0])
    axis.annotate(
        f"never solved: {unsolved} of {int(base.sum())}",
        (-0.42, unsolved),
        xytext=(0, 3),
        textcoords="offset points",
        fontweight="bold",
    )
    axis.set_ylim(0, base.max() * 1.15)
    axis.set_xlabel(f"correct of {most} base samples")
    axis.set_ylabel("problems")
    axis.locator_params(axis="x", integer=True)
    figure.legend(title="difficulty", loc="outside lower center", ncols=3)
    return figure
