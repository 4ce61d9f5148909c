"""The figures: every method's accuracy, the teacher's ceiling, one repaired trace, where cuts are, what PURE separates.

Reads a run's answers or trace files (and for `trace` the teacher's tokenizer.json); writes --out (svg), the same as
png, and the numbers behind it as csv. Drawing one again needs no model and imports no torch; equal numbers give equal
bytes.

    python -m evals.figures.accuracy accuracy --run results/mini --teachers default --students tiny --methods rs_matched heal \\
        --benchmarks mini_hard --seeds 3 --out figures/accuracy.svg
    python -m evals.figures.accuracy ceiling --problems problems/train.parquet --grades grades.parquet --out figures/ceiling.svg
    python -m evals.figures.accuracy trace --samples samples.parquet --repairs repairs/….parquet \\
        --tokenizer heal/worlds/mini/models/teacher/tokenizer.json --min-step-tokens 1 --out figures/trace.svg
    python -m evals.figures.accuracy positions --problems problems/train.parquet --repairs repairs/….parquet \\
        --out figures/positions.svg
    python -m evals.figures.accuracy pure --problems problems/train.parquet --repairs repairs/….parquet \\
        --scores scores/….parquet --out figures/pure.svg
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from evals.audits.checker_truth import Truth
from evals.figures import style
from evals.figures.style import plt
from evals.figures.traces import (
    TRACE,
    chosen_repair,
    positions_figure,
    positions_numbers,
    pure_figure,
    pure_numbers,
    token_texts,
    trace_figure,
    trace_numbers,
)
from evals.results import Run, add_axes, run_of
from evals.tables.comparison import TEACHER, UNTRAINED, display
from heal import records
from heal.command import command_parser
from heal.config.experiment import Pure
from heal.errors import HealError, exit_with_errors
from heal.method.base import by_problem
from heal.pipeline.runner import read_options
from heal.provenance import recorded
from heal.records import Row
from heal.worlds import registry as worlds

PANELS_PER_ROW = 3
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")


def accuracy_numbers(run: Run) -> pd.DataFrame:
    """One row per teacher, student, benchmark and method: mean, interval, and each (draw, seed)'s mean in `seeds`."""
    rows = []
    for teacher in run.teachers:
        for student in run.students:
            for benchmark in run.with_strata(teacher):
                scores = {TEACHER: run.teacher_scores(teacher, benchmark)[None, None]}
                scores[UNTRAINED] = run.untrained_scores(teacher, student, benchmark)[None, None]
                scores |= {name: run.scores(teacher, student, name, benchmark) for name in run.methods}
                for method, scores_DSQ in scores.items():
                    interval = display(scores_DSQ)
                    each = " ".join(f"{mean:.4f}" for mean in scores_DSQ.mean(axis=-1).ravel())
                    bounds = (interval.mean, interval.low, interval.high)
                    rows.append([teacher, student, benchmark, method, *bounds, each])
    columns = ["teacher", "student", "benchmark", "method", "mean", "ci_low", "ci_high", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def accuracy(numbers: pd.DataFrame) -> plt.Figure:
    """A panel per teacher, student and benchmark; a line per method: mean, interval, small marks for each seed."""
    panels = list(numbers.groupby(["teacher", "student", "benchmark"], sort=False))
    methods = list(dict.fromkeys(numbers["method"]))
    columns = min(PANELS_PER_ROW, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (2.0 + 2.9 * columns, lines * (0.9 + 0.27 * len(methods)) + 0.3)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    pairs = numbers[["teacher", "student"]].drop_duplicates()
    for axis, ((teacher, student, benchmark), panel) in zip(axes.flat, panels, strict=False):
        for row in panel.itertuples(index=False):
            y, (color, marker) = methods.index(row.method), style.look(row.method)
            each = [float(mean) for mean in row.seeds.split()]
            if len(each) > 1:
                axis.scatter(each, [y + 0.28] * len(each), s=9, marker="|", color=color, linewidths=1)
            axis.hlines(y, row.ci_low, row.ci_high, color=color, linewidth=1.6)
            axis.scatter(row.mean, y, s=34, marker=marker, color=color, zorder=3)
        who = f"\nteacher {teacher}, student {student}" if len(pairs) > 1 else ""
        axis.set_title(benchmark.replace(":", ": ") + who, loc="left")
        axis.grid(axis="x", color=style.LIGHT, linewidth=0.6)
        top = min(1.0, math.ceil(20 * panel[["mean", "ci_high"]].max(axis=None) + 0.01) / 20)
        axis.set_xlim(-0.03 * top, 1.03 * top)
        axis.locator_params(axis="x", nbins=6)
    axes.flat[0].set_yticks(range(len(methods)), methods)
    axes.flat[0].set_ylim(len(methods) - 0.4, -0.6)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    told = "mean, 95 % interval for display; strokes: single students; each panel has its own scale"
    figure.supxlabel(f"share of right answers: {told}", size=9)
    return figure


def ceiling_numbers(problems: Sequence[Row], grades: Sequence[Row]) -> pd.DataFrame:
    """Problems by difficulty and number of correct base samples. Raises HealError for grades of other problems."""
    difficulty = {row["problem_id"]: row["difficulty"] for row in problems}
    counts: Counter[tuple[str, int, int]] = Counter()
    for problem_id, rows in by_problem(grades).items():
        if problem_id not in difficulty:
            fix = "give the problems that were sampled"
            raise HealError(f"problem {problem_id} is not among the problems", where="grades", fix=fix)
        counts[difficulty[problem_id], len(rows), sum(row["correct"] for row in rows)] += 1
    numbers = [[*key, counts[key]] for key in sorted(counts)]
    return pd.DataFrame(numbers, columns=["difficulty", "samples", "correct", "problems"])


def ceiling(numbers: pd.DataFrame) -> plt.Figure:
    """How many problems the teacher solves how often; the bar at 0 is its ceiling."""
    most = int(numbers["samples"].max())
    figure, axis = plt.subplots(figsize=(6.4, 3.2))
    base = np.zeros(most + 1)
    colors = (style.SKY, style.VERMILLION, style.GREEN, style.ORANGE, style.BLUE, style.PURPLE)
    for number, (difficulty, rows) in enumerate(numbers.groupby("difficulty", sort=True)):
        heights = np.bincount(rows["correct"], weights=rows["problems"], minlength=most + 1)
        look: dict[str, Any] = {"color": colors[number % 6], "hatch": HATCHES[number % 6], "edgecolor": "white"}
        axis.bar(range(most + 1), heights, bottom=base, width=0.85, label=difficulty or "no difficulty given", **look)
        base += heights
    unsolved = int(base[0])
    axis.annotate(
        f"never solved: {unsolved} of {int(base.sum())}",
        (-0.42, unsolved),
        xytext=(0, 3),
        textcoords="offset points",
        fontweight="bold",
    )
    axis.set_ylim(0, base.max() * 1.15)
    axis.set_xlabel(f"correct of {most} base samples")
    axis.set_ylabel("problems")
    axis.locator_params(axis="x", integer=True)
    axis.legend(title="difficulty", loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def make_trace(given: argparse.Namespace) -> tuple[plt.Figure, pd.DataFrame]:
    repair = chosen_repair(records.read(given.repairs, "repairs"), given.source)
    if repair is None:
        return style.nothing("No wrong trace was repaired."), pd.DataFrame(columns=TRACE)
    sources = {row["trace_id"]: row for row in records.read(given.samples, "samples")}
    if repair["source_id"] not in sources:
        fix = "give samples and repairs of the same draw"
        raise HealError(f"no trace {repair['source_id']}", where=given.samples, fix=fix)
    trace = sources[repair["source_id"]]
    pieces = [token_texts(given.tokenizer, row["token_ids"]) for row in (trace, repair)]
    numbers = trace_numbers(trace, repair, pieces, given.min_step_tokens)
    return trace_figure(numbers, repair), numbers


def make(given: argparse.Namespace) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure that was asked for, with its numbers."""
    if given.figure == "accuracy":
        numbers = accuracy_numbers(run_of(given))
        return accuracy(numbers), numbers
    if given.figure == "trace":
        return make_trace(given)
    problems = records.read(given.problems, "problems")
    if given.figure == "ceiling":
        numbers = ceiling_numbers(problems, records.read(given.grades, "grades"))
        return ceiling(numbers), numbers
    truth = Truth(problems) if worlds.checkable(problems) else None
    repairs = records.read(given.repairs, "repairs")
    if given.figure == "positions":
        numbers = positions_numbers(repairs, truth)
        return positions_figure(numbers), numbers
    options, scores = read_options(Pure, given.pure, "--pure"), records.read(given.scores, "scores")
    numbers = pure_numbers(scores, repairs, truth, options)
    return pure_figure(numbers, options), numbers


SUMMARIES = {
    "accuracy": "every method on every benchmark, with intervals and single students",
    "ceiling": "how often the teacher solves each problem",
    "trace": "one wrong trace, its breakpoint and its repair, token by token",
    "positions": "where the cuts lie in the traces",
    "pure": "PURE's anomaly of valid and invalid repairs",
}


def main() -> None:
    parser = command_parser(__doc__)
    figures = parser.add_subparsers(dest="figure", required=True)
    files: dict[str, tuple[str, ...]] = {
        "accuracy": (),
        "ceiling": ("problems", "grades"),
        "trace": ("samples", "repairs", "tokenizer"),
        "positions": ("problems", "repairs"),
        "pure": ("problems", "repairs", "scores"),
    }
    for figure, inputs in files.items():
        one = figures.add_parser(figure, help=SUMMARIES[figure], description=SUMMARIES[figure])
        for name in inputs:
            one.add_argument(f"--{name}", required=True, help=f"the {name} file")
        one.add_argument("--out", required=True, help="the svg; png and csv are written beside it")
        if figure == "accuracy":
            add_axes(one)
        elif figure == "trace":
            one.add_argument("--source", help="trace_id of the wrong trace; the first with an accepted repair")
            one.add_argument("--min-step-tokens", type=int, default=16, help="as for GEAR")
        elif figure == "pure":
            one.add_argument("--pure", default="{}", help="PURE's options as JSON")
    given = parser.parse_args()
    facts: dict[str, Any] = {"options": vars(given)}
    with recorded(given.out, "evals.figures.accuracy", **facts), plt.rc_context(style.STYLE):
        drawn, numbers = make(given)
        style.save(drawn, given.out, numbers)


if __name__ == "__main__":
    exit_with_errors(main)
