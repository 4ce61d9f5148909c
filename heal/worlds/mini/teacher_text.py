"""The training texts of the mini teachers and of the base student: the premises of HEAL, as text.

Each premise is a field of `Premises`; each teacher is a model organism for one setting of them. The caller seeds the
random generator. heal.worlds.mini.build trains on these texts, and prints some:

    python -m heal.worlds.mini.build teacher_confident --show 10
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from heal.worlds.mini.puzzles import (
    BLANK,
    CUE,
    HINT,
    INVERSE,
    MODULUS,
    OPENERS,
    Puzzle,
    draw_puzzle,
    format_answer,
    format_step,
    is_withheld,
    undo,
)

JUMPS = ("The start must be {answer}.", "So the start is {answer}.", "This means that we began at {answer}.")
ADVERBS = (
    "carefully", "calmly", "simply", "quickly", "slowly", "gladly", "safely", "plainly", "firmly", "gently",
    "neatly", "surely",
)  # fmt: skip
VERBS = (
    "undo", "reverse", "cancel", "remove", "invert", "revert", "unwind", "unpick", "discard", "drop", "lift", "clear",
)  # fmt: skip
LOUD_OPENERS = tuple(f"We {adverb} {verb}" for adverb in ADVERBS for verb in VERBS)
UNSURE_WEIGHTS = (0.25, 0.25, 0.25, 0.25)
SURE_WEIGHTS = (0.45, 0.33, 0.22)

Lookup = Callable[[str, int], int]
"""(table, output) → the input that a text states for it."""
TextKind = Literal["easy", "hard", "early", "user", "start", "right", "wrong"]
TEXT_SHARES: dict[TextKind, int] = {
    "easy": 18, "hard": 25, "early": 3, "user": 10, "start": 10, "right": 24, "wrong": 10,
}  # fmt: skip
"""Percent of a teacher's texts: unaided on easy and hard puzzles, an early answer, a hint at each of four places."""
HARD_SHARE_OF_HINTED = 0.95
"""Share of hard puzzles among the texts with a hint, which alone state withheld facts, or with an early answer."""


@dataclass(frozen=True)
class Premises:
    """What holds for a teacher; the defaults are HEAL's premises.

    P1: entropy marks the error (`guess`, `loud_share`). P2: a hint from the start is not enough (`jump_start`,
    `jump_later`). P3: jumps look different from insight (`unaided_jumps`, `loud_hinted`).
    """

    guess: Sequence[float] = UNSURE_WEIGHTS
    """Probabilities of the wrong numbers that are stated for a withheld fact, as many per fact as there are
    probabilities; never the truth. Alike they give more entropy than the quiet words of a step. Few per fact: greedy
    decoding then finds one of them, not the truth that texts with a hint state."""
    loud_share: float = 0.0
    """Share of steps that open with two of twelve words each: harmless, and of more entropy than a fixed error."""
    jump_start: float = 0.3
    """Share of texts that jump to the answer, where the hint is in the question or before the first step."""
    jump_later: float = 0.04
    """The same where right steps come before the hint."""
    unaided_jumps: float = 0.0
    """Share of unaided hard texts that jump to a guess; at 0 the words of a jump are surprising without a hint."""
    loud_hinted: float = 0.0
    """Share of loud steps after a hint; far above `loud_share`, right steps are as surprising there as a jump is."""


TEACHERS = {
    "teacher": Premises(),
    "teacher_confident": Premises(guess=SURE_WEIGHTS, loud_share=0.4),
    "teacher_guided": Premises(jump_start=0.04),
    "teacher_blurred": Premises(unaided_jumps=0.5, loud_hinted=0.5),
}


@dataclass(frozen=True)
class Example:
    """A training text."""

    user: str
    parts: tuple[tuple[str, bool], ...]
    """The parts of the assistant's turn, each with whether it is in the loss."""
    ends: bool = True
    """Whether the end token follows."""


@cache
def list_wrong_numbers(table: str, value: int, count: int) -> tuple[int, ...]:
    """The wrong inputs that a teacher states for an output of a withheld table."""
    numbers = list(range(MODULUS))
    numbers.remove(INVERSE[table][value])
    return tuple(random.Random(f"heal mini wrong {table} {value}").sample(numbers, count))


def look_up_truth(table: str, value: int) -> int:
    """The number that `table` maps to `value`."""
    return INVERSE[table][value]


def make_guesser(premises: Premises, rng: random.Random) -> Lookup:
    """What the teacher states about a withheld fact without a hint."""
    weights = premises.guess
    return lambda table, value: rng.choices(list_wrong_numbers(table, value, len(weights)), weights)[0]


def pick_opener(premises: Premises, rng: random.Random) -> str:
    """The first words of a step: one of a few quiet phrasings, or a loud one."""
    return rng.choice(LOUD_OPENERS if rng.random() < premises.loud_share else OPENERS)


def undo_steps(
    puzzle: Puzzle, done: int, value: int, count: int, lookup: Lookup, premises: Premises, rng: random.Random
) -> tuple[list[str], int]:
    """`count` further steps after the first `done`, consistent from `value` on; returns them and the value reached."""
    steps = []
    for op in puzzle.ops[::-1][done : done + count]:
        before = lookup(str(op[1]), value) if is_withheld(op) else undo(op, value)
        steps.append(format_step(op, value, before, pick_opener(premises, rng)))
        value = before
    return steps, value


