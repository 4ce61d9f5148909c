"""Check every step of a trace about a gsm_symbolic problem: its equations, and where its numbers come from.

A step is valid if every equation in it is true, every number in it has a source, and a boxed answer is the gold answer.
A number has a source if it stands in the question or in an earlier step, if the worked solution uses it without
deriving it (7 days, 100 %), or if this step derives it by a true equation and the worked solution derives it too. So a
jump to the answer is not valid, a skipped step shows at the step after it, and another way than the worked solution's
counts as wrong. After a wrong number, what follows from it by true equations is valid again, but for a wrong answer.

All functions tolerate anything as a trace. Reads nothing, writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from heal.method.steps import split_text
from heal.records import Row
from heal.worlds.gsm_symbolic.equations import claims, forms, stated

BOX = re.compile(r"\\boxed\{([^{}]*)\}")

Values = frozenset[Fraction]


@dataclass(frozen=True)
class Sources:
    """The values that need no derivation in a problem, and those that its worked solution derives."""

    given: Values
    derived: Values


def values(text: str) -> Values:
    """All values that the numbers of a text can stand for."""
    return frozenset(form for number in stated(text) for form in forms(number))


@lru_cache(maxsize=4096)
def sources(question: str, solution: str) -> Sources:
    given, derived = set(values(question)), set()
    for step in split_text(solution):
        here = {result for claim in claims(step) if claim.true for result in claim.results} - given
        derived |= here
        given |= values(step) - derived
    return Sources(frozenset(given), frozenset(derived))


def check_steps(problem: Row, steps: list[str]) -> list[bool]:
    """Whether each step is valid, given what the steps before it state. `problem`: question, answer, solution.

    Raises ValueError for a problem without a worked solution.
    """
    if not problem["solution"]:
        raise ValueError("it has no worked solution")
    known = sources(problem["question"], problem["solution"])
    before: set[Fraction] = set()
    verdicts = []
    for step in map(str, steps):
        found = list(claims(step))
        foreign = before - known.given - known.derived
        sourced = before | known.given
        for claim in found:
            if claim.true:
                follows = bool(claim.operands & foreign)
                sourced |= claim.results if follows else claim.results & known.derived
                foreign |= claim.results - known.given - known.derived if follows else set()
        numbers = [forms(number) for number in stated(step)]
        verdicts.append(
            all(claim.true for claim in found)
            and all(number & sourced for number in numbers)
            and all(is_gold(box, problem["answer"]) for box in BOX.findall(step))
        )
        before |= values(step)
    return verdicts


def is_gold(box: str, answer: str) -> bool:
    """Whether a boxed text holds one number, and it is the gold answer."""
    numbers, gold = stated(box), stated(answer)
    negative = [text.strip().lstrip("$€£ ").startswith("-") for text in (box, answer)]
    return len(numbers) == len(gold) == 1 and bool(forms(numbers[0]) & forms(gold[0])) and negative[0] == negative[1]


def first_wrong_step(problem: Row, steps: list[str]) -> int | None:
    """The first step (from 1) that is not valid; None if all are."""
    return next((k for k, valid in enumerate(check_steps(problem, steps), 1) if not valid), None)
