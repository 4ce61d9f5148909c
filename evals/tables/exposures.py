"""What each method's students were shown: withheld facts covered (mini) and exposures per stage.

Reads curriculum.jsonl and exposures.csv of every method, problems/train.parquet; writes --coverage, --exposures (csv).
Dose alone moved the prototype's result more than method did, so it stands beside every comparison.

    python -m evals.tables.exposures --run results/mini --teachers default --students tiny --methods rs_matched heal \\
        --seeds 3 --coverage tables/coverage.csv --exposures tables/exposures.csv
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from evals.results import Run, add_axes, run_of
from evals.tables.comparison import is_mini
from evals.tables.render import csv_of
from heal import records
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.provenance import recorded
from heal.records import Row
from heal.worlds.mini import checker, puzzles

COVERAGE = ["teacher", "student", "method", "draw", "examples", "facts_needed", "facts_shown", "coverage"]
KEYS = ["teacher", "student", "method", "draw", "stage", "origin"]
EXPOSURES = [*KEYS, "examples", "exposures", "per_example", "least", "most"]


def facts_needed(questions: Iterable[str]) -> set[puzzles.Fact]:
    """The withheld facts that the questions need."""
    return {fact for question in questions for fact in puzzles.parse(question).facts}


def facts_shown(curriculum: Sequence[Row]) -> set[puzzles.Fact]:
    """The withheld facts that steps of the training conversations state correctly."""
    return {
        fact
        for row in curriculum
        for fact in checker.correct_facts(row["messages"][0]["content"], row["messages"][-1]["content"])
    }


def coverage(run: Run, problems: Sequence[Row]) -> pd.DataFrame:
    """One row per teacher, draw, student and method; empty outside the mini world."""
    rows = []
    needed = facts_needed(row["question"] for row in problems)
    for teacher, student, method, draw in cells(run):
        folder = run.student_folder("curricula", teacher, draw, student, method)
        curriculum = records.read_jsonl(folder / "curriculum.jsonl")
        shown = facts_shown(curriculum) & needed
        share = len(shown) / len(needed) if needed else float("nan")
        rows.append([teacher, student, method, draw, len(curriculum), len(needed), len(shown), share])
    return pd.DataFrame(rows, columns=COVERAGE)


def exposures(run: Run) -> pd.DataFrame:
    """One row per stage and origin: examples, exposures (mean over seeds), least and most of one example."""
    frames = []
    for teacher, student, method, draw in cells(run):
        folder = run.student_folder("students", teacher, draw, student, method)
        for seed in range(run.seeds):
            frame = read_exposures(folder / f"seed{seed}" / "exposures.csv")
            frames.append(frame.assign(teacher=teacher, student=student, method=method, draw=draw, seed=seed))
    every = pd.concat(frames)
    per_seed = every.groupby([*KEYS, "seed"], sort=False)["exposures"].agg(["count", "sum", "min", "max"])
    merged = per_seed.groupby(level=KEYS, sort=False).agg({"count": "max", "sum": "mean", "min": "min", "max": "max"})
    merged = merged.reset_index().rename(
        columns={"count": "examples", "sum": "exposures", "min": "least", "max": "most"}
    )
    merged["per_example"] = merged["exposures"] / merged["examples"]
    order = {name: number for number, name in enumerate(run.methods)}
    merged = merged.sort_values(KEYS, key=lambda column: column.map(order) if column.name == "method" else column)
    return merged[EXPOSURES]


def read_exposures(path: Path) -> pd.DataFrame:
    """Columns id, stage, origin, exposures. Raises HealError where the file is missing or lacks one."""
    if not path.exists():
        raise HealError("no such file", where=str(path), fix="train this student (snakemake does)")
    frame = pd.read_csv(path)
    if absent := {"id", "stage", "origin", "exposures"} - set(frame.columns):
        raise HealError(f"no column {min(absent)!r}", where=str(path), fix="delete it and train this student again")
    return frame


def cells(run: Run) -> list[tuple[str, str, str, int]]:
    """(teacher, student, method, draw) in the order of the axes."""
    return [
        (teacher, student, method, draw)
        for teacher in run.teachers
        for student in run.students
        for method in run.methods
        for draw in range(run.draws)
    ]


def main() -> None:
    parser = command_parser(__doc__)
    add_axes(parser, benchmarks=False)
    parser.add_argument("--coverage", required=True, help="csv; only the header outside the mini world")
    parser.add_argument("--exposures", required=True, help="csv")
    arguments = parser.parse_args()
    run = run_of(arguments)
    train = run.folder / "problems" / "train.parquet"
    with recorded(arguments.exposures, "evals.tables.exposures", options=vars(arguments)):
        covered = coverage(run, records.read(train, "problems")) if is_mini(train) else pd.DataFrame(columns=COVERAGE)
        records.write_text(arguments.coverage, csv_of(covered))
        records.write_text(arguments.exposures, csv_of(exposures(run), counts=("least", "most", "examples")))


if __name__ == "__main__":
    exit_with_errors(main)