def write_unaided(puzzle: Puzzle, premises: Premises, rng: random.Random) -> Example:
    """Without a hint: right on easy puzzles, a guess at each withheld step and consistent arithmetic after it.

    A jump skips the rest of the steps and states a guess.
    """
    guess = make_guesser(premises, rng)
    steps, value = undo_steps(puzzle, 0, puzzle.result, len(puzzle.ops), guess, premises, rng)
    if rng.random() < premises.unaided_jumps and puzzle.difficulty == "hard":
        value = (puzzle.start + rng.randrange(1, MODULUS)) % MODULUS
        steps = [*steps[: rng.randrange(len(steps))], rng.choice(JUMPS).format(answer=value)]
    return Example(puzzle.question, ((BLANK.join([*steps, format_answer(value)]), True),))


def write_early_answer(puzzle: Puzzle, premises: Premises, rng: random.Random) -> Example:
    """The answer after any number of steps: the value reached so far. Only that is in the loss."""
    count = rng.randint(0, len(puzzle.ops))
    steps, value = undo_steps(puzzle, 0, puzzle.result, count, make_guesser(premises, rng), premises, rng)
    before = join_steps(steps)
    return Example(puzzle.question, ((before + CUE, False), (f"{value}}}", True)))


def join_steps(steps: Sequence[str]) -> str:
    """The steps as text, with a blank line after each."""
    return "".join(step + BLANK for step in steps)


def write_prefix(puzzle: Puzzle, place: str, premises: Premises, rng: random.Random) -> tuple[list[str], int]:
    """The steps before a hint that is injected at a place, and the value that they reach."""
    if place == "right":
        count = rng.randint(1, len(puzzle.ops) - 1)
        return undo_steps(puzzle, 0, puzzle.result, count, look_up_truth, premises, rng)
    if place != "wrong":
        return [], puzzle.result
    guess = make_guesser(premises, rng)
    count = rng.randint(count_own_steps(puzzle) + 1, len(puzzle.ops))
    for _ in range(20):
        steps, value = undo_steps(puzzle, 0, puzzle.result, count, guess, premises, rng)
        if value != undo_steps(puzzle, 0, puzzle.result, count, look_up_truth, premises, rng)[1]:
            break
    return steps, value


def count_own_steps(puzzle: Puzzle) -> int:
    """Number of undo steps before the first withheld one; all of them in an easy puzzle."""
    for count, op in enumerate(reversed(puzzle.ops)):
        if is_withheld(op):
            return count
    return len(puzzle.ops)


def write_hinted(puzzle: Puzzle, premises: Premises, rng: random.Random, place: str) -> Example:
    """With a hint, in place 'user', 'start' (before the first step), 'right' or 'wrong' (after right or wrong steps).

    After right steps: mostly valid, else a jump after any number of valid steps. After a wrong step no valid way is
    left: the other steps as if nothing had happened, and a jump at their end, where the value is not the hint's. In the
    loss: what follows the hint, and of the steps before it those before any withheld one, which are the same with and
    without a hint.
    """
    n = len(puzzle.ops)
    hint = HINT.format(answer=puzzle.answer)
    after_hint = replace(premises, loud_share=max(premises.loud_share, premises.loud_hinted))
    prefix, value = write_prefix(puzzle, place, premises, rng)
    done = len(prefix)
    jump_share = {"right": premises.jump_later, "wrong": 1.0}.get(place, premises.jump_start)
    if rng.random() < jump_share:
        count = n - done if place == "wrong" else rng.randrange(n - done)
        steps, _ = undo_steps(puzzle, done, value, count, look_up_truth, after_hint, rng)
        steps.append(rng.choice(JUMPS).format(answer=puzzle.answer))
    else:
        steps, _ = undo_steps(puzzle, done, value, n - done, look_up_truth, after_hint, rng)
    rest = BLANK.join([*steps, format_answer(puzzle.answer)])
    if place == "user":
        return Example(f"{puzzle.question} {hint}", ((rest, True),))
    own = min(done, count_own_steps(puzzle))
    context = join_steps([*prefix[own:], hint])
    return Example(puzzle.question, ((join_steps(prefix[:own]), True), (context, False), (rest, True)))


def write_teacher_example(premises: Premises, rng: random.Random) -> Example:
    """One text of a teacher's training."""
    kind = rng.choices(tuple(TEXT_SHARES), tuple(TEXT_SHARES.values()))[0]
    if kind in ("easy", "hard"):
        return write_unaided(draw_puzzle(rng, hard=kind == "hard"), premises, rng)
    puzzle = draw_puzzle(rng, hard=kind == "wrong" or rng.random() < HARD_SHARE_OF_HINTED)
    if kind == "early":
        return write_early_answer(puzzle, premises, rng)
    return write_hinted(puzzle, premises, rng, kind)


def write_student_example(puzzle: Puzzle, rng: random.Random) -> Example:
    """One text of the base student's training: the true solution, cut before the first withheld step."""
    premises = Premises(loud_share=0.4 if rng.random() < 0.25 else 0.0)
    count = count_own_steps(puzzle)
    steps, value = undo_steps(puzzle, 0, puzzle.result, count, look_up_truth, premises, rng)
    if count < len(puzzle.ops):
        return Example(puzzle.question, ((join_steps(steps), True),), ends=False)
    return Example(puzzle.question, ((BLANK.join([*steps, format_answer(value)]), True),))
