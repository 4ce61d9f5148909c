"""Two figures of a study's students: accuracy against what the teacher spent, and against what the students were shown.

Pure functions from a comparison's table to numbers and from numbers to a figure; `evals.figures.study` reads, draws and
saves. Shown are the questions that the teacher never solves (the primary outcome), all benchmarks where there are none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import ScaledTranslation

from evals.figures import style
from evals.figures.style import plt
from evals.results import UNSOLVED, Run
from evals.tables.comparison import TEACHER, UNTRAINED
from evals.tables.render import format_interval
from heal.errors import HealError

PLACE = ["teacher", "student", "benchmark"]
MEAN = ["mean", "ci_low", "ci_high"]
SPENT = ["teacher_tokens_generated", "teacher_tokens_prefilled"]  # the second holds scored tokens
PANELS_PER_ROW = 2
APART, CLOSE = 5.5, 0.02  # points between marks that are closer than this share of the axis
DOSES = {  # column → its rank correlation with accuracy, what stands under the panel
    "exposures_per_example": ("rank_exposures", "exposures per training example"),
    "supervised_tokens": ("rank_supervised", "supervised tokens per student"),
}


def hard_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the primary outcome, without the teacher's own. Raises HealError where there are none."""
    if absent := [column for column in (*PLACE, "method", *MEAN, *SPENT) if column not in table.columns]:
        raise HealError(
            f"no column {absent[0]!r}", where="--table", fix="give the csv that evals.tables.comparison writes"
        )
    students = table[table["method"] != TEACHER]
    hard = students[students["benchmark"].str.endswith(UNSOLVED)]
    chosen = hard if len(hard) else students
    if chosen.empty:
        raise HealError("no row of a student", where="--table", fix="give the csv that evals.tables.comparison writes")
    return chosen


def cost_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """One row per teacher, student, benchmark and method; tokens: generated, prefilled and scored, of one draw."""
    rows = hard_rows(table)
    numbers = rows[[*PLACE, "method"]].assign(teacher_tokens=rows[SPENT].sum(axis=1, min_count=2))
    return numbers.join(rows[MEAN])


def dose_numbers(run: Run, table: pd.DataFrame, exposures: pd.DataFrame) -> pd.DataFrame:
    """One row per teacher, student, benchmark and method: what its students were shown, and their accuracy.

    exposures_per_example: over all stages and draws; supervised_tokens: mean over draws and seeds. rank_…: Spearman's
    correlation of a dose with accuracy over the panel's methods, empty below three. Raises HealError for missing files.
    """
    keys = ["teacher", "student", "method"]
    shown = exposures.groupby(keys)[["exposures", "examples"]].sum()
    shown = (shown["exposures"] / shown["examples"]).rename("exposures_per_example").reset_index()
    tokens = [
        [teacher, student, method, supervised_tokens(run, teacher, student, method)]
        for teacher in run.teachers
        for student in run.students
        for method in run.methods
    ]
    doses = shown.merge(pd.DataFrame(tokens, columns=[*keys, "supervised_tokens"]), on=keys)
    rows = hard_rows(table)
    rows = rows[rows["method"] != UNTRAINED][[*PLACE, "method", *MEAN]]
    numbers = rows.merge(doses, on=keys, how="left")
    if len(lost := numbers[numbers[list(DOSES)].isna().any(axis=1)]):
        where = "--exposures, --methods"
        raise HealError(f"no dose of method {lost.iloc[0]['method']!r}", where=where, fix="give the table's own axes")
    for dose, (rank, _) in DOSES.items():
        ranks = numbers.groupby(PLACE)[[dose, "mean"]].apply(rank_correlation, dose)
        numbers = numbers.join(ranks.rename(rank), on=PLACE)
    return numbers[[*PLACE, "method", *DOSES, *MEAN, *(rank for rank, _ in DOSES.values())]]


def supervised_tokens(run: Run, teacher: str, student: str, method: str) -> float:
    """Tokens under the loss in one student's training, mean over draws and seeds. Raises HealError."""
    return run.compute_training_tokens(teacher, student, method, "supervised")


