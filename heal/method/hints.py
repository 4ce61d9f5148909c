"""The hints that can be written without a model: the gold answer, the worked solution's next step, or none.

A cut is a row of the cuts file (heal.pipeline.plan_cuts). The fourth source, `teacher`, asks the teacher for a hint
(heal.pipeline.repair). The wording is ours.
"""

from __future__ import annotations

from collections.abc import Callable

from heal.config.experiment import Gear
from heal.errors import HealError
from heal.method.steps import split_text
from heal.records import Row


def write_answer_hint(cut: Row, problem: Row, gear: Gear) -> str:
    """The sentence with the gold answer."""
    return gear.hint.template.format(answer=problem["answer"])


def write_solution_hint(cut: Row, problem: Row, gear: Gear) -> str:
    """The worked solution's step at the cut (the last one where the solution is shorter).

    Raises HealError for a problem without a worked solution.
    """
    if not problem["solution"]:
        raise HealError(
            "the problem has no worked solution",
            where=f"problem {problem['problem_id']}, field solution",
            fix="set gear.hint.source to answer, or give the problems a `solution` field",
        )
    steps = split_text(problem["solution"])
    return gear.hint.solution_template.format(step=steps[min(cut["kept_steps"], len(steps) - 1)])


def write_no_hint(cut: Row, problem: Row, gear: Gear) -> str:
    """The control: the teacher continues from the cut without help."""
    return ""


HINTS: dict[str, Callable[[Row, Row, Gear], str]] = {
    "answer": write_answer_hint,
    "solution": write_solution_hint,
    "none": write_no_hint,
}
"""`gear.hint.source` → the function that writes the hint of a cut."""
