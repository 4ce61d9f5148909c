"""What the cuts of every GEAR variant are worth, as the audits say.

Reads the audits of every teacher (heal combine-audits); writes --out (svg), the same as png, and the numbers as csv.

    heal plot-cuts --config config/config.yaml --comparison ablations --audits audits_default.csv \\
        --audits audits_confident.csv --out figures/ablations/cuts.svg
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.audits.combine_teacher_seeds import read_audits
from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from evals.results import build_methods
from heal.command import Section
from heal.config.run_config import ComparisonView
from heal.errors import HealError
from heal.method.base import Method
from heal.trace_files import REPAIRS

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

QUANTITIES = {
    ("cut", "exact"): "exact hits: the first wrong step\nis the first to be dropped",
    ("cut", "share of right prefix kept"): "share of the correct prefix\nthat the cut keeps",
    ("repairs", "valid repairs per 1,000 teacher tokens"): "valid repairs per\n1,000 teacher tokens",
}
"""(audit, quantity) → axis label."""
SHARES = 2
"""How many of the first quantities are shares, from 0 to 1."""
COLUMNS = ["teacher", "variant", "method", "audit", "quantity", "value", "low", "high", "n"]


class PlotCuts(FigureCommand):
    name = "plot-cuts"

    comparison: str
    """Name of the comparison in the config."""
    view: Annotated[ComparisonView, Section("comparisons.{comparison}")]
    """The comparison, for its teachers and methods."""
    audits: list[Path]
    """The audits csv of every teacher, in the order of the config (once per file)."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        numbers = select_cut_quantities(self.read_audits(), find_methods_by_variant(build_methods(self.view)))
        return plot_cuts(numbers), numbers

    def read_audits(self) -> dict[str, pd.DataFrame]:
        """Teacher → audits. Raises HealError where teachers and files do not pair up."""
        teachers = self.view.teachers
        if len(teachers) != len(self.audits):
            problem = f"{len(teachers)} teachers, {len(self.audits)} files"
            raise HealError(problem, where="--audits", fix="give one audits csv per teacher, in the config's order")
        return dict(zip(teachers, map(read_audits, self.audits), strict=True))


def find_methods_by_variant(methods: Mapping[str, Method]) -> dict[str, str]:
    """GEAR variant → the method that trains on its repairs; HEAL before a control of it."""
    names: dict[str, str] = {}
    for name in sorted(methods, key=lambda name: methods[name].name != "heal"):
        variant = methods[name].variant
        if variant is not None and REPAIRS.of(variant=variant) in methods[name].needs():
            names.setdefault(variant, name)
    return names


def select_cut_quantities(audits: Mapping[str, pd.DataFrame], methods: Mapping[str, str]) -> pd.DataFrame:
    """One row per teacher, GEAR variant and quantity of QUANTITIES, with the audits' value and interval.

    methods: variant → the method that uses it; "" in the table where no method of the comparison does. Raises HealError
    for audits without any of the quantities.
    """
    parts = []
    for teacher, frame in audits.items():
        pairs = zip(frame["audit"], frame["quantity"], strict=True)
        rows = frame[np.fromiter(map(QUANTITIES.__contains__, pairs), dtype=bool, count=len(frame))]
        if rows.empty:
            problem = f"no quantity of cuts for teacher {teacher}"
            raise HealError(problem, where="--audits", fix="give the csv that heal audit or heal combine-audits writes")
        users = [methods.get(variant, "") for variant in rows["variant"]]
        parts.append(rows.assign(teacher=teacher, method=users))
    return pd.concat(parts)[COLUMNS]


def plot_cuts(numbers: pd.DataFrame) -> Figure:
    """A line of panels per teacher, a panel per quantity, a row per variant: value and interval."""
    teachers = list(dict.fromkeys(numbers["teacher"]))
    labels = {}
    for row in numbers.itertuples(index=False):
        labels[row.variant] = f"{row.method} ({row.variant})" if row.method else row.variant
    size = (10.2, len(teachers) * (0.75 + 0.26 * len(labels)) + 0.6)
    figure, axes = plt.subplots(len(teachers), len(QUANTITIES), figsize=size, sharex="col", sharey=True, squeeze=False)
    for line, teacher in zip(axes, teachers, strict=True):
        of_teacher = numbers[numbers["teacher"] == teacher]
        for axis, (audit, quantity) in zip(line, QUANTITIES, strict=True):
            rows = of_teacher[(of_teacher["audit"] == audit) & (of_teacher["quantity"] == quantity)]
            plot_quantity(axis, rows, list(labels))
        line[0].set_title(f"teacher {teacher}", loc="left")
    for axis, label in zip(axes[-1], QUANTITIES.values(), strict=True):
        axis.set_xlabel(label)
    for axis in axes[0, :SHARES]:
        axis.set_xlim(0, 1.04)
    axes[0, 0].set_yticks(range(len(labels)), labels.values())
    axes[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    return figure


def plot_quantity(axis: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    """One quantity of every variant of one teacher."""
    for row in rows.itertuples(index=False):
        y = variants.index(row.variant)
        color, marker = style.get_look(row.method or row.variant)
        if math.isnan(row.value):
            axis.text(0, y, "cannot say", color=style.GRAY, va="center", size=7.5)
            continue
        axis.hlines(y, row.low, row.high, color=color, linewidth=1.6)
        axis.scatter(row.value, y, s=34, marker=marker, color=color, zorder=3)
    axis.grid(axis="x", color=style.LIGHT, linewidth=0.6)
    axis.set_xlim(left=0)
    axis.tick_params(labelbottom=True)
