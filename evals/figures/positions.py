"""Where GEAR cuts wrong traces, and how often the repairs from there succeed.

Reads problems and repairs; writes --out (svg), the same as png, and the numbers as csv.

    heal plot-positions --problems problems/train.parquet --repairs repairs/default.parquet --out figures/positions.svg
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.audits.checker_truth import Truth
from evals.audits.estimates import compute_mean
from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from heal import records
from heal.records import Row
from heal.worlds import registry as worlds

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

BINS = 20
"""Bins of the share of its steps that a wrong trace keeps."""
SUCCESS = {
    "accepted": (style.BLUE, "o", -1, "accepted"),
    "valid": (style.GREEN, "s", 1, "accepted, and valid at every step"),
}
"""Column → color, marker, side of the bin's middle, label."""
COLUMNS = [
    *("from_share", "to_share", "traces", "repairs"),
    *("accepted", "accepted_low", "accepted_high", "valid", "valid_low", "valid_high"),
]


class PlotPositions(FigureCommand):
    name = "plot-positions"

    problems: Path
    """The problems file."""
    repairs: Path
    """The repairs file."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        problems = records.read(self.problems, "problems")
        truth = Truth(problems) if worlds.is_checkable(problems) else None
        numbers = count_cuts(records.read(self.repairs, "repairs"), truth)
        return plot_positions(numbers), numbers


def count_cuts(repairs: Sequence[Row], truth: Truth | None) -> pd.DataFrame:
    """One row per bin of the share of its steps that a repaired trace keeps: traces, repairs, share of successes.

    A cut that keeps nothing is a restart: bin from 0 to 0. accepted, valid: shares of the repairs that were tried, with
    the interval over problems; valid: accepted and valid at every step, NaN without a checker.
    """
    rows_by_bin: dict[int, list[Row]] = {}
    for row in repairs:
        if row["trace_id"] is not None:
            share = row["kept_steps"] / len(row["step_entropies"])
            rows_by_bin.setdefault(math.ceil(share * BINS - 1e-9), []).append(row)
    table = []
    for last, rows in sorted(rows_by_bin.items()):
        problem_ids = [row["problem_id"] for row in rows]
        accepted = compute_mean([row["accepted"] for row in rows], problem_ids)
        valid = compute_mean([], [])
        if truth:
            valid = compute_mean([row["accepted"] and truth.is_valid(row) for row in rows], problem_ids)
        traces = len({row["source_id"] for row in rows})
        shares = (accepted.mean, accepted.low, accepted.high, valid.mean, valid.low, valid.high)
        table.append([max(last - 1, 0) / BINS, last / BINS, traces, len(rows), *shares])
    return pd.DataFrame(table, columns=COLUMNS)


def plot_positions(numbers: pd.DataFrame) -> Figure:
    """Above, how many wrong traces are cut where; below, which share of their repairs succeeds."""
    if not len(numbers):
        return style.plot_message("No wrong trace was cut.")
    width = 1 / BINS
    is_restart = numbers["to_share"] == 0
    middle = np.where(is_restart, -width, (numbers["from_share"] + numbers["to_share"]) / 2)
    figure, (above, below) = plt.subplots(2, 1, figsize=(style.WIDTH_IN, 5.0), sharex=True, height_ratios=(2, 3))
    plot_counts(above, middle, numbers["traces"], 0.85 * width)
    plot_success(below, middle, numbers, 0.12 * width)
    last = numbers["to_share"].max()
    ticks = np.arange(0, last + width / 2, 4 * width if last > 8 * width else width)
    labels = list(map("{:.0f} %".format, 100 * ticks))
    if is_restart.any():
        ticks = np.insert(ticks, 0, -width)
        labels.insert(0, "restart")
    below.set_xticks(ticks, labels)
    label = "position of the cut: share of the wrong trace's steps that is kept; 95 % intervals over problems"
    below.set_xlabel(style.wrap(label))
    return figure


def plot_counts(axis: Axes, middle: np.ndarray, traces: pd.Series, width: float) -> None:
    """A bar per bin with the number of wrong traces."""
    axis.bar(middle, traces, width=width, color=style.GRAY)
    for x, count in zip(middle, traces, strict=True):
        axis.annotate(f"{count:g}", (x, count), xytext=(0, 2), textcoords="offset points", ha="center", rotation=90)
    axis.set_ylabel("wrong traces cut")
    axis.set_ylim(0, 1.4 * traces.max())


def plot_success(axis: Axes, middle: np.ndarray, numbers: pd.DataFrame, offset: float) -> None:
    """A mark with its interval per bin and kind of success; without a checker only for `accepted`."""
    for column, (color, marker, side, label) in SUCCESS.items():
        if numbers[column].isna().all():
            continue
        x = middle + side * offset
        axis.vlines(x, numbers[f"{column}_low"], numbers[f"{column}_high"], color=color, linewidth=1.6)
        axis.scatter(x, numbers[column], s=34, color=color, marker=marker, label=label, zorder=3)
    axis.set_ylim(-0.04, 1.04)
    axis.set_ylabel("share of repairs")
    axis.grid(axis="y", color=style.LIGHT, linewidth=0.6)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1.2, handletextpad=0.3)
