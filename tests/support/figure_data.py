"""Repairs, scores and exposures behind the figures of a study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from evals.audits.checker_truth import Truth
from evals.figures.exposures import collect_exposures
from evals.figures.roc import ScoredRepairs
from evals.results import Run
from heal import records
from heal.records import Row
from heal.worlds.mini import puzzles
from tests.support.run_factory import METHODS, make_problem, make_repair, make_score, make_trace, make_wrong_steps


def read_main_table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "tables/main.csv")


def collect_run_exposures(run: Path, methods=METHODS) -> pd.DataFrame:
    exposures = pd.read_csv(run / "exposures.csv")
    return collect_exposures(Run(run, ["t"], ["s"], list(methods), [], 2, 3), read_main_table(run), exposures)


N = 60
PUZZLES = puzzles.generate("train", N, seed=1)
PROBLEMS = [make_problem(puzzle) for puzzle in PUZZLES]
GOLD = {row["problem_id"]: row["answer"] for row in PROBLEMS}


def make_scored_repairs(jumps: float, insights: float, fresh: bool = True) -> ScoredRepairs:
    """Scores and accepted repairs, every second one a jump to the answer unless `fresh` is off."""
    repairs: list[Row] = []
    for number, (row, puzzle) in enumerate(zip(PROBLEMS, PUZZLES, strict=True)):
        steps = make_wrong_steps(puzzle, 3)
        source = make_trace(row, 0, steps, [0.3] * len(steps))
        right = steps[:2] + puzzles.build_worked_steps(puzzle)[2:]
        jump = [*steps[:2], f"The start must be {puzzle.answer}.", puzzles.format_answer(puzzle.answer)]
        repairs.append(make_repair(source, 2, jump if fresh and number % 2 else right))
    truth = Truth(PROBLEMS)
    scores = [make_score(row, insights if truth.is_valid(row) else jumps) for row in repairs]
    return ScoredRepairs(scores, repairs)


def reverse_rows(part: ScoredRepairs) -> ScoredRepairs:
    return ScoredRepairs(part.scores[::-1], part.repairs[::-1])


def write_scored_repairs(folder: Path) -> None:
    """Repairs and scores of the GEAR variant `v`, of two teacher seeds."""
    records.write(folder / "problems/train.parquet", "problems", PROBLEMS)
    for teacher_seed in range(2):
        part = make_scored_repairs(3.0, 0.5)
        traces = folder / f"traces/t/teacher_seed{teacher_seed}"
        records.write(traces / "repairs/v.parquet", "repairs", part.repairs)
        records.write(traces / "scores/v.parquet", "scores", part.scores)