def rank_correlation(rows: pd.DataFrame, dose: str) -> float:
    """Spearman's; NaN below three methods or without variation."""
    if len(rows) < 3 or rows[dose].nunique() < 2 or rows["mean"].nunique() < 2:
        return math.nan
    return float(rows[dose].corr(rows["mean"], method="spearman"))


def side_by_side(x: np.ndarray, width: float) -> np.ndarray:
    """How many places each mark is moved, so that marks within `width` of the first of them do not hide each other."""
    places = np.zeros(len(x))
    order, start = np.argsort(x, kind="stable"), 0
    for i in range(1, len(x) + 1):
        if i == len(x) or x[order[i]] - x[order[start]] > width:
            places[order[start:i]] = np.arange(i - start) - (i - start - 1) / 2
            start = i
    return places


def draw_methods(axis: Axes, panel: pd.DataFrame, column: str, numbered: Sequence[str]) -> None:
    """A mark with its interval and number for each method; those of close x side by side, strokes where they belong."""
    x = panel[column].to_numpy(float)
    span = np.ptp(x) or max(abs(x.max()), 1.0)
    axis.set_xlim(x.min() - 0.14 * span, x.max() + 0.14 * span)
    for row, place in zip(panel.itertuples(index=False), side_by_side(x, CLOSE * span), strict=True):
        color, marker = style.look(row.method)
        moved = axis.transData + ScaledTranslation(APART * place / 72, 0, axis.figure.dpi_scale_trans)
        at = getattr(row, column)
        look: dict[str, Any] = {"color": color, "transform": moved, "clip_on": False}
        axis.plot([at, at], [row.ci_low, row.ci_high], linewidth=1.4, zorder=2, **look)
        axis.scatter([at], [row.mean], s=30, marker=marker, zorder=3, **look)
        axis.plot([at], [0.02], marker="|", markersize=5, color=style.GREY, transform=axis.get_xaxis_transform())
        number = numbered.index(row.method) + 1
        high = row.mean if math.isnan(row.ci_high) else row.ci_high
        axis.annotate(
            str(number), (at, high), xytext=(APART * place, 3), textcoords="offset points", ha="center", size=7
        )


def legend(figure: plt.Figure, methods: Sequence[str], extra: Sequence[Line2D] = ()) -> None:
    """Number, mark and name of every method; the numbers stand beside the marks, so that the figure reads in grey."""
    handles = [
        Line2D([], [], color=style.look(name)[0], marker=style.look(name)[1], linestyle="", label=f"{number} {name}")
        for number, name in enumerate(methods, 1)
    ]
    figure.legend(handles=[*handles, *extra], loc="outside right upper", fontsize=8)


def panel_title(place: tuple[str, str, str], numbers: pd.DataFrame) -> str:
    """Teacher and benchmark; the student where there are several."""
    teacher, student, benchmark = place
    who = f"teacher {teacher}" + (f", student {student}" if numbers["student"].nunique() > 1 else "")
    return f"{who}\n{benchmark.replace(':', ': ')}"


def top_of(numbers: pd.DataFrame) -> float:
    return 1.12 * max(float(np.nanmax(numbers[MEAN].to_numpy(float))), 0.05)


