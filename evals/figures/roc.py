"""How well PURE's anomaly and its rival scores separate invalid repairs from valid ones.

Reads problems, and the repairs and scores of the run's own GEAR variant for every teacher and teacher sampling seed;
writes --out (svg), the same as png, and the numbers as csv.

    heal plot-roc --config config/config.yaml --out figures/roc.svg
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from evals.audits.checker_truth import Truth
from evals.audits.estimates import collect_column
from evals.audits.pure import ERROR_ORIGINS, classify_scored, compute_suspicions, select_scores
from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from evals.stats import compute_auroc
from heal import records, run_layout
from heal.command import Section
from heal.config.experiment import Pure
from heal.records import Row
from heal.trace_files import DEFAULT_VARIANT, REPAIRS, SCORES

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

ANOMALY = "anomaly"
LEAST = 30
"""Minimum number of invalid and of valid repairs for a curve (ours): one of ten moves a curve by a tenth."""
GRID = np.linspace(0, 1, 101)
"""False positive rates at which a curve is read: thousands of repairs would give as many points."""
LOOKS: dict[str, tuple[str, str | tuple]] = {
    ANOMALY: (style.VERMILLION, "-"),
    "max step perplexity": (style.BLUE, "--"),
    "max token NLL": (style.SKY, "-."),
    "s (answer statement NLL)": (style.GREEN, (0, (5, 1, 1, 1, 1, 1))),
    "first mention of the gold answer": (style.PURPLE, (0, (1, 1))),
    "length in tokens": (style.ORANGE, (0, (6, 3))),
    "random": (style.GRAY, (0, (1, 4))),
}
"""Score → color, line style."""
COLUMNS = [
    *("error", "score", "false_positive_rate", "true_positive_rate"),
    *("auroc", "auroc_low", "auroc_high", "invalid", "valid"),
]


class ScoredRepairs(NamedTuple):
    """The scores file and the repairs file of one teacher sampling seed."""

    scores: Sequence[Row]
    repairs: Sequence[Row]


class PlotRoc(FigureCommand):
    name = "plot-roc"

    run_folder: Annotated[Path, Section("comparisons.main.run")]
    """Folder of the run, results/<run>."""
    teachers: Annotated[list[str], Section("comparisons.main.teachers")]
    """Names of the teachers."""
    teacher_seeds: Annotated[int, Section("comparisons.main.teacher_seeds")] = 1
    """Number of teacher sampling seeds."""
    variant: str = DEFAULT_VARIANT
    """GEAR variant whose repairs are judged."""
    pure: Annotated[Pure, Section("pure")] = Pure()
    """PURE's options."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        problems = records.read(self.run_folder / "problems" / "train.parquet", "problems")
        gold = {row["problem_id"]: row["answer"] for row in problems}
        truth = Truth(problems)
        parts = []
        for teacher in self.teachers:
            numbers = compute_roc(self.read_scored_repairs(teacher), truth, self.pure, gold, self.seed)
            parts.append(numbers.assign(teacher=teacher))
        numbers = pd.concat(parts)[["teacher", *COLUMNS]]
        return plot_roc(numbers), numbers

    def read_scored_repairs(self, teacher: str) -> list[ScoredRepairs]:
        """Scores and repairs of every teacher sampling seed. Raises HealError for a missing file."""
        parts = []
        for teacher_seed in range(self.teacher_seeds):
            folder = self.run_folder / run_layout.TRACES.format(teacher=teacher, teacher_seed=teacher_seed)
            scores = records.read(folder / SCORES.of(variant=self.variant).path, SCORES.schema)
            repairs = records.read(folder / REPAIRS.of(variant=self.variant).path, REPAIRS.schema)
            parts.append(ScoredRepairs(scores, repairs))
        return parts


