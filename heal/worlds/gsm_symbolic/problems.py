"""Grade-school word problems in real language, made from templates: reasoning-gym's gsm_symbolic, without a download.

Reads the package reasoning-gym (its two modules of generators only); writes nothing. A problem has question, answer,
worked solution (a step per line of the package's, then the boxed answer), source and difficulty. Ten to look at:

    python -m heal.worlds.gsm_symbolic.problems train 10
"""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.method.steps import split_text
from heal.records import Row
from heal.worlds.gsm_symbolic.checker import first_wrong_step
from heal.worlds.gsm_symbolic.equations import stated
from heal.worlds.gsm_symbolic.templates import EASY, STRONG, TAUGHT, UNSEEN, WEAK, difficulty

PACKAGE = "reasoning_gym"
FOLDER = "arithmetic/gsm_symbolic"
STATEMENT = "The answer is \\boxed{{{answer}}}."
BLANK = "\n\n"
MARKS = re.compile(r"<<[^<>]*>>")  # a calculator's
WHOLE = re.compile(r"(?<=\d)\.0(?!\d)")
BULLET = re.compile(r"^\s*[-•]\s+")
LONG_DECIMALS = re.compile(r"\.\d{5}")
# Of ten parts of every template's numbers: which a split may use. A hash decides, so no seed can make splits overlap.
PARTS = {"train": range(4), "dev": range(4, 5), "test": range(5, 7), "warm_up": range(7, 10)}
SPLITS: dict[str, tuple[tuple[int, ...], str]] = {
    "train": (TAUGHT, "train"),
    "dev": (TAUGHT, "dev"),
    "seen": (EASY + STRONG, "test"),
    "weak": (WEAK, "test"),
    "unseen": (UNSEEN, "test"),
}
DRAWS = 2000  # of one template in search of one more problem; then its numbers are used up

Generator = Callable[[random.Random, float], dict[str, Any]]


def module_at(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader  # of a .py file there are both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@cache
def generators() -> dict[int, Generator]:
    """The templates by number. Raises HealError where the package is not installed.

    The package itself is not imported: that needs ten other libraries, one of them a compiler, for its other worlds.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        fix = "run `make smol-env`, which installs what requirements/smol.txt says"
        raise HealError("the package reasoning-gym is not installed", where="source gsm_symbolic", fix=fix)
    root = Path(spec.origin).parent
    if f"{PACKAGE}.utils" not in sys.modules:  # what the generators import
        module_at(f"{PACKAGE}.utils", root / "utils.py")
    found: dict[int, Generator] = {}
    for half in ("generators_00_49", "generators_50_99"):
        module = module_at(f"{__package__}.{half}", root / FOLDER / f"{half}.py")
        found |= {
            int(name.removeprefix("generate_")): f for name, f in vars(module).items() if name.startswith("generate_")
        }
    return found


def worked_steps(answer_cot: str, answer: str) -> list[str]:
    """The worked solution's steps: its lines without headings, bullets, marks and the line of ####; then the answer."""
    lines = (BULLET.sub("", MARKS.sub("", line)).strip() for line in answer_cot.rpartition("####")[0].split("\n"))
    steps = [WHOLE.sub("", line) for line in lines if line and not line.endswith(":")]
    return [*steps, STATEMENT.format(answer=answer)]


def draw(template: int, rng: random.Random) -> Row:
    """A random problem of a template, as the package makes it."""
    made = generators()[template](rng, 1.0)
    return {
        "question": WHOLE.sub("", made["question"].strip()),
        "answer": made["answer"],
        "solution": BLANK.join(worked_steps(made["metadata"]["answer_cot"], made["answer"])),
        "source": f"gsm_symbolic/template{template}",
        "difficulty": difficulty(template),
    }


def flaw(problem: Row) -> str | None:
    """Why a problem is not used: its numbers came out badly in the package; None where nothing is wrong."""
    if LONG_DECIMALS.search(problem["question"] + problem["solution"]):
        return "a number with more than four decimals"
    if problem["answer"].startswith("-"):
        return "a negative answer"
    wrong = first_wrong_step(problem, split_text(problem["solution"]))
    return None if wrong is None else f"a step that is not true: {split_text(problem['solution'])[wrong - 1]}"


def numbers(problem: Row) -> tuple[str, ...]:
    """What makes two problems of a template the same: the numbers of the question, whatever the names."""
    return (problem["source"], *stated(problem["question"]))


def part(problem: Row) -> int:
    return blake2b(repr(numbers(problem)).encode(), digest_size=4).digest()[0] % 10


def distinct(template: int, use: str, seed: int, key: Callable[[Row], Any] = numbers) -> Iterator[Row]:
    """Problems of a template for a use (of PARTS) that differ by `key`; ends where DRAWS draws give no further one."""
    rng = random.Random(f"{use} {template} {seed}")
    seen, idle = set(), 0
    while idle < DRAWS:
        problem = draw(template, rng)
        idle += 1
        if part(problem) in PARTS[use] and key(problem) not in seen:
            seen.add(key(problem))
            if flaw(problem) is None:
                idle = 0
                yield problem


def generate(split: str, n: int, seed: int) -> list[Row]:
    """The first `n` problems of a split; a smaller n gives a prefix of a larger one.

    Every template has its turn once in each round, in random order; one whose numbers are used up is passed over.
    Raises ValueError for an unknown split, HealError where the split has fewer problems.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    templates, use = SPLITS[split]
    rng = random.Random(f"{split} {seed}")
    streams = {template: distinct(template, use, seed) for template in templates}
    found: list[Row] = []
    while streams and len(found) < n:
        for template in rng.sample(sorted(streams), len(streams)):
            problem = next(streams[template], None)
            if problem is None:
                del streams[template]
            else:
                found.append(problem)
    if len(found) < n:
        raise HealError(f"only {len(found)} different problems", where=f"gsm_symbolic/{split}", fix="ask for fewer")
    return found[:n]


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("split", choices=SPLITS, help="of which split")
    parser.add_argument("n", type=int, help="how many")
    arguments = parser.parse_args()
    for shown in generate(arguments.split, arguments.n, seed=0):
        print(shown["source"], shown["question"], shown["solution"], sep=BLANK, end="\n\n---\n\n")


if __name__ == "__main__":
    exit_with_errors(main)
