"""What the run took: training loss of every method's students by PACE stage, and hours of every part of the run.

Reads every student's loss.csv, or the provenance beside every output of a run; writes --out (svg), the same as png, and
the numbers behind it as csv.

    python -m evals.figures.training loss --run results/mini --teachers default --students tiny --methods heal \\
        --seeds 3 --out figures/main/loss.svg
    python -m evals.figures.training hours --run results/mini --out figures/hours.svg
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from evals.figures import style
from evals.figures.style import plt
from evals.results import Run, add_axes, run_of
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.provenance import ledger, recorded

PANELS_PER_ROW = 4
BLOCKS = 24  # points per stage at most; a step's own loss is too noisy to read
ROMAN = {1: "I", 2: "II", 3: "III"}
WORK = {  # first folder of an output, or what of a teacher's traces it is → what the bar is called
    "problems": "problems",
    "models": "models made by the run",
    "samples": "base samples",
    "grades": "grading",
    "extra": "more samples (equal cost)",
    "guided": "answer-guided samples",
    "repairs": "GEAR: hints and repairs",
    "scores": "PURE: scoring",
    "premise": "premise",
    "passes": "the student's own passes",
    "curricula": "curricula",
    "students": "training",
    "evals": "evaluation",
}


def read_losses(run: Run, teacher: str, student: str, method: str) -> list[pd.DataFrame]:
    """loss.csv of each of a method's students. Raises HealError for a missing or empty one."""
    found = []
    for teacher_seed, seed in run.list_seeds():
        path = run.get_student_folder(teacher, teacher_seed, student, method, seed) / "loss.csv"
        try:
            found.append(pd.read_csv(path))
        except (FileNotFoundError, pd.errors.EmptyDataError):
            found_there = "no such file" if not path.exists() else "it is empty"
            raise HealError(found_there, where=str(path), fix="train this student again (snakemake does)") from None
    return found


