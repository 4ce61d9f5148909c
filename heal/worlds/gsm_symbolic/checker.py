"""Check every step of a trace about a gsm_symbolic problem: its equations, and the sources of its numbers.

A step is valid if every equation in it is true, every number in it has a source, and a boxed answer is the gold answer.
A number has a source if it is in the question or in an earlier step, if the worked solution uses it without deriving it
(7 days, 100 %), or if this step derives it by a true equation and the worked solution derives it too. So a jump to the
answer is not valid, a skipped step shows at the step after it, and another way than the worked solution's counts as
wrong. After a wrong number, what follows from it by true equations is valid again, except a wrong answer.

Every function accepts any text as a trace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from heal.method.steps import split_text
from heal.worlds.base import Problem, find_first_wrong
from heal.worlds.gsm_symbolic.equations import Claim, collect_values, find_claims, find_numbers, list_values

BOX = re.compile(r"\\boxed\{([^{}]*)\}")

Values = frozenset[Fraction]


@dataclass(frozen=True)
class Sources:
    """The values of a problem and of its worked solution."""

    free: Values
    """Values that need no derivation: of the question, or used by the worked solution without deriving them."""
    derived: Values
    """Values that the worked solution derives."""


@lru_cache(maxsize=4096)
def find_sources(question: str, solution: str) -> Sources:
    """The values that a trace may use, and those that it may derive."""
    free = set(collect_values(question))
    derived: set[Fraction] = set()
    for step in split_text(solution):
        for claim in find_claims(step):
            if claim.true:
                derived |= claim.results - free
        free |= collect_values(step) - derived
    return Sources(frozenset(free), frozenset(derived))


def check_steps(problem: Problem, steps: Sequence[str]) -> list[bool]:
    """Whether each step is valid, given what the steps before it state.

    Raises ValueError for a problem without a worked solution.
    """
    if not problem.solution:
        raise ValueError("it has no worked solution")
    sources = find_sources(problem.question, problem.solution)
    before: set[Fraction] = set()
    verdicts = []
    for step in map(str, steps):
        claims = list(find_claims(step))
        sourced = find_sourced_values(claims, before, sources)
        valid = all(claim.true for claim in claims)
        for number in find_numbers(step):
            valid = valid and not sourced.isdisjoint(list_values(number))
        for box in BOX.findall(step):
            valid = valid and is_gold(box, problem.answer)
        verdicts.append(valid)
        before |= collect_values(step)
    return verdicts


def find_sourced_values(claims: Sequence[Claim], before: set[Fraction], sources: Sources) -> set[Fraction]:
    """The values that a step with these claims may state.

    before: values that earlier steps state. A value that the worked solution lacks is foreign: what a true equation
    derives from it is sourced too, and foreign unless the worked solution has it.
    """
    foreign = before - sources.free - sources.derived
    sourced = before | sources.free
    for claim in claims:
        if not claim.true:
            continue
        if foreign.isdisjoint(claim.operands):
            sourced |= claim.results & sources.derived
        else:
            sourced |= claim.results
            foreign |= claim.results - sources.free - sources.derived
    return sourced


def is_gold(box: str, answer: str) -> bool:
    """Whether a boxed text contains exactly one number, and it is the gold answer."""
    numbers, gold = find_numbers(box), find_numbers(answer)
    if len(numbers) != 1 or len(gold) != 1 or is_negative(box) != is_negative(answer):
        return False
    return not list_values(numbers[0]).isdisjoint(list_values(gold[0]))


def is_negative(text: str) -> bool:
    """Whether a number begins with a minus sign, currency signs aside."""
    return text.strip().lstrip("$€£ ").startswith("-")


def find_first_wrong_step(problem: Problem, steps: Sequence[str]) -> int | None:
    """The first step (from 1) that is not valid; None if all are."""
    return find_first_wrong(check_steps(problem, steps))
