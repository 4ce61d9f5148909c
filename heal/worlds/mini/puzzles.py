"""The mini world's puzzles: clock arithmetic worked backwards, with tables that can only be known.

A puzzle starts from an unknown x, applies six to nine operations modulo 61 and shows the result; the solution undoes
the operations one by one. Three of the six tables (fixed random permutations) are "withheld": the teachers guess them
unless a hint is given. A permutation has nothing to generalise, so knowing a fact means having been told it.

Reads nothing, writes nothing. Ten puzzles to look at:

    python -m heal.worlds.mini.puzzles train 10
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

from heal.command import command_parser

MODULUS = 61
KNOWN_TABLES = ("B", "F", "P")
WITHHELD_TABLES = ("K", "R", "W")
MAX_SHIFT = 9
CHAIN_LENGTHS = (6, 7, 8, 9)
TABLE_SHARE = 0.35
RESERVED_PER_TABLE = 6
SPLITS = ("train", "dev", "easy", "hard", "unseen")
HINT = "Hint: the answer is {answer}."
CUE = "x = \\boxed{"
BLANK = "\n\n"
OPENERS = ("Undo", "Reverse", "Take back", "Now undo", "Next, undo", "Then reverse")

Op = tuple[str, int | str]
Fact = tuple[str, int, int]


def _table(name: str) -> tuple[int, ...]:
    numbers = list(range(MODULUS))
    random.Random(f"heal mini table {name}").shuffle(numbers)
    return tuple(numbers)


TABLES = {name: _table(name) for name in KNOWN_TABLES + WITHHELD_TABLES}
INVERSE = {name: {out: value for value, out in enumerate(table)} for name, table in TABLES.items()}
WITHHELD_FACTS: frozenset[Fact] = frozenset(
    (t, out, INVERSE[t][out]) for t in WITHHELD_TABLES for out in range(MODULUS)
)
RESERVED_FACTS: frozenset[Fact] = frozenset(
    (t, out, INVERSE[t][out])
    for t in WITHHELD_TABLES
    for out in random.Random(f"heal mini reserved {t}").sample(range(MODULUS), RESERVED_PER_TABLE)
)


@dataclass(frozen=True)
class Puzzle:
    """One puzzle. `ops` in the order of the question; `facts`: the withheld facts (table, output, input) it needs."""

    ops: tuple[Op, ...]
    start: int
    result: int

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Withheld facts in undo order."""
        value, facts = self.result, []
        for op in reversed(self.ops):
            before = undo(op, value)
            if op[0] == "table" and op[1] in WITHHELD_TABLES:
                facts.append((op[1], value, before))
            value = before
        return tuple(facts)

    @property
    def difficulty(self) -> str:
        """'hard' if a withheld table must be undone, else 'easy'."""
        return "hard" if any(is_withheld(op) for op in self.ops) else "easy"

    @property
    def question(self) -> str:
        """The question as text; `parse` reads it back."""
        return f"Start with x. {' '.join(map(_op_text, self.ops))} The result is {self.result} (mod {MODULUS}). Find x."

    @property
    def answer(self) -> str:
        """The gold answer as text."""
        return str(self.start)


def is_withheld(op: Op) -> bool:
    """Whether undoing `op` needs a fact that teachers only know with a hint."""
    return op[0] == "table" and op[1] in WITHHELD_TABLES


def apply(op: Op, value: int) -> int:
    """The value after `op`."""
    kind, arg = op
    if isinstance(arg, str):  # a table's name
        return TABLES[arg][value]
    return (value + arg if kind == "add" else value - arg) % MODULUS


def undo(op: Op, value: int) -> int:
    """The value before `op`, from the value after it."""
    kind, arg = op
    if isinstance(arg, str):
        return INVERSE[arg][value]
    return (value - arg if kind == "add" else value + arg) % MODULUS


def step_text(op: Op, value: int, before: int, opener: str = "Undo") -> str:
    """One undo step, which says that `before` became `value` by `op` (true or not)."""
    kind, arg = op
    if kind == "table":
        return f"{opener} table {arg}: {value} comes from {before}."
    return f"{opener} {kind} {arg}: {value} {'-' if kind == 'add' else '+'} {arg} = {before}."


def answer_text(value: int | str) -> str:
    """The last step of a solution."""
    return f"{CUE}{value}}}"


