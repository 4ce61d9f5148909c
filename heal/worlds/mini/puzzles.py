"""The mini world's puzzles: clock arithmetic worked backwards, with tables that can only be known.

A puzzle starts from an unknown x, applies six to nine operations modulo 61 and shows the result; the solution undoes
the operations one by one. Three of the six tables (fixed random permutations) are "withheld": the teachers guess them
unless a hint is given. A permutation has nothing to generalize, so knowing a fact means having been told it.

    heal show-problems mini hard      # five of them, with their worked solutions
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

Op = tuple[str, int | str]
"""("add" | "subtract", amount) or ("table", the table's name)."""
Fact = tuple[str, int, int]
"""(table, output, input)."""

MODULUS = 61
KNOWN_TABLES = ("B", "F", "P")
WITHHELD_TABLES = ("K", "R", "W")
MAX_SHIFT = 9
CHAIN_LENGTHS = (6, 7, 8, 9)
TABLE_SHARE = 0.35
BOTH_EARLY_SHARE = 0.25
HARD_SHARE = 0.6
RESERVED_PER_TABLE = 6
SPLITS = ("train", "dev", "easy", "hard", "unseen")
HINT = "Hint: the answer is {answer}."
CUE = "x = \\boxed{"
BLANK = "\n\n"
SHIFTS: tuple[Op, ...] = tuple((name, amount) for name in ("add", "subtract") for amount in range(1, MAX_SHIFT + 1))
"""The operations without a table."""
OPENERS = ("Undo", "Reverse", "Take back", "Now undo", "Next, undo", "Then reverse")


def build_table(name: str) -> tuple[int, ...]:
    """A fixed random permutation of 0 … MODULUS-1."""
    numbers = list(range(MODULUS))
    random.Random(f"heal mini table {name}").shuffle(numbers)
    return tuple(numbers)


def build_facts(table: str, outputs: Iterable[int]) -> set[Fact]:
    """The table's facts with these outputs."""
    return {(table, output, INVERSE[table][output]) for output in outputs}


TABLES = {name: build_table(name) for name in KNOWN_TABLES + WITHHELD_TABLES}
INVERSE: dict[str, dict[int, int]] = {}
for _name, _table in TABLES.items():
    INVERSE[_name] = {output: value for value, output in enumerate(_table)}
WITHHELD_FACTS: set[Fact] = set()
RESERVED_FACTS: set[Fact] = set()
"""Withheld facts that occur in the split `unseen` only."""
for _name in WITHHELD_TABLES:
    _reserved = random.Random(f"heal mini reserved {_name}").sample(range(MODULUS), RESERVED_PER_TABLE)
    WITHHELD_FACTS |= build_facts(_name, range(MODULUS))
    RESERVED_FACTS |= build_facts(_name, _reserved)


@dataclass(frozen=True)
class Puzzle:
    """One puzzle."""

    ops: tuple[Op, ...]
    """In the order of the question."""
    start: int
    result: int

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The withheld facts that it needs, in undo order."""
        value = self.result
        facts: list[Fact] = []
        for op in reversed(self.ops):
            before = undo(op, value)
            if is_withheld(op):
                facts.append((str(op[1]), value, before))
            value = before
        return tuple(facts)

    @property
    def difficulty(self) -> str:
        """'hard' if a withheld table must be undone, else 'easy'."""
        return "hard" if any(map(is_withheld, self.ops)) else "easy"

    @property
    def question(self) -> str:
        """The question as text; `parse` reads it back."""
        operations = " ".join(map(format_operation, self.ops))
        return f"Start with x. {operations} The result is {self.result} (mod {MODULUS}). Find x."

    @property
    def answer(self) -> str:
        """The gold answer as text."""
        return str(self.start)


def is_withheld(op: Op) -> bool:
    """Whether undoing `op` needs a fact that teachers only know with a hint."""
    return op[0] == "table" and op[1] in WITHHELD_TABLES


def apply(op: Op, value: int) -> int:
    """The value after `op`."""
    name, argument = op
    if isinstance(argument, str):
        return TABLES[argument][value]
    return (value + argument if name == "add" else value - argument) % MODULUS


def undo(op: Op, value: int) -> int:
    """The value before `op`, from the value after it."""
    name, argument = op
    if isinstance(argument, str):
        return INVERSE[argument][value]
    return (value - argument if name == "add" else value + argument) % MODULUS


def format_operation(op: Op) -> str:
    """The operation as a sentence of the question."""
    name, argument = op
    return f"Apply table {argument}." if name == "table" else f"{name.capitalize()} {argument}."


def format_step(op: Op, value: int, before: int, opener: str = "Undo") -> str:
    """The undo step that states that `before` became `value` by `op`, true or not."""
    name, argument = op
    if name == "table":
        return f"{opener} table {argument}: {value} comes from {before}."
    return f"{opener} {name} {argument}: {value} {'-' if name == 'add' else '+'} {argument} = {before}."


def format_answer(value: int | str) -> str:
    """The answer statement, which is the last step of a solution."""
    return f"{CUE}{value}}}"


def build_worked_steps(puzzle: Puzzle, seed: int = 0, openers: tuple[str, ...] = OPENERS) -> list[str]:
    """The true solution, one string per step, the answer statement last; the seed decides the phrasing."""
    rng = random.Random(f"phrasing {seed} {puzzle.question}")
    steps = []
    value = puzzle.result
    for op in reversed(puzzle.ops):
        steps.append(format_step(op, value, undo(op, value), rng.choice(openers)))
        value = undo(op, value)
    return [*steps, format_answer(value)]


def build_solution(puzzle: Puzzle, seed: int = 0) -> str:
    """The worked steps as one text."""
    return BLANK.join(build_worked_steps(puzzle, seed))


QUESTION = re.compile(rf"Start with x\. (.*) The result is (\d+) \(mod {MODULUS}\)\. Find x\.")
OPERATION = re.compile(r"(Add|Subtract|Apply table) (\w+)\.")


def parse(question: str) -> Puzzle:
    """The puzzle that a text asks; other text around the question, such as a hint, is ignored.

    Raises ValueError for a text without a question of this world.
    """
    match = QUESTION.search(question)
    if not match:
        raise ValueError(f"not a question of the mini world: {question[:80]!r}")
    ops: list[Op] = []
    for word, argument in OPERATION.findall(match[1]):
        if word == "Apply table" and argument in TABLES:
            ops.append(("table", argument))
        elif word != "Apply table" and argument.isdecimal():
            ops.append((word.lower(), int(argument)))
        else:
            raise ValueError(f"not an operation of the mini world: {word} {argument}")
    result = value = int(match[2])
    for op in reversed(ops):
        value = undo(op, value)
    return Puzzle(tuple(ops), value, result)


def place_withheld_tables(n: int, rng: random.Random) -> dict[int, str]:
    """Undo step (from 1) → withheld table, for a hard puzzle of n operations.

    Half of the puzzles have a second withheld step. GEAR searches the first third of the steps, 1 … ceil(K/3), where K
    counts the answer statement. A share of the puzzles with two has both there, with a step between: the second error
    can be the larger surge, and a cut at it keeps the first. Of the others, half have the first one within
    2 … ceil(K/3).
    """
    third = ceil((n + 1) / 3)
    two = rng.random() < 0.5
    if two and rng.random() < BOTH_EARLY_SHARE:
        first = rng.randint(1, third - 2)
        places = [first, rng.randint(first + 2, third)]
    else:
        first = rng.randint(2, third) if rng.random() < 0.5 else rng.randint(1, n - 1 if two else n)
        places = [first, rng.randint(first + 1, n)] if two else [first]
    return dict(zip(places, rng.sample(WITHHELD_TABLES, len(places)), strict=True))


def draw_puzzle(rng: random.Random, hard: bool) -> Puzzle:
    """A random puzzle. No operation occurs twice in it, so that each step names its place in the chain."""
    n = rng.choice(CHAIN_LENGTHS)
    withheld = place_withheld_tables(n, rng) if hard else {}
    tables = rng.sample(KNOWN_TABLES, len(KNOWN_TABLES))
    shifts = rng.sample(SHIFTS, n)
    ops: list[Op] = []
    for step in range(n, 0, -1):
        if step in withheld:
            ops.append(("table", withheld[step]))
        elif tables and rng.random() < TABLE_SHARE:
            ops.append(("table", tables.pop()))
        else:
            ops.append(shifts.pop())
    start = value = rng.randrange(MODULUS)
    for op in ops:
        value = apply(op, value)
    return Puzzle(tuple(ops), start, value)


def compute_bucket(question: str) -> int:
    """0 to 9, by a hash of the question."""
    return blake2b(question.encode(), digest_size=4).digest()[0] % 10


def is_in_split(puzzle: Puzzle, split: str) -> bool:
    """Whether the puzzle may occur in the split: a hash of the question decides, so no seed can make splits overlap."""
    reserved = not RESERVED_FACTS.isdisjoint(puzzle.facts)
    if reserved or split == "unseen":
        return reserved and split == "unseen"
    bucket = compute_bucket(puzzle.question)
    if split == "train":
        return bucket < 7
    if split == "dev":
        return bucket == 7
    return bucket > 7


def generate(split: str, n: int, seed: int, hard_share: float = HARD_SHARE) -> list[Puzzle]:
    """The first `n` distinct puzzles of a split; a smaller n gives a prefix of a larger one.

    hard_share: share of hard puzzles in train and dev. `easy` has only easy ones, `hard` and `unseen` only hard ones;
    each puzzle of `unseen` needs a reserved fact, which no other split needs. Raises ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    share = {"easy": 0.0, "hard": 1.0, "unseen": 1.0}.get(split, hard_share)
    rng = random.Random(f"{split} {seed}")
    puzzles: dict[Puzzle, None] = {}
    while len(puzzles) < n:
        hard = rng.random() < share
        puzzle = draw_puzzle(rng, hard)
        while not is_in_split(puzzle, split):
            puzzle = draw_puzzle(rng, hard)
        puzzles[puzzle] = None
    return list(puzzles)
