"""The ceiling figure counts every problem once."""

from __future__ import annotations

import pytest

from evals.figures.ceiling import count_solved
from heal.errors import HealError


def test_ceiling_counts_every_problem():
    problems = [{"problem_id": str(i), "difficulty": "hard" if i < 3 else "easy"} for i in range(5)]
    grades = [{"problem_id": str(i), "correct": j < i} for i in range(5) for j in range(4)]
    numbers = count_solved(problems, grades)
    assert numbers["problems"].sum() == 5
    assert set(zip(numbers["difficulty"], numbers["correct"], strict=True)) == {
        ("hard", 0),
        ("hard", 1),
        ("hard", 2),
        ("easy", 3),
        ("easy", 4),
    }
    with pytest.raises(HealError, match="problem 4 is not among the problems"):
        count_solved(problems[:4], grades)
