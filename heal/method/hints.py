"""Hints."""

from __future__ import annotations

from collections.abc import Callable

from heal.config.experiment import Gear
from heal.errors import HealError
from heal.method.gear import Cut
from heal.method.steps import split_text
from heal.records import Row


def answer_hint(cut: Cut, problem: Row, gear: Gear) -> str:
    return gear.hint.template.format(answer=problem["answer"])


def solution_hint(cut: Cut, problem: Row, gear: Gear) -> str:
    """The worked solution's step at the cut (the last one where the solution is shorter)."""
    if not problem["solution"]:
        raise HealError(
            "the problem has no worked solution",
            where=f"problem {problem['problem_id']}, field solution",
            fix="set gear.hint.source to answer, or give the problems a `solution` field",
        )
    steps = split_text(problem["solution"])
    return gear.hint.solution_template.format(step=steps[min(cut.kept_steps, len(steps) - 1)])


def no_hint(cut: Cut, problem: Row, gear: Gear) -> str:
    return ""


HINTS: dict[str, Callable[[Cut, Row, Gear], str]] = {
    "answer": answer_hint,
    "solution": solution_hint,
    "none": no_hint,
}
