"""Hints name the problem that cannot give them."""

import pytest

from heal.errors import HealError
from heal.pipeline import repair
from tests.support.mini_teacher import GEAR


def test_a_hint_from_a_missing_solution_names_the_problem(problems, cuts):
    with pytest.raises(HealError, match=f"problem {problems[0]['problem_id']}"):
        repair.solution_hint(cuts[0], problems[0] | {"solution": None}, GEAR)
