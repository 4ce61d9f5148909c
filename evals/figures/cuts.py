"""What the cuts of every GEAR variant are worth, as the audits say.

Reads the audits of every teacher (heal combine-audits); writes --out (svg), the same as png, and the numbers as csv.

    heal plot-cuts --config config/config.yaml --comparison ablations --audits audits_default.csv \\
        --audits audits_confident.csv --out figures/ablations/cuts.svg
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
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

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

QUANTITIES = {
    ("cut", "exact"): "exact hits: the first wrong step is the first dropped",
    ("cut", "share of right prefix kept"): "share of the correct prefix that the cut keeps",
    ("repairs", "valid repairs per 1,000 teacher tokens"): "valid repairs per 1,000 teacher tokens",
}
"""(audit, quantity) → axis label."""
SHARES = (("cut", "exact"), ("cut", "share of right prefix kept"))
"""Those that are shares, from 0 to 1."""
TITLE_CHARACTERS = 36
"""Characters in a line of a panel's title at most."""
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
    """A panel per teacher and quantity, a line per variant: value and interval."""
    pairs = list(product(dict.fromkeys(numbers["teacher"]), QUANTITIES))
    labels = {}
    for row in numbers.itertuples(index=False):
        labels[row.variant] = row.method or row.variant
    size = (style.WIDTH_IN, len(pairs) * (0.9 + 0.22 * len(labels)))
    figure, axes = plt.subplots(len(pairs), 1, figsize=size, squeeze=False)
    for axis, (teacher, (audit, quantity)) in zip(axes[:, 0], pairs, strict=True):
        is_shown = (numbers["teacher"] == teacher) & (numbers["audit"] == audit) & (numbers["quantity"] == quantity)
        plot_quantity(axis, numbers[is_shown], labels)
        title = f"teacher {teacher}: {QUANTITIES[audit, quantity]}"
        axis.set_title(style.wrap(title, TITLE_CHARACTERS), loc="left")
        if (audit, quantity) in SHARES:
            axis.set_xlim(0, 1.04)
    return figure


def plot_quantity(axis: Axes, rows: pd.DataFrame, labels: Mapping[str, str]) -> None:
    """One quantity of every variant of one teacher. labels: variant → its name in the figure."""
    looks = style.assign_looks(labels.values())
    variants = list(labels)
    for row in rows.itertuples(index=False):
        y = variants.index(row.variant)
        color, marker = looks[labels[row.variant]]
        if math.isnan(row.value):
            axis.text(0, y, "cannot say", color=style.GRAY, va="center")
            continue
        axis.hlines(y, row.low, row.high, color=color, linewidth=1.6)
        axis.scatter(row.value, y, s=34, marker=marker, color=color, zorder=3)
    axis.grid(axis="x", color=style.LIGHT, linewidth=0.6)
    axis.set_xlim(left=0)
    axis.set_yticks(range(len(labels)), list(labels.values()))
    axis.set_ylim(len(labels) - 0.4, -0.6)
