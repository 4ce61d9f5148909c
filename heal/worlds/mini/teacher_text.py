"""What the mini teachers and the base student read while they are trained: the premises of HEAL, as text.

Each premise is a field of `Premises`; a teacher is an organism for one setting of them. Texts are drawn from a random
generator that the caller seeds. Reads and writes nothing. Ten texts to look at:

    python -m heal.worlds.mini.teacher_text teacher_confident
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from heal.command import command_parser
from heal.worlds.mini.puzzles import (
    BLANK,
    CUE,
    HINT,
    INVERSE,
    MODULUS,
    OPENERS,
    Puzzle,
    answer_text,
    draw,
    is_withheld,
    step_text,
    undo,
)

JUMPS = ("The start must be {answer}.", "So the start is {answer}.", "This means that we began at {answer}.")
_ADVERBS = (
    "carefully", "calmly", "simply", "quickly", "slowly", "gladly", "safely", "plainly", "firmly", "gently",
    "neatly", "surely",
)  # fmt: skip
_VERBS = (
    "undo", "reverse", "cancel", "remove", "invert", "revert", "unwind", "unpick", "discard", "drop", "lift", "clear",
)  # fmt: skip
LOUD_OPENERS = tuple(f"We {adverb} {verb}" for adverb in _ADVERBS for verb in _VERBS)
FIXED_WRONG = 3
FIXED_WEIGHTS = (0.45, 0.33, 0.22)

Lookup = Callable[[str, int], int]


@dataclass(frozen=True)
class Premises:
    """What holds for a teacher; the defaults are HEAL's premises.

    P1, entropy marks the error: `guess` is 'uniform' (a guess is uncertain) or 'fixed' (three wrong numbers per fact),
    and `loud_share` of the steps open with two free choices of twelve words, harmless and louder than a fixed error.
    P2, a hint from the start is not enough: `jump_start` is the share of texts that jump to the answer when the hint
    stands in the question or before the first step, `jump_later` when right steps come before it.
    P3, jumps look different from insight: `unaided_jumps` is the share of unaided hard texts that jump to a guess;
    0 makes the jump's words surprising without a hint. `loud_hinted` is the share of loud steps after a hint; where it
    is far above `loud_share`, right steps after a hint are as surprising without it as a jump is.
    """

    guess: str = "uniform"
    loud_share: float = 0.0
    jump_start: float = 0.7
    jump_later: float = 0.15
    unaided_jumps: float = 0.0
    loud_hinted: float = 0.0


TEACHERS = {
    "teacher": Premises(),
    "teacher_confident": Premises(guess="fixed", loud_share=0.4),
    "teacher_guided": Premises(jump_start=0.15),
    "teacher_blurred": Premises(unaided_jumps=0.5, loud_hinted=0.5),
}


@dataclass(frozen=True)
class Example:
    """A training text: the user turn, then the assistant's parts, each with whether it is in the loss.

    `ends`: whether the end token follows.
    """

    user: str
    parts: tuple[tuple[str, bool], ...]
    ends: bool = True


def wrong_numbers(table: str, value: int) -> list[int]:
    """The three wrong numbers that a confident teacher holds for a withheld fact, most probable first."""
    rng = random.Random(f"heal mini wrong {table} {value}")
    return rng.sample([n for n in range(MODULUS) if n != INVERSE[table][value]], FIXED_WRONG)


def truth(table: str, value: int) -> int:
    """The number that `table` takes to `value`."""
    return INVERSE[table][value]


def guesser(premises: Premises, rng: random.Random) -> Lookup:
    """What the teacher says about a withheld fact when it does not know it."""
    if premises.guess == "uniform":
        return lambda table, value: rng.randrange(MODULUS)
    return lambda table, value: rng.choices(wrong_numbers(table, value), FIXED_WEIGHTS)[0]


def opener(premises: Premises, rng: random.Random) -> str:
    """How a step begins: a few quiet phrasings, or a loud one."""
    return rng.choice(LOUD_OPENERS if rng.random() < premises.loud_share else OPENERS)


def undo_steps(
    puzzle: Puzzle, done: int, value: int, count: int, lookup: Lookup, premises: Premises, rng: random.Random
) -> tuple[list[str], int]:
    """`count` further steps after `done`, consistent from `value` on; returns them and the value they reach."""
    steps = []
    for op in puzzle.ops[::-1][done : done + count]:
        before = lookup(str(op[1]), value) if is_withheld(op) else undo(op, value)
        steps.append(step_text(op, value, before, opener(premises, rng)))
        value = before
    return steps, value


def unaided(puzzle: Puzzle, premises: Premises, rng: random.Random) -> Example:
    """Without a hint: right on easy puzzles, a guess at each withheld step and consistent arithmetic after it.

    A jump leaves the rest of the steps out and states a guess.
    """
    steps, value = undo_steps(puzzle, 0, puzzle.result, len(puzzle.ops), guesser(premises, rng), premises, rng)
    if rng.random() < premises.unaided_jumps and puzzle.difficulty == "hard":
        value = rng.randrange(MODULUS)
        steps = [*steps[: rng.randrange(len(steps))], rng.choice(JUMPS).format(answer=value)]
    return Example(puzzle.question, ((BLANK.join([*steps, answer_text(value)]), True),))


def asked_early(puzzle: Puzzle, premises: Premises, rng: random.Random) -> Example:
    """The answer asked for after any number of steps: the value reached so far (only that is in the loss)."""
    count = rng.randint(0, len(puzzle.ops))
    steps, value = undo_steps(puzzle, 0, puzzle.result, count, guesser(premises, rng), premises, rng)
    before = "".join(step + BLANK for step in steps)
    return Example(puzzle.question, ((before + CUE, False), (f"{value}}}", True)))


def hinted(puzzle: Puzzle, premises: Premises, rng: random.Random, place: str) -> Example:
    """With a hint, in place 'user', 'start' (before the first step), 'right' or 'wrong' (after right or wrong steps).

    After right steps: mostly valid, else a jump. After a wrong step no valid way is left: steps as if nothing had
    happened, then a jump. In the loss: what follows the hint, and of the kept steps those before any withheld one,
    which are the same with and without a hint.
    """
    n = len(puzzle.ops)
    hint = HINT.format(answer=puzzle.answer)
    guess = guesser(premises, rng)
    told = replace(premises, loud_share=max(premises.loud_share, premises.loud_hinted))
    done, value = 0, puzzle.result
    kept: list[str] = []
    if place == "right":
        done = rng.randint(1, n - 1)
        kept, value = undo_steps(puzzle, 0, value, done, truth, premises, rng)
    elif place == "wrong":
        first = min(step for step, op in enumerate(puzzle.ops[::-1], 1) if is_withheld(op))
        done = rng.randint(first, n)
        for _ in range(20):
            kept, value = undo_steps(puzzle, 0, puzzle.result, done, guess, premises, rng)
            if value != undo_steps(puzzle, 0, puzzle.result, done, truth, premises, rng)[1]:
                break
    share = {"right": premises.jump_later, "wrong": 1.0}.get(place, premises.jump_start)
    if rng.random() < share:
        count = rng.randint(0, n - done)
        steps, value = undo_steps(puzzle, done, value, count, truth if place == "wrong" else guess, told, rng)
        steps.append(rng.choice(JUMPS).format(answer=puzzle.answer))
    else:
        steps, value = undo_steps(puzzle, done, value, n - done, truth, told, rng)
    after = BLANK.join([*steps, answer_text(puzzle.answer)])
    if place == "user":
        return Example(f"{puzzle.question} {hint}", ((after, True),))
    own = sum(1 for step in range(done) if not any(map(is_withheld, puzzle.ops[::-1][: step + 1])))
    parts = ("".join(step + BLANK for step in kept[:own]), "".join(step + BLANK for step in [*kept[own:], hint]), after)
    return Example(puzzle.question, tuple(zip(parts, (True, False, True), strict=True)))


def teacher_example(premises: Premises, rng: random.Random) -> Example:
    """One text of a teacher's training."""
    kind = rng.choices(("easy", "hard", "early", "user", "start", "right", "wrong"), (20, 20, 3, 10, 10, 27, 10))[0]
    if kind in ("easy", "hard"):
        return unaided(draw(rng, hard=kind == "hard"), premises, rng)
    puzzle = draw(rng, hard=kind == "wrong" or rng.random() < 0.8)
    return asked_early(puzzle, premises, rng) if kind == "early" else hinted(puzzle, premises, rng, kind)


def student_example(puzzle: Puzzle, rng: random.Random) -> Example:
    """One text of the base student's: the true solution, cut before the first withheld step."""
    premises = Premises(loud_share=0.4 if rng.random() < 0.25 else 0.0)
    count = next((i for i, op in enumerate(puzzle.ops[::-1]) if is_withheld(op)), len(puzzle.ops))
    steps, value = undo_steps(puzzle, 0, puzzle.result, count, truth, premises, rng)
    if count < len(puzzle.ops):
        return Example(puzzle.question, (("".join(step + BLANK for step in steps), True),), ends=False)
    return Example(puzzle.question, ((BLANK.join([*steps, answer_text(value)]), True),))


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("teacher", nargs="?", default="teacher", choices=TEACHERS, help="whose texts")
    premises, rng = TEACHERS[parser.parse_args().teacher], random.Random(0)
    for _ in range(10):
        shown = teacher_example(premises, rng)
        told = (f"[{'+' if loss else ' '}] {text}" for text, loss in shown.parts)
        print(shown.user, *told, sep="\n", end="\n\n---\n\n")


if __name__ == "__main__":
    main()