def in_blocks(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean step and loss of consecutive steps of a stage, at most BLOCKS per stage."""
    parts = []
    for stage, rows in losses.groupby("stage", sort=False):
        block = np.arange(len(rows)) * min(BLOCKS, len(rows)) // len(rows)
        parts.append(rows.groupby(block)[["step", "loss"]].mean().assign(stage=stage))
    return pd.concat(parts).rename_axis("block").reset_index()


def loss_numbers(run: Run) -> pd.DataFrame:
    """Rows: teacher, student, method, stage, block; the mean step; the loss: mean, least, most of the students."""
    parts = []
    for teacher in run.teachers:
        for student in run.students:
            for method in run.methods:
                every = pd.concat([in_blocks(losses) for losses in read_losses(run, teacher, student, method)])
                blocks = every.groupby(["stage", "block"], sort=False)
                rows = blocks.agg(step=("step", "mean"), loss=("loss", "mean"), least=("loss", "min"))
                rows = rows.assign(most=blocks["loss"].max(), trained=blocks.size()).reset_index()
                parts.append(rows.assign(teacher=teacher, student=student, method=method))
    columns = ["teacher", "student", "method", "stage", "block", "step", "loss", "least", "most", "trained"]
    return pd.concat(parts)[columns]


def loss_figure(numbers: pd.DataFrame) -> plt.Figure:
    """A panel per teacher, student and method; stages told apart by shade and number, students by the band."""
    panels = list(numbers.groupby(["teacher", "student", "method"], sort=False))
    columns = min(PANELS_PER_ROW, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (1.0 + 2.3 * columns, 0.5 + 1.9 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    several = numbers[["teacher", "student"]].drop_duplicates().shape[0] > 1
    top = 1.05 * numbers["most"].max()
    for axis, ((teacher, student, method), panel) in zip(axes.flat, panels, strict=False):
        color, marker = style.look(method)
        start = panel["step"].min()
        for number, (stage, rows) in enumerate(panel.groupby("stage", sort=False)):
            end = rows["step"].max()
            if number % 2:
                axis.axvspan(start, end, color=style.LIGHT, alpha=0.45, linewidth=0, zorder=0)
            axis.fill_between(rows["step"], rows["least"], rows["most"], color=color, alpha=0.25, linewidth=0)
            axis.plot(
                rows["step"], rows["loss"], color=color, linewidth=1.4, marker=marker, markersize=3.5, markevery=(2, 8)
            )
            axis.text((start + end) / 2, top * 0.97, ROMAN.get(stage, str(stage)), ha="center", va="top", size=8)
            start = end
        who = f"\nteacher {teacher}, student {student}" if several else ""
        axis.set_title(method + who, loc="left")
        axis.set_ylim(0, top)
        axis.tick_params(labelbottom=True)
        axis.locator_params(axis="x", nbins=4)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("optimizer step; Roman numbers: PACE's stages; band: least to most of the students", size=9)
    figure.supylabel("training loss, nats per token", size=9)
    return figure


def work_of(output: str) -> str:
    """Which part of the run an output is of: a key of WORK, else its own first folder."""
    parts = Path(output).parts
    if parts[0] != "traces":
        return parts[0]
    inside = [part for part in parts[3:] if part != "shards"]  # traces/<teacher>/draw<d>/…
    return "passes" if inside[0] == "students" else inside[0].partition(".")[0]


def hours_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per part of the run, in its order: jobs, seconds and GPU-seconds. What is made of results is left out:
    tables, figures, pages, cards.

    rows: of `heal.provenance.ledger`. Raises HealError where none is left.
    """
    rows = rows[rows["stage"].str.startswith("heal.") | (rows["stage"] == "evals.run")] if len(rows) else rows
    rows = rows.assign(part=[work_of(output) for output in rows["output"]]) if len(rows) else rows
    if rows.empty or not rows["part"].isin(WORK).any():
        raise HealError("no provenance of a stage in it", where="--run", fix="give the folder of a run that was made")
    parts = rows[rows["part"].isin(WORK)].groupby("part")
    numbers = parts.agg(jobs=("seconds", "size"), seconds=("seconds", "sum"), gpu_seconds=("gpu_seconds", "sum"))
    return numbers.loc[[part for part in WORK if part in numbers.index]].reset_index()


def hours_figure(numbers: pd.DataFrame) -> plt.Figure:
    """A bar per part of the run: GPU-hours where a GPU was held, beside the hours of its jobs."""
    shown = {"seconds": "hours of jobs, one after the other"}
    if numbers["gpu_seconds"].any():
        shown = {"gpu_seconds": "GPU-hours"} | shown
    names = [WORK[part] for part in numbers["part"]]
    size = (3.0 + 3.9 * len(shown), 0.9 + 0.27 * len(names))
    figure, axes = plt.subplots(1, len(shown), figsize=size, sharey=True, squeeze=False)
    for axis, (column, meaning) in zip(axes.flat, shown.items(), strict=True):
        unit, divisor = ("hours", 3600) if numbers[column].sum() >= 3600 else ("minutes", 60)
        values = numbers[column] / divisor
        axis.barh(range(len(names)), values, height=0.7, color=style.BLUE)
        for y, (value, jobs) in enumerate(zip(values, numbers["jobs"], strict=True)):
            told = f"{value:.2f}  ({jobs} job{'s' if jobs > 1 else ''})"
            axis.annotate(told, (value, y), xytext=(4, 0), textcoords="offset points", va="center", size=8)
        axis.set_xlim(0, 1.32 * values.max())
        axis.set_xlabel(f"{meaning.replace('hours', unit)}; {values.sum():.2f} in all")
    if "gpu_seconds" not in shown:
        axes[0, 0].set_title("no GPU was held", loc="right", size=8, color=style.GREY)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def main() -> None:
    parser = command_parser(__doc__)
    figures = parser.add_subparsers(dest="figure", required=True)
    does = {"loss": "the students' loss by PACE stage", "hours": "hours and GPU-hours by stage of the run"}
    loss, hours = (figures.add_parser(name, help=said, description=said) for name, said in does.items())
    add_axes(loss, benchmarks=False)
    hours.add_argument("--run", required=True, help="results/<run>")
    for each in (loss, hours):
        each.add_argument("--out", required=True, help="the svg; png and csv are written beside it")
    given = parser.parse_args()
    with recorded(given.out, "evals.figures.training", options=vars(given)), plt.rc_context(style.STYLE):
        numbers = loss_numbers(run_of(given)) if given.figure == "loss" else hours_numbers(ledger(given.run))
        figure = loss_figure(numbers) if given.figure == "loss" else hours_figure(numbers)
        style.save(figure, given.out, numbers)


if __name__ == "__main__":
    exit_with_errors(main)
