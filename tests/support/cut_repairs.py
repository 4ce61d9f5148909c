"""Repairs of mini puzzles, cut at given steps."""

from __future__ import annotations

from heal.worlds.mini import puzzles
from tests.support.run_factory import make_problem, make_repair, make_trace, make_wrong_steps

PUZZLES = puzzles.generate("hard", 6, seed=3)
PROBLEMS = [make_problem(puzzle) for puzzle in PUZZLES]


def make_cut_repairs(cuts: list[int | None]) -> list[dict]:
    """One wrong trace per puzzle; two repairs of each, the first accepted and valid, the second accepted and wrong."""
    rows = []
    for row, puzzle, kept_steps in zip(PROBLEMS, PUZZLES, cuts, strict=True):
        source = make_trace(row, 0, make_wrong_steps(puzzle, 3), [0.2] * len(make_wrong_steps(puzzle, 3)))
        rows += [make_repair(source, kept_steps, row["solution"].split(puzzles.BLANK), index=0)]
        rows += [make_repair(source, kept_steps, make_wrong_steps(puzzle, 2), index=1)]
    return rows
