"""The worlds whose steps can be checked, in one place. A problem's world is what its `source` begins with: mini/train.

Reads nothing, writes nothing. A step is checked given what the steps before it state; heal/worlds/mini/checker.py and
heal/worlds/gsm_symbolic/checker.py say what is valid in each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heal.errors import HealError
from heal.records import Row
from heal.worlds.gsm_symbolic import checker as gsm_symbolic
from heal.worlds.mini import checker as mini

Check = Callable[[Row, list[str]], list[bool]]

CHECKS: dict[str, Check] = {
    "mini": lambda problem, steps: mini.check_steps(problem["question"], steps),
    "gsm_symbolic": gsm_symbolic.check_steps,
}


def world_of(problem: Row) -> str:
    return str(problem.get("source")).partition("/")[0]


def checkable(problems: Sequence[Row]) -> bool:
    """Whether the steps of all these problems can be checked."""
    return all(world_of(problem) in CHECKS for problem in problems)


def check_steps(problem: Row, steps: list[str]) -> list[bool]:
    """Whether each step is valid. Raises HealError for a problem whose steps cannot be checked."""
    world = world_of(problem)
    try:
        if world not in CHECKS:
            raise ValueError(f"its source is {problem.get('source')!r}")
        return CHECKS[world](problem, steps)
    except ValueError as error:
        raise HealError(
            f"its steps cannot be checked ({error})",
            where=f"problem {problem['problem_id']}",
            fix=f"this needs problems of a world with a step checker: {' or '.join(CHECKS)}",
        ) from None


def first_wrong_step(problem: Row, steps: list[str]) -> int | None:
    """The first step (from 1) that is not valid; None if all are."""
    return next((k for k, valid in enumerate(check_steps(problem, steps), 1) if not valid), None)


def withheld_steps(problem: Row) -> list[int] | None:
    """The steps (from 1) at which the mini teachers lack a fact; None in a world where nothing is withheld."""
    return mini.withheld_steps(problem["question"]) if world_of(problem) == "mini" else None
