"""Two figures of a study's traces: what each detector's cuts are worth, and whether PURE's score finds invalid repairs.

Pure functions from audits, repairs and scores to numbers and from numbers to a figure; `evals.figures.study` reads,
draws and saves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from evals.audits.checker_truth import Truth
from evals.audits.pure import ERROR_ORIGINS, classify_scored, compute_suspicions
from evals.figures import style
from evals.figures.style import plt
from evals.stats import compute_auroc
from heal.config.experiment import Pure
from heal.errors import HealError
from heal.records import Row

CUTS = {  # (audit, quantity) → what stands under its panels
    ("cut", "exact"): "exact hits:\nthe first wrong step is the first to go",
    ("cut", "share of right prefix kept"): "share of the right prefix\nthat the cut keeps",
    ("repairs", "valid repairs per 1,000 teacher tokens"): "valid repairs per\n1,000 teacher tokens",
}
GRID = np.linspace(0, 1, 101)  # of false positive rates; a curve of thousands of repairs would be as many points
SCORES: dict[str, tuple[str, str | tuple]] = {
    "anomaly": (style.VERMILLION, "-"),
    "max step perplexity": (style.BLUE, "--"),
    "max token NLL": (style.SKY, "-."),
    "s (answer statement NLL)": (style.GREEN, (0, (5, 1, 1, 1, 1, 1))),
    "first mention of the gold answer": (style.PURPLE, (0, (1, 1))),
    "length in tokens": (style.ORANGE, (0, (6, 3))),
    "random": (style.GREY, (0, (1, 4))),
}


def cuts_numbers(audits: Mapping[str, pd.DataFrame], methods: Mapping[str, str]) -> pd.DataFrame:
    """One row per teacher, GEAR variant and quantity of CUTS, as the audits say it.

    methods: variant → the method that uses it; "" where none of the comparison does. Raises HealError where an audit
    has none of them.
    """
    parts = []
    for teacher, frame in audits.items():
        rows = frame[[pair in CUTS for pair in zip(frame["audit"], frame["quantity"], strict=True)]]
        if rows.empty:
            found = f"no quantity of cuts for teacher {teacher}"
            raise HealError(
                found, where="--audits", fix="give the csv that heal audit or heal combine-audits writes"
            )
        parts.append(rows.assign(teacher=teacher, method=[methods.get(variant, "") for variant in rows["variant"]]))
    columns = ["teacher", "variant", "method", "audit", "quantity", "value", "low", "high", "n"]
    return pd.concat(parts)[columns]


def cuts_figure(numbers: pd.DataFrame) -> plt.Figure:
    """A line of panels per teacher, a panel per quantity, a row per variant: value and interval."""
    teachers, variants = (list(dict.fromkeys(numbers[column])) for column in ("teacher", "variant"))
    method = dict(zip(numbers["variant"], numbers["method"], strict=True))
    names = [f"{method[v]} ({detector(v)})" if method[v] else detector(v) for v in variants]
    size = (10.2, len(teachers) * (0.75 + 0.26 * len(variants)) + 0.6)
    figure, axes = plt.subplots(len(teachers), len(CUTS), figsize=size, sharex="col", sharey=True, squeeze=False)
    for line, teacher in zip(axes, teachers, strict=True):
        for axis, (audit, quantity) in zip(line, CUTS, strict=True):
            here = numbers[(numbers["teacher"] == teacher) & (numbers["quantity"] == quantity)]
            for row in here[here["audit"] == audit].itertuples(index=False):
                y, (color, marker) = variants.index(row.variant), style.look(row.method or row.variant)
                if math.isnan(row.value):
                    axis.text(0, y, "cannot say", color=style.GREY, va="center", size=7.5)
                    continue
                axis.hlines(y, row.low, row.high, color=color, linewidth=1.6)
                axis.scatter(row.value, y, s=34, marker=marker, color=color, zorder=3)
            axis.grid(axis="x", color=style.LIGHT, linewidth=0.6)
            axis.set_xlim(left=0)
            axis.tick_params(labelbottom=True)
        line[0].set_title(f"teacher {teacher}", loc="left")
    for axis, meaning in zip(axes[-1], CUTS.values(), strict=True):
        axis.set_xlabel(meaning)
    for axis in axes[0, :2]:
        axis.set_xlim(0, 1.04)
    axes[0, 0].set_yticks(range(len(variants)), names)
    axes[0, 0].set_ylim(len(variants) - 0.4, -0.6)
    return figure


def detector(variant: str) -> str:
    """A variant is named <detector>-<hash of GEAR's options>."""
    return variant.rpartition("-")[0] or variant