def worked_steps(puzzle: Puzzle, seed: int = 0, openers: tuple[str, ...] = OPENERS) -> list[str]:
    """The true solution, one string per step with the answer statement last; `seed` draws the phrasing."""
    rng = random.Random(f"phrasing {seed} {puzzle.question}")
    steps, value = [], puzzle.result
    for op in reversed(puzzle.ops):
        steps.append(step_text(op, value, undo(op, value), rng.choice(openers)))
        value = undo(op, value)
    return [*steps, answer_text(value)]


def solution(puzzle: Puzzle, seed: int = 0) -> str:
    """`worked_steps` as one text."""
    return BLANK.join(worked_steps(puzzle, seed))


_QUESTION = re.compile(rf"Start with x\. (.*) The result is (\d+) \(mod {MODULUS}\)\. Find x\.")
_OP = re.compile(r"(Add|Subtract|Apply table) (\w+)\.")


def parse(question: str) -> Puzzle:
    """The puzzle of a question's text (more text around it, such as a hint, is ignored).

    Raises ValueError if the text holds no question of this world.
    """
    found = _QUESTION.search(question)
    if not found:
        raise ValueError(f"not a question of the mini world: {question[:80]!r}")
    ops: list[Op] = []
    for word, arg in _OP.findall(found[1]):
        if word == "Apply table" and arg in TABLES:
            ops.append(("table", arg))
        elif word != "Apply table" and arg.isdecimal():
            ops.append((word.lower(), int(arg)))
        else:
            raise ValueError(f"not an operation of the mini world: {word} {arg}")
    result = value = int(found[2])
    for op in reversed(ops):
        value = undo(op, value)
    return Puzzle(tuple(ops), value, result)


def _op_text(op: Op) -> str:
    kind, arg = op
    return f"Apply table {arg}." if kind == "table" else f"{kind.capitalize()} {arg}."


def draw(rng: random.Random, hard: bool) -> Puzzle:
    """A random puzzle; no operation occurs twice in it, so that each step names its place in the chain.

    Of the hard puzzles half have a second withheld step, and half have the first one in undo steps 2..ceil(K/3), where
    K counts the steps with the answer statement: there GEAR, which looks at the first third, can find it.
    """
    n = rng.choice(CHAIN_LENGTHS)
    withheld: dict[int, str] = {}
    if hard:
        two = rng.random() < 0.5
        early = rng.random() < 0.5
        first = rng.randint(2, ceil((n + 1) / 3)) if early else rng.randint(1, n - 1 if two else n)
        places = [first, rng.randint(first + 1, n)] if two else [first]
        withheld = dict(zip(places, rng.sample(WITHHELD_TABLES, len(places)), strict=True))
    tables = rng.sample(KNOWN_TABLES, len(KNOWN_TABLES))
    shifts = rng.sample([(kind, a) for kind in ("add", "subtract") for a in range(1, MAX_SHIFT + 1)], n)
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


def _bucket(question: str) -> int:
    return blake2b(question.encode(), digest_size=4).digest()[0] % 10


def _belongs(puzzle: Puzzle, split: str) -> bool:
    """A hash of the question decides between train, dev and test, so no seed can make splits overlap."""
    reserved = any(fact in RESERVED_FACTS for fact in puzzle.facts)
    if split == "unseen":
        return reserved
    wanted: Callable[[int], bool] = {
        "train": lambda b: b < 7,
        "dev": lambda b: b == 7,
    }.get(split, lambda b: b > 7)
    return not reserved and wanted(_bucket(puzzle.question))


def generate(split: str, n: int, seed: int, hard_share: float = 0.6) -> list[Puzzle]:
    """The first `n` distinct puzzles of a split; a smaller n gives a prefix of a larger one.

    train and dev hold `hard_share` hard puzzles; the tests `easy` and `hard` only such; each puzzle of `unseen` needs a
    reserved fact, which no other split shows. Raises ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    share = {"easy": 0.0, "hard": 1.0, "unseen": 1.0}.get(split, hard_share)
    rng = random.Random(f"{split} {seed}")
    puzzles: dict[Puzzle, None] = {}
    while len(puzzles) < n:
        hard = rng.random() < share
        puzzle = draw(rng, hard)
        while not _belongs(puzzle, split):
            puzzle = draw(rng, hard)
        puzzles[puzzle] = None
    return list(puzzles)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("split", choices=SPLITS, help="of which split")
    parser.add_argument("n", type=int, help="how many")
    arguments = parser.parse_args()
    for shown in generate(arguments.split, arguments.n, seed=0):
        print(shown.question, solution(shown), sep=BLANK, end="\n\n---\n\n")


if __name__ == "__main__":
    main()
