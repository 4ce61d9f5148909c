"""Hours and GPU-hours of every part of a run.

Reads the provenance of every output below results/<run>/; writes --out (svg), the same as png, and the numbers as csv.

    heal plot-hours --config config/config.yaml --out figures/hours.svg
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from heal.command import Section
from heal.errors import HealError
from heal.provenance import build_ledger

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

PARTS = {
    "problems": "problems",
    "models": "models made by the run",
    "samples": "base samples",
    "grades": "grading",
    "extra": "extra samples (equal cost)",
    "guided": "answer-guided samples",
    "repairs": "GEAR: hints and repairs",
    "scores": "PURE: scoring",
    "premise": "premise",
    "passes": "student passes",
    "curricula": "curricula",
    "students": "training",
    "evals": "evaluation",
}
"""First folder of an output, or which of a teacher's trace files it is → label."""
NO_WORK = ("model-card",)
"""Commands whose outputs are in a folder of PARTS, but which only describe results."""
QUANTITIES = {"gpu_seconds": "GPU-hours", "seconds": "hours of all jobs together"}


class PlotHours(FigureCommand):
    name = "plot-hours"

    run_folder: Annotated[Path, Section("comparisons.main.run")]
    """Folder of the run, results/<run>."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = sum_hours(build_ledger(self.run_folder))
        return plot_hours(numbers), numbers


def find_part(output: str) -> str:
    """The part of the run that an output belongs to: a key of PARTS, or its own first folder."""
    first, *rest = Path(output).parts
    if first != "traces":
        return first
    file = next(name for name in rest[2:] if name != "shards")  # traces/<teacher>/teacher_seed<n>/[shards/]<file>
    return "passes" if file == "students" else file.partition(".")[0]


def sum_hours(ledger: pd.DataFrame) -> pd.DataFrame:
    """One row per part of the run, in the order of PARTS: number of jobs, seconds, GPU-seconds.

    Outputs made from results (tables, figures, pages, model cards) are left out. ledger: from
    `heal.provenance.build_ledger`. Raises HealError where no row is left.
    """
    if len(ledger):
        work = ledger[~ledger["command"].isin(NO_WORK)]
        work = work.assign(part=list(map(find_part, work["output"])))
        work = work[work["part"].isin(PARTS)]
    if not len(ledger) or work.empty:
        raise HealError("no provenance of a rule that did work", where="--run-folder", fix="run the workflow first")
    sums = work.groupby("part").agg(
        jobs=("seconds", "size"), seconds=("seconds", "sum"), gpu_seconds=("gpu_seconds", "sum")
    )
    return sums.reindex([part for part in PARTS if part in sums.index]).reset_index()


def plot_hours(numbers: pd.DataFrame) -> Figure:
    """A bar per part of the run: GPU-hours, where GPUs were leased, and the hours of all jobs."""
    columns = [column for column in QUANTITIES if column == "seconds" or numbers[column].any()]
    labels = list(map(PARTS.__getitem__, numbers["part"]))
    size = (style.WIDTH_IN, len(columns) * (0.85 + 0.22 * len(labels)))
    figure, axes = plt.subplots(len(columns), 1, figsize=size, squeeze=False)
    for axis, column in zip(axes.flat, columns, strict=True):
        plot_bars(axis, numbers[column], numbers["jobs"], QUANTITIES[column])
        axis.set_yticks(range(len(labels)), labels)
        axis.set_ylim(len(labels) - 0.4, -0.6)
    if "gpu_seconds" not in columns:
        axes[0, 0].set_title("no GPU was leased", loc="right", color=style.GRAY)
    return figure


def plot_bars(axis: Axes, seconds: pd.Series, jobs: pd.Series, label: str) -> None:
    """A bar per part with its value, in hours, or in minutes where the total is below an hour."""
    unit, divisor = ("hours", 3600) if seconds.sum() >= 3600 else ("minutes", 60)
    values = seconds / divisor
    axis.barh(range(len(values)), values, height=0.7, color=style.BLUE)
    for y, (value, count) in enumerate(zip(values, jobs, strict=True)):
        text = f"{value:.2f}  ({count} job{'s' if count > 1 else ''})"
        axis.annotate(text, (value, y), xytext=(4, 0), textcoords="offset points", va="center")
    axis.set_xlim(0, 1.75 * values.max())
    axis.set_xlabel(f"{label.replace('hours', unit)}; {values.sum():.2f} in total", loc="right")
