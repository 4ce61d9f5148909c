"""Check every step of a mini-world trace: the truth that real benchmarks do not have.

A step is judged alone, from the value that the steps before it state: after a wrong step, consistent arithmetic is
valid again. All functions take text, tolerate anything as a trace and raise ValueError only for a foreign question.
Reads nothing, writes nothing.
"""

import re

from heal.worlds.mini.puzzles import INVERSE, MODULUS, WITHHELD_FACTS, Fact, Op, Puzzle, is_withheld, parse, undo

_NUMBER = r"([0-9]{1,4})"
_UNDONE = re.compile(
    rf"\btable ([A-Z]): {_NUMBER} comes from {_NUMBER}\b"
    rf"|\b(add|subtract) {_NUMBER}: {_NUMBER} ([-+]) {_NUMBER} = {_NUMBER}\b"
)
_ANSWER = re.compile(rf"x = \\boxed\{{{_NUMBER}\}}")
_STATEMENT = re.compile(rf"^(?:The start must be|So the start is|This means that we began at) {_NUMBER}\.$")


def _claims(step: str) -> list[tuple[Op, int, int, bool]]:
    """The undo steps that a text states: operation, value after and before it, and whether the sum is well-formed."""
    claims: list[tuple[Op, int, int, bool]] = []
    for table, out, value, kind, arg, after, sign, shift, before in _UNDONE.findall(step):
        if table:
            claims.append((("table", table), int(out), int(value), table in INVERSE))
        else:
            formed = shift == arg and sign == ("-" if kind == "add" else "+")
            claims.append(((kind, int(arg)), int(after), int(before), formed))
    return claims


def _check(puzzle: Puzzle, steps: list[str]) -> list[bool]:
    pending, value, verdicts = list(puzzle.ops), puzzle.result, []
    for step in steps:
        step = str(step).strip()
        claims, answer, statement = _claims(step), _ANSWER.search(step), _STATEMENT.match(step)
        valid = bool(claims or answer or statement)
        for op, after, before, formed in claims:
            valid &= formed and bool(pending) and op == pending[-1] and after == value
            valid = valid and before < MODULUS and undo(op, after) == before
            if op in pending:
                del pending[pending.index(op) :]
            value = before
        for said in (answer, statement):
            if said:
                valid &= not pending and int(said[1]) == value
        verdicts.append(valid)
    return verdicts


def check_steps(question: str, steps: list[str]) -> list[bool]:
    """Whether each step is valid, given what the steps before it state.

    An undo step is valid if it undoes the next operation, starts from the current value and is true; the answer
    statement (or another statement of the start) if every operation was undone and it equals the current value. A step
    that says none of this is not valid.
    """
    return _check(parse(question), steps)


def first_wrong_step(question: str, steps: list[str]) -> int | None:
    """The first step (from 1) that is not valid; None if all are. A skipped operation shows at the step after it."""
    return next((k for k, valid in enumerate(check_steps(question, steps), 1) if not valid), None)


def split_steps(trace: str) -> list[str]:
    """The steps of a trace: what stands between blank lines."""
    return [step for step in re.split(r"\n\n+", trace) if step.strip()]


def correct_facts(question: str, trace: str) -> set[Fact]:
    """The withheld facts of the question's tables that the trace states correctly."""
    tables = {op[1] for op in parse(question).ops if is_withheld(op)}
    stated = {(str(op[1]), after, before) for op, after, before, _ in _claims(trace) if op[1] in tables}
    return stated & WITHHELD_FACTS


def withheld_steps(question: str) -> list[int]:
    """The steps (from 1, in undo order) at which a withheld fact is needed."""
    return [step for step, op in enumerate(reversed(parse(question).ops), 1) if is_withheld(op)]


def is_hard(question: str) -> bool:
    """Whether a withheld fact is needed."""
    return bool(withheld_steps(question))
