"""Check every step of a mini-world trace: the truth that real benchmarks do not have.

A step is judged alone, from the value that the steps before it state: after a wrong step, consistent arithmetic is
valid again. Every function accepts any text as a trace and raises ValueError only for a question of another world.
"""

import re
from collections.abc import Sequence

from heal.worlds.base import find_first_wrong
from heal.worlds.mini.puzzles import INVERSE, MODULUS, WITHHELD_FACTS, Fact, Op, Puzzle, is_withheld, parse, undo

NUMBER = r"([0-9]{1,4})"
UNDONE = re.compile(
    rf"\btable ([A-Z]): {NUMBER} comes from {NUMBER}\b"
    rf"|\b(add|subtract) {NUMBER}: {NUMBER} ([-+]) {NUMBER} = {NUMBER}\b"
)
ANSWER = re.compile(rf"x = \\boxed\{{{NUMBER}\}}")
STATEMENT = re.compile(rf"^(?:The start must be|So the start is|This means that we began at) {NUMBER}\.$")


def find_claims(step: str) -> list[tuple[Op, int, int, bool]]:
    """The undo steps that a text states: operation, value after and before it, and whether the sum is well-formed."""
    claims: list[tuple[Op, int, int, bool]] = []
    for table, output, value, name, amount, after, sign, shift, before in UNDONE.findall(step):
        if table:
            claims.append((("table", table), int(output), int(value), table in INVERSE))
        else:
            formed = shift == amount and sign == ("-" if name == "add" else "+")
            claims.append(((name, int(amount)), int(after), int(before), formed))
    return claims


def judge_steps(puzzle: Puzzle, steps: Sequence[str]) -> list[bool]:
    """Whether each step is valid, as `check_steps` says."""
    pending = list(puzzle.ops)
    value = puzzle.result
    verdicts = []
    for step in steps:
        text = str(step).strip()
        claims, answer, statement = find_claims(text), ANSWER.search(text), STATEMENT.match(text)
        valid = bool(claims or answer or statement)
        for op, after, before, formed in claims:
            valid &= formed and bool(pending) and op == pending[-1] and after == value
            valid = valid and before < MODULUS and undo(op, after) == before
            if op in pending:
                del pending[pending.index(op) :]
            value = before
        for match in (answer, statement):
            if match:
                valid &= not pending and int(match[1]) == value
        verdicts.append(valid)
    return verdicts


def check_steps(question: str, steps: Sequence[str]) -> list[bool]:
    """Whether each step is valid, given what the steps before it state.

    An undo step is valid if it undoes the next operation, starts from the current value and is true. The answer
    statement, or another statement of the start, is valid if every operation was undone and it equals the current
    value. Any other step is not valid.
    """
    return judge_steps(parse(question), steps)


def find_first_wrong_step(question: str, steps: Sequence[str]) -> int | None:
    """The first step (from 1) that is not valid; None if all are. A skipped operation shows at the step after it."""
    return find_first_wrong(check_steps(question, steps))


def split_steps(trace: str) -> list[str]:
    """The steps of a trace, which blank lines separate."""
    return [step for step in re.split(r"\n\n+", trace) if step.strip()]


def find_stated_facts(question: str, trace: str) -> set[Fact]:
    """The withheld facts of the question's tables that the trace states correctly."""
    withheld = [op for op in parse(question).ops if is_withheld(op)]
    tables = [table for _, table in withheld]
    facts: set[Fact] = set()
    for (_, table), after, before, _ in find_claims(trace):
        if table in tables:
            facts.add((str(table), after, before))
    return facts & WITHHELD_FACTS


def find_withheld_steps(question: str) -> list[int]:
    """The steps (from 1, in undo order) at which a withheld fact is needed."""
    return [number for number, op in enumerate(reversed(parse(question).ops), 1) if is_withheld(op)]


def is_hard(question: str) -> bool:
    """Whether a withheld fact is needed."""
    return bool(find_withheld_steps(question))
