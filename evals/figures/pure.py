"""PURE's anomaly of every scored repair, by what a step checker says of it, and the threshold of the quantile rule.

Reads problems, repairs and their scores; writes --out (svg), the same as png, and the numbers as csv.

    heal plot-pure --config config/config.yaml --problems problems/train.parquet --repairs repairs/default.parquet \\
        --scores scores/default.parquet --out figures/pure.svg
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.audits.checker_truth import Truth
from evals.audits.pure import classify_scored, select_scores
from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from heal import records
from heal.command import Section
from heal.config.experiment import Pure
from heal.method import pure
from heal.records import Row
from heal.worlds import registry as worlds

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

COLUMNS = ["trace_id", "error", "anomaly", "kept"]
UNCHECKED = "repair"
"""`error` of a repair whose steps cannot be checked."""
ORIGINS = {
    "valid": (style.BLUE, "o"),
    "inherited": (style.ORANGE, "s"),
    "fresh": (style.VERMILLION, "^"),
    UNCHECKED: (style.GRAY, "o"),
}
"""Origin of a repair's first error → color, marker."""


class PlotPure(FigureCommand):
    name = "plot-pure"

    problems: Path
    """The problems file."""
    repairs: Path
    """The repairs file."""
    scores: Path
    """The scores of the repairs."""
    pure: Annotated[Pure, Section("pure")] = Pure()
    """PURE's options; the figure always shows the threshold of its rule `quantile`."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        problems = records.read(self.problems, "problems")
        truth = Truth(problems) if worlds.is_checkable(problems) else None
        scores = records.read(self.scores, "scores")
        numbers = collect_anomalies(scores, records.read(self.repairs, "repairs"), truth, self.pure)
        return plot_pure(numbers, self.pure.drop_share), numbers


def collect_anomalies(
    scores: Sequence[Row], repairs: Sequence[Row], truth: Truth | None, options: Pure
) -> pd.DataFrame:
    """One row per scored repair: origin of its error, anomaly (ln of the ratio), whether the quantile rule keeps it."""
    repair_scores = select_scores(scores, "repair")
    origins = np.full(len(repair_scores), UNCHECKED)
    if truth:
        origins = classify_scored(repair_scores, repairs, truth)
    quantile_options = options.model_copy(update={"rule": "quantile", "enabled": True})
    kept_ids = pure.select_kept(scores, "repair", quantile_options)
    rows = []
    for score, origin in zip(repair_scores, origins, strict=True):
        trace_id = score["trace_id"]
        rows.append([trace_id, str(origin), pure.compute_anomaly(score, options), trace_id in kept_ids])
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["error", "trace_id"])


def plot_pure(numbers: pd.DataFrame, drop_share: float) -> Figure:
    """A strip per origin of the error, with the median as a bar; what is right of the dashed line is dropped."""
    if not len(numbers):
        return style.plot_message("No repair was accepted, so none was scored.")
    origins = [origin for origin in ORIGINS if (numbers["error"] == origin).any()]
    finite = numbers["anomaly"][np.isfinite(numbers["anomaly"])]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    floor = low - 0.08 * max(high - low, 1.0)
    figure, axis = plt.subplots(figsize=(style.WIDTH_IN, 1.5 + 0.75 * len(origins)))
    labels = []
    for y, origin in enumerate(origins):
        rows = numbers[numbers["error"] == origin]
        values = rows["anomaly"].clip(lower=floor)
        color, marker = ORIGINS[origin]
        # The golden ratio spreads neighbors evenly, without a random generator.
        spread = y + 0.3 * (2 * ((np.arange(len(rows)) * 0.618034) % 1) - 1)
        axis.scatter(values, spread, s=18, marker=marker, color=color, alpha=0.7, linewidths=0)
        axis.vlines(values.median(), y - 0.38, y + 0.38, color=style.BLACK, linewidth=2)
        labels.append(f"{origin}\nn = {len(rows)}, kept {int(rows['kept'].sum())}")
    mark_threshold(axis, numbers[~numbers["kept"]]["anomaly"], (floor + high) / 2, drop_share)
    axis.set_yticks(range(len(origins)), labels)
    axis.set_ylim(len(origins) - 0.5, -0.85)
    label = "anomaly, nats: max ln(step perplexity / (answer uncertainty + ε)); black bar: median"
    figure.supxlabel(style.wrap(label))
    return figure


def mark_threshold(axis: Axes, dropped: pd.Series, middle: float, drop_share: float) -> None:
    """A dashed line at the smallest anomaly that is dropped, with its label on the side that has room."""
    if not len(dropped) or not np.isfinite(dropped.min()):
        return
    threshold = dropped.min()
    axis.axvline(threshold, color=style.VERMILLION, linestyle="--", linewidth=1.5)
    alignment, offset = ("right", -4) if threshold > middle else ("left", 4)
    axis.annotate(
        f"dropped from here (λ = {drop_share:g}) →",
        (threshold, -0.62),
        xytext=(offset, 0),
        textcoords="offset points",
        ha=alignment,
        va="center",
        color=style.VERMILLION,
    )
