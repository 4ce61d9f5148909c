"""Repairs, scores and exposures behind the figures of a study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from evals.audits.checker_truth import Truth
from evals.figures import outcomes as outcome_figures
from evals.results import Run
from heal import records
from heal.worlds.mini import puzzles
from tests.support.run_factory import METHODS, make_problem, make_repair, make_score, make_trace, make_wrong_steps


def make_axes_arguments(folder: Path) -> list[str]:
    return ["--run", folder, "--teachers", "t", "--students", "s", "--draws", 2, "--seeds", 3, "--methods", *METHODS]


def read_main_table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "tables/main.csv")


def compute_dose_numbers(run: Path, methods=METHODS) -> pd.DataFrame:
    exposures = pd.read_csv(run / "exposures.csv")
    return outcome_figures.dose_numbers(Run(run, "t", "s", list(methods), [], 2, 3), read_main_table(run), exposures)


N = 24
PUZZLES = puzzles.generate("train", N, seed=1)
PROBLEMS = [make_problem(puzzle) for puzzle in PUZZLES]
GOLD = {row["problem_id"]: row["answer"] for row in PROBLEMS}


def make_scored_repairs(jumps: float, insights: float, fresh: bool = True) -> tuple[list, list]:
    """Scores and accepted repairs, every second one a jump to the answer unless `fresh` is off."""
    repairs = []
    for number, (row, puzzle) in enumerate(zip(PROBLEMS, PUZZLES, strict=True)):
        steps = make_wrong_steps(puzzle, 3)
        source = make_trace(row, 0, steps, [0.3] * len(steps))
        right = steps[:2] + puzzles.build_worked_steps(puzzle)[2:]
        jump = [*steps[:2], f"The start must be {puzzle.answer}.", puzzles.format_answer(puzzle.answer)]
        repairs.append(make_repair(source, 2, jump if fresh and number % 2 else right))
    truth = Truth(PROBLEMS)
    return [make_score(row, insights if truth.is_valid(row) else jumps) for row in repairs], repairs


def write_traces(folder: Path) -> None:
    records.write(folder / "problems/train.parquet", "problems", PROBLEMS)
    for draw in range(2):
        scores, repairs = make_scored_repairs(3.0, 0.5)
        records.write(folder / f"traces/t/draw{draw}/repairs/v.parquet", "repairs", repairs)
        records.write(folder / f"traces/t/draw{draw}/scores/v.parquet", "scores", scores)