def roc_numbers(
    draws: Sequence[tuple[Sequence[Row], Sequence[Row]]], truth: Truth, options: Pure, gold: dict[str, str], seed: int
) -> pd.DataFrame:
    """Rows: error, score, points of its ROC curve, AUROC with interval; one row without a point where a class is empty.

    draws: scores and repairs of each draw; all are one sample, and problems, which draws share, are what varies.
    """
    labels, groups, parts = [], [], []
    for scores, repairs in draws:
        mine = [score for score in scores if score["kind"] == "repair"]
        labels += list(classify_scored(mine, repairs, truth))
        groups += [score["problem_id"] for score in mine]
        parts.append(compute_suspicions(mine, repairs, options, gold, seed))
    label, group = np.array(labels, dtype=str), np.array(groups, dtype=str)
    found = []
    for error in ERROR_ORIGINS:
        use = (label == "valid") | (label == error)
        invalid = label[use] == error
        for name in parts[0]:
            values = np.concatenate([part[name] for part in parts])[use]
            area = compute_auroc(values, invalid, groups=group[use])
            points = curve(values, invalid) if 0 < invalid.sum() < len(invalid) else [(math.nan, math.nan)]
            facts = (area.mean, area.low, area.high, int(invalid.sum()), int((~invalid).sum()))
            found += [[error, name, *point, *facts] for point in points]
    columns = ["error", "score", "false_positive_rate", "true_positive_rate"]
    return pd.DataFrame(found, columns=[*columns, "auroc", "auroc_low", "auroc_high", "invalid", "valid"])


def curve(values: np.ndarray, invalid: np.ndarray) -> list[tuple[float, float]]:
    """(false, true) positive rates on GRID, from (0, 0) on; ties rise and go right at once. Scores may be infinite."""
    false, true, _ = roc_curve(invalid, rankdata(values), drop_intermediate=False)
    return [(0.0, 0.0), *zip(GRID.tolist(), np.interp(GRID, false, true).tolist(), strict=True)]


def roc_figure(numbers: pd.DataFrame) -> plt.Figure:
    """A line of panels per teacher, a panel per kind of error; each score's AUROC beside it, the best first."""
    teachers, errors = (list(dict.fromkeys(numbers[column])) for column in ("teacher", "error"))
    size = (6.2 * len(errors), 3.0 * len(teachers) + 0.4)
    figure, axes = plt.subplots(len(teachers), len(errors), figsize=size, squeeze=False, layout="compressed")
    for line, teacher in zip(axes, teachers, strict=True):
        for axis, error in zip(line, errors, strict=True):
            here = numbers[(numbers["teacher"] == teacher) & (numbers["error"] == error)]
            first = here.iloc[0]
            axis.set_title(f"teacher {teacher}: {error} errors", loc="left")
            axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
            axis.set_xlabel(f"valid repairs suspected, of {first['valid']}", size=8)
            axis.set_ylabel(f"invalid ones found, of {first['invalid']}", size=8)
            axis.plot([0, 1], [0, 1], color=style.LIGHT, linewidth=0.8, zorder=0)
            if here["true_positive_rate"].isna().all():
                axis.text(0.5, 0.5, "cannot say: a class is empty", ha="center", va="center", color=style.GREY, size=8)
                continue
            best_first = here.groupby("score", sort=False)["auroc"].first().sort_values(ascending=False, kind="stable")
            for name in best_first.index:
                rows = here[here["score"] == name]
                color, dashes = SCORES[name]
                front = 3 if name == "anomaly" else 2
                axis.plot(
                    rows["false_positive_rate"],
                    rows["true_positive_rate"],
                    color=color,
                    linestyle=dashes,
                    linewidth=2.0 if name == "anomaly" else 1.3,
                    label=area_text(rows.iloc[0]),
                    zorder=front,
                )
            legend = axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, handlelength=3.2)
            legend.set_title("AUROC [95 %]", prop={"size": 7.5})
            legend._legend_box.align = "left"
    return figure


def area_text(row: pd.Series) -> str:
    name = "PURE's anomaly" if row["score"] == "anomaly" else row["score"]
    bounds = "cannot say" if math.isnan(row["auroc_low"]) else f"{row['auroc_low']:.2f}, {row['auroc_high']:.2f}"
    return f"{row['auroc']:.2f} [{bounds}] {name}"