def cost_figure(numbers: pd.DataFrame, more_samples: Sequence[str]) -> plt.Figure:
    """A panel per teacher, student and benchmark; `more_samples` are joined in the order of their cost.

    A method without teacher tokens stands in the title, as far as there are others: it would only stretch both axes.
    """
    spends = (numbers["method"] != UNTRAINED) & (numbers["teacher_tokens"] > 0)
    spends = spends if spends.any() else numbers["method"] != UNTRAINED
    trained, free = numbers[spends], numbers[~spends & (numbers["method"] != UNTRAINED)]
    panels, methods = list(numbers.groupby(PLACE, sort=False)), list(dict.fromkeys(trained["method"]))
    columns = min(PANELS_PER_ROW, len(panels))
    lines = math.ceil(len(panels) / columns)
    height = max(lines * 2.9 + 0.4, 0.6 + 0.2 * (len(methods) + 2))
    figure, axes = plt.subplots(
        lines, columns, figsize=(2.4 + 4.2 * columns, height), sharex=True, sharey=True, squeeze=False
    )
    for axis, (place, panel) in zip(axes.flat, panels, strict=False):
        rows, others = panel[spends.loc[panel.index]], free.loc[free.index.isin(panel.index)]
        joined = rows[rows["method"].isin(more_samples)].sort_values("teacher_tokens")
        axis.plot(joined["teacher_tokens"], joined["mean"], color=style.GREY, linestyle="--", linewidth=1, zorder=1)
        for floor in panel.loc[panel["method"] == UNTRAINED, "mean"]:
            axis.axhline(floor, color=style.GREY, linestyle=":", linewidth=1, zorder=1)
        draw_methods(axis, rows, "teacher_tokens", methods)
        told = [f"{row.method} {format_interval(row.mean, row.ci_low, row.ci_high)}" for row in others.itertuples()]
        told = ["without teacher tokens:", *told] if told else []
        axis.set_title("\n".join([panel_title(place, numbers), *told]), loc="left")
        axis.grid(axis="y", color=style.LIGHT, linewidth=0.6)
        axis.tick_params(labelbottom=True)
    x = trained["teacher_tokens"]
    margin = 0.14 * (np.ptp(x) or max(x.max(), 1.0))
    axes.flat[0].set_xlim(x.min() - margin, x.max() + margin)
    axes.flat[0].set_ylim(-0.03 * top_of(trained), top_of(trained))
    axes.flat[0].xaxis.set_major_formatter(EngFormatter(sep=" "))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    lines_shown = [
        Line2D([], [], color=style.GREY, linestyle="--", linewidth=1, label="more samples only"),
        Line2D([], [], color=style.GREY, linestyle=":", linewidth=1, label="untrained student"),
    ]
    legend(figure, methods, lines_shown)
    figure.supxlabel(
        "teacher tokens per draw: generated, prefilled and scored; strokes below: where close marks belong", size=9
    )
    figure.supylabel("share of right answers, with 95 % interval", size=9)
    return figure


def dose_figure(numbers: pd.DataFrame) -> plt.Figure:
    """A line of panels per teacher, student and benchmark, a panel per dose, with its rank correlation over methods."""
    panels, methods = list(numbers.groupby(PLACE, sort=False)), list(dict.fromkeys(numbers["method"]))
    height = max(len(panels) * 2.7 + 0.4, 0.6 + 0.2 * len(methods))
    figure, axes = plt.subplots(
        len(panels), len(DOSES), figsize=(10.8, height), sharex="col", sharey=True, squeeze=False
    )
    for line, (place, panel) in zip(axes, panels, strict=True):
        for axis, (dose, (column, meaning)) in zip(line, DOSES.items(), strict=True):
            draw_methods(axis, panel, dose, methods)
            rank = panel[column].iloc[0]
            told = "cannot say" if math.isnan(rank) else f"{rank:+.2f}"
            axis.set_title(f"rank correlation over methods: {told}", loc="right", size=8)
            axis.grid(axis="y", color=style.LIGHT, linewidth=0.6)
            axis.tick_params(labelbottom=True)
            axis.set_xlabel(meaning)
        line[0].set_title(panel_title(place, numbers), loc="left")
    for column, dose in zip(axes.T, DOSES, strict=True):
        margin = 0.14 * (np.ptp(numbers[dose]) or max(numbers[dose].max(), 1.0))
        column[0].set_xlim(numbers[dose].min() - margin, numbers[dose].max() + margin)
    axes[0, 0].set_ylim(-0.03 * top_of(numbers), top_of(numbers))
    axes[0, 1].xaxis.set_major_formatter(EngFormatter(sep=" "))
    legend(figure, methods)
    figure.supylabel("share of right answers, with 95 % interval", size=9)
    return figure
