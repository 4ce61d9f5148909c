"""The hints that can be written without a model: what the teacher reads at the cut.

A cut is a row of the cuts file (heal.pipeline.plan_cuts). The source `teacher` asks the teacher for a hint
(heal.pipeline.repair). `wrong_answer`, `noise` and `retry` are the content controls: a gain of HEAL that they reach too
does not come from the answer. The wording is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle

from heal.config.experiment import Gear
from heal.errors import HealError
from heal.grading.grader import Grader
from heal.method.steps import split_text
from heal.records import Row, derive_seed

INTEGER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class HintContext:
    """What hints are written from, besides the cut and its problem."""

    gear: Gear
    problems: Mapping[str, Row]
    """Every training problem, by id."""
    grader: Grader


def write_answer_hint(cut: Row, problem: Row, context: HintContext) -> str:
    """The sentence with the gold answer."""
    return context.gear.hint.template.format(answer=problem["answer"])


def write_solution_hint(cut: Row, problem: Row, context: HintContext) -> str:
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
    return context.gear.hint.solution_template.format(step=steps[min(cut["kept_steps"], len(steps) - 1)])


def write_wrong_answer_hint(cut: Row, problem: Row, context: HintContext) -> str:
    """The sentence of the answer hint, with a wrong answer. Raises HealError as `choose_wrong_answer`."""
    return context.gear.hint.template.format(answer=choose_wrong_answer(problem, context))


def choose_wrong_answer(problem: Row, context: HintContext) -> str:
    """The answer of another problem that the grader calls wrong here: an integer for an integer, where there is one.

    It depends on the problem and on the set of problems only. Raises HealError where every problem has the same answer.
    """
    gold = problem["answer"]
    is_integer = INTEGER.fullmatch(gold.strip()) is not None

    def rank(answer: str) -> tuple[bool, int]:
        same_form = (INTEGER.fullmatch(answer.strip()) is not None) == is_integer
        return not same_form, derive_seed("wrong answer", problem["problem_id"], answer)

    for answer in sorted({other["answer"] for other in context.problems.values()}, key=rank):
        if context.grader.compare(gold, answer) == "wrong":
            return answer
    raise HealError(
        f"no problem has an answer other than {gold!r}",
        where=f"problem {problem['problem_id']}, hint source wrong_answer",
        fix="use more training problems, or leave this GEAR variant out",
    )


def write_noise_hint(cut: Row, problem: Row, context: HintContext) -> str:
    """Words without content, as long as the answer hint to within one word."""
    length = len(write_answer_hint(cut, problem, context))
    text = ""
    for word in cycle(context.gear.hint.noise_text.split()):
        text = f"{text} {word}".lstrip()
        if len(text) + 1 >= length:
            return f"{text.rstrip('.')}."
    raise AssertionError("a cycle of words does not end")


def write_retry_hint(cut: Row, problem: Row, context: HintContext) -> str:
    """A sentence that asks for another attempt and says nothing of the problem."""
    return context.gear.hint.retry_text


def write_no_hint(cut: Row, problem: Row, context: HintContext) -> str:
    """The negative control: the teacher continues from the cut without help."""
    return ""


HINTS: dict[str, Callable[[Row, Row, HintContext], str]] = {
    "answer": write_answer_hint,
    "solution": write_solution_hint,
    "wrong_answer": write_wrong_answer_hint,
    "noise": write_noise_hint,
    "retry": write_retry_hint,
    "none": write_no_hint,
}
"""`gear.hint.source` → the function that writes the hint of a cut."""
