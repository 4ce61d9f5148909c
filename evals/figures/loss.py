"""Training loss of every method's students by optimizer step and PACE stage; losses of one kind share an axis.

Reads every student's loss.csv; writes --out (svg), the same as png, and the numbers as csv.

    heal plot-loss --config config/config.yaml --comparison main --out figures/main/loss.svg
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from evals.results import ComparisonCommand, Run, build_methods
from heal.errors import HealError
from heal.method.base import Method

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

PANELS_PER_ROW = 2
PANEL_CHARACTERS = 24
"""Characters in a panel's title at most."""
LIKELIHOOD = "negative log-likelihood, nats per token"
DIVERGENCE = "divergence from the teacher, nats per token"
"""Of a method that learns from the teacher's probabilities: not on one scale with the other."""
BLOCKS = 24
"""Points per stage at most: the loss of a single optimizer step is too noisy to read."""
ROMAN = {1: "I", 2: "II", 3: "III"}
COLUMNS = ["teacher", "student", "method", "kind", "stage", "block", "step", "loss", "least", "most", "trained"]


class PlotLoss(ComparisonCommand, FigureCommand):
    name = "plot-loss"

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = collect_losses(self.open_run(), find_losses(build_methods(self.view)))
        return plot_loss(numbers), numbers


def find_losses(methods: Mapping[str, Method]) -> dict[str, str]:
    """Method → its kind of loss: LIKELIHOOD or DIVERGENCE."""
    return {name: DIVERGENCE if method.distillation else LIKELIHOOD for name, method in methods.items()}


def read_losses(run: Run, teacher: str, student: str, method: str) -> list[pd.DataFrame]:
    """loss.csv of each of a method's students. Raises HealError for a missing or empty one."""
    losses = []
    for teacher_seed, seed in run.list_seeds():
        path = run.get_student_folder(teacher, teacher_seed, student, method, seed) / "loss.csv"
        try:
            losses.append(pd.read_csv(path))
        except (FileNotFoundError, pd.errors.EmptyDataError):
            problem = "the file is empty" if path.exists() else "no such file"
            raise HealError(problem, where=str(path), fix="train this student again (snakemake does)") from None
    return losses


def average_blocks(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean optimizer step and loss of consecutive steps of a stage, in at most BLOCKS blocks per stage."""
    parts = []
    for stage, rows in losses.groupby("stage", sort=False):
        block = np.arange(len(rows)) * min(BLOCKS, len(rows)) // len(rows)
        parts.append(rows.groupby(block)[["step", "loss"]].mean().assign(stage=stage))
    return pd.concat(parts).rename_axis("block").reset_index()


def collect_losses(run: Run, kinds: Mapping[str, str]) -> pd.DataFrame:
    """One row per teacher, student, method, stage and block.

    kinds: method → kind of its loss. step: mean optimizer step; loss, least, most: mean, smallest and largest of the
    students, nats per token; trained: number of students.
    """
    parts = []
    for teacher, student, method in product(run.teachers, run.students, run.methods):
        students = list(map(average_blocks, read_losses(run, teacher, student, method)))
        blocks = pd.concat(students).groupby(["stage", "block"], sort=False)
        rows = blocks.agg(step=("step", "mean"), loss=("loss", "mean"), least=("loss", "min"), most=("loss", "max"))
        rows = rows.assign(trained=blocks.size()).reset_index()
        parts.append(rows.assign(teacher=teacher, student=student, method=method, kind=kinds[method]))
    return pd.concat(parts)[COLUMNS]


def plot_loss(numbers: pd.DataFrame) -> Figure:
    """A panel per teacher, student and method; stages are shaded and numbered, the band is the range of students.

    Each kind of loss has rows of its own, with its own scale.
    """
    rows: list[list[tuple]] = []
    for _, losses in numbers.groupby("kind", sort=False):
        panels = list(losses.groupby(["teacher", "student", "method"], sort=False))
        for start in range(0, len(panels), PANELS_PER_ROW):
            rows.append(panels[start : start + PANELS_PER_ROW])
    size = (style.WIDTH_IN, 0.6 + 1.75 * len(rows))
    figure, axes = plt.subplots(len(rows), PANELS_PER_ROW, figsize=size, sharex=True, squeeze=False)
    looks = style.assign_looks(numbers["method"])
    tops = 1.05 * numbers.groupby("kind")["most"].max()
    has_several_models = len(numbers[["teacher", "student"]].drop_duplicates()) > 1
    for line, panels in zip(axes, rows, strict=True):
        for axis, ((teacher, student, method), panel) in zip(line, panels, strict=False):
            kind = panel["kind"].iloc[0]
            plot_stages(axis, panel, looks[method], tops[kind])
            models = f"\n{teacher} → {student}" if has_several_models else ""
            axis.set_title(style.wrap(method + models, PANEL_CHARACTERS), loc="left")
        line[0].set_ylabel(textwrap.fill(kind, len("divergence from")))
        for axis in line[len(panels) :]:
            axis.set_visible(False)
    label = "optimizer step; Roman numerals: PACE stages; band: smallest to largest of the students"
    figure.supxlabel(style.wrap(label))
    return figure


def plot_stages(axis: Axes, panel: pd.DataFrame, look: tuple[str, str], top: float) -> None:
    """The losses of one method, stage by stage. look: color and marker; top: upper end of the axis, nats per token."""
    color, marker = look
    start = panel["step"].min()
    for index, (stage, rows) in enumerate(panel.groupby("stage", sort=False)):
        steps, end = rows["step"], rows["step"].max()
        if index % 2:
            axis.axvspan(start, end, color=style.LIGHT, alpha=0.45, linewidth=0, zorder=0)
        axis.fill_between(steps, rows["least"], rows["most"], color=color, alpha=0.25, linewidth=0)
        axis.plot(steps, rows["loss"], color=color, linewidth=1.4, marker=marker, markersize=3.5, markevery=(2, 8))
        axis.text((start + end) / 2, top * 0.97, ROMAN.get(stage, str(stage)), ha="center", va="top")
        start = end
    axis.set_ylim(0, top)
    axis.tick_params(labelbottom=True)
    axis.locator_params(axis="x", nbins=4)
    axis.locator_params(axis="y", nbins=4)