def compute_roc(
    parts: Sequence[ScoredRepairs], truth: Truth, options: Pure, gold: Mapping[str, str], seed: int
) -> pd.DataFrame:
    """Rows: error, score, one point of its ROC curve, AUROC with interval.

    One row with NaN for a point where a class has fewer than LEAST repairs. parts: of each teacher sampling seed,
    pooled as one sample. The seeds share problems, so problems are what varies.
    """
    origin_parts, group_parts = [], []
    suspicion_parts: dict[str, list[np.ndarray]] = {}
    for part in parts:
        scores = select_scores(part.scores, "repair")
        origin_parts.append(classify_scored(scores, part.repairs, truth))
        group_parts.append(collect_column(scores, "problem_id", str))
        for name, suspicion in compute_suspicions(scores, part.repairs, options, gold, seed).items():
            suspicion_parts.setdefault(name, []).append(suspicion)
    origins, groups = np.concatenate(origin_parts), np.concatenate(group_parts)
    rows = []
    for error in ERROR_ORIGINS:
        compared = (origins == "valid") | (origins == error)
        invalid = origins[compared] == error
        n_invalid, n_valid = int(invalid.sum()), int((~invalid).sum())
        for name, suspicions in suspicion_parts.items():
            suspicion = np.concatenate(suspicions)[compared]
            area = compute_auroc(suspicion, invalid, groups=groups[compared])
            points = compute_curve(suspicion, invalid) if min(n_invalid, n_valid) >= LEAST else [(math.nan, math.nan)]
            for point in points:
                rows.append([error, name, *point, area.mean, area.low, area.high, n_invalid, n_valid])
    return pd.DataFrame(rows, columns=COLUMNS)


def compute_curve(suspicion: np.ndarray, invalid: np.ndarray) -> list[tuple[float, float]]:
    """(false, true) positive rates on GRID, starting at (0, 0). Ties are one point; scores may be infinite."""
    false, true, _ = roc_curve(invalid, rankdata(suspicion), drop_intermediate=False)
    return [(0.0, 0.0), *zip(GRID.tolist(), np.interp(GRID, false, true).tolist(), strict=True)]


def plot_roc(numbers: pd.DataFrame) -> Figure:
    """A panel per teacher and origin of the error, with AUROCs in the legend, the highest first.

    Where a class has fewer than LEAST repairs, a sentence at the end says so instead.
    """
    panels, sentences = [], []
    for (teacher, error), rows in numbers.groupby(["teacher", "error"], sort=False):
        title = f"teacher {teacher}: {error} errors"
        if rows["true_positive_rate"].isna().all():
            found = f"{rows['invalid'].iloc[0]} invalid and {rows['valid'].iloc[0]} valid repairs"
            sentences.append(f"{title}: cannot say, {found}; a curve needs {LEAST} of each.")
        else:
            panels.append((title, rows))
    text = style.wrap("\n".join(sentences))
    if not panels:
        return style.plot_message(text)
    size = (style.WIDTH_IN, 4.7 * len(panels) + 0.2 * len(text.splitlines()))
    figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False)
    for axis, (title, rows) in zip(axes[:, 0], panels, strict=True):
        axis.set_title(title, loc="left")
        plot_curves(axis, rows)
    figure.supxlabel(text, x=0.02, ha="left")
    return figure


def plot_curves(axis: Axes, rows: pd.DataFrame) -> None:
    """The curve of every score for one teacher and one origin of errors."""
    first = rows.iloc[0]
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xlabel(f"false positive rate, of {first['valid']} valid repairs")
    axis.set_ylabel(f"true positive rate, of {first['invalid']} invalid")
    axis.plot([0, 1], [0, 1], color=style.LIGHT, linewidth=0.8, zorder=0)
    best_first = rows.groupby("score", sort=False)["auroc"].first().sort_values(ascending=False, kind="stable")
    for name in best_first.index:
        curve = rows[rows["score"] == name]
        color, line_style = LOOKS[name]
        is_anomaly = name == ANOMALY
        axis.plot(
            curve["false_positive_rate"],
            curve["true_positive_rate"],
            color=color,
            linestyle=line_style,
            linewidth=2.0 if is_anomaly else 1.3,
            label=format_area(curve.iloc[0]),
            zorder=3 if is_anomaly else 2,
        )
    options = {"handlelength": 3.2, "alignment": "left", "borderaxespad": 0, "title": "AUROC [95 % interval]"}
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), **options)


def format_area(row: pd.Series) -> str:
    """AUROC, interval and name of a score."""
    name = "PURE's anomaly" if row["score"] == ANOMALY else row["score"]
    bounds = "cannot say" if math.isnan(row["auroc_low"]) else f"{row['auroc_low']:.2f}, {row['auroc_high']:.2f}"
    return f"{row['auroc']:.2f} [{bounds}] {name}"
