"""Grade-school word problems in real language, made from templates: reasoning-gym's gsm_symbolic, without a download.

Reads the installed package reasoning-gym (its two modules of generators only). A worked solution has a step per line of
the package's solution, then the boxed answer.

    heal show-problems gsm_symbolic train      # five of them, with the checker's verdict on each step
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

from heal.errors import HealError
from heal.method.steps import split_text
from heal.worlds.base import Problem
from heal.worlds.gsm_symbolic.checker import find_first_wrong_step
from heal.worlds.gsm_symbolic.equations import find_numbers
from heal.worlds.gsm_symbolic.templates import EASY, STRONG, TAUGHT, UNSEEN, WEAK, get_difficulty

PACKAGE = "reasoning_gym"
FOLDER = "arithmetic/gsm_symbolic"
STATEMENT = "The answer is \\boxed{{{answer}}}."
BLANK = "\n\n"
MARKS = re.compile(r"<<[^<>]*>>")  # for a calculator
WHOLE = re.compile(r"(?<=\d)\.0(?!\d)")
BULLET = re.compile(r"^\s*[-•]\s+")
LONG_DECIMALS = re.compile(r"\.\d{5}")
PARTS = {"train": range(4), "dev": range(4, 5), "test": range(5, 7), "warm_up": range(7, 10)}
"""Which of ten parts of every template's numbers a use may have. A hash decides, so no seed can make splits overlap."""
SPLITS: dict[str, tuple[tuple[int, ...], str]] = {
    "train": (TAUGHT, "train"),
    "dev": (TAUGHT, "dev"),
    "seen": (EASY + STRONG, "test"),
    "weak": (WEAK, "test"),
    "unseen": (UNSEEN, "test"),
}
"""Split → its templates, and the use that its numbers are for."""
MOST_TRIES = 2000
"""Random problems of one template without a further different one; then its numbers are used up."""

Generator = Callable[[random.Random, float], dict[str, Any]]


def load_module(name: str, path: Path) -> Any:
    """The module in a file, without its package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader  # a .py file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@cache
def load_generators() -> dict[int, Generator]:
    """The templates by number. Raises HealError where the package is not installed.

    The package itself is not imported: that needs ten other libraries, one of them a compiler, for its other worlds.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        fix = "run `make smol-env`, which installs requirements/smol.txt"
        raise HealError("the package reasoning-gym is not installed", where="source gsm_symbolic", fix=fix)
    root = Path(spec.origin).parent
    if f"{PACKAGE}.utils" not in sys.modules:  # the generators import it
        load_module(f"{PACKAGE}.utils", root / "utils.py")
    generators: dict[int, Generator] = {}
    for half in ("generators_00_49", "generators_50_99"):
        module = load_module(f"{__package__}.{half}", root / FOLDER / f"{half}.py")
        for name, function in vars(module).items():
            if name.startswith("generate_"):
                generators[int(name.removeprefix("generate_"))] = function
    return generators


def build_worked_steps(answer_cot: str, answer: str) -> list[str]:
    """The worked solution's steps: its lines without headings, bullets, marks and the line of ####; then the answer."""
    steps = []
    for text in answer_cot.rpartition("####")[0].split("\n"):
        line = BULLET.sub("", MARKS.sub("", text)).strip()
        if line and not line.endswith(":"):
            steps.append(WHOLE.sub("", line))
    return [*steps, STATEMENT.format(answer=answer)]


def draw_problem(template: int, rng: random.Random) -> Problem:
    """A random problem of a template."""
    raw = load_generators()[template](rng, 1.0)
    return Problem(
        question=WHOLE.sub("", raw["question"].strip()),
        answer=raw["answer"],
        solution=BLANK.join(build_worked_steps(raw["metadata"]["answer_cot"], raw["answer"])),
        source=f"gsm_symbolic/template{template}",
        difficulty=get_difficulty(template),
    )


def find_flaw(problem: Problem) -> str | None:
    """Why a problem is not used: its numbers came out badly in the package; None where nothing is wrong."""
    solution = problem.solution or ""
    if LONG_DECIMALS.search(problem.question + solution):
        return "a number with more than four decimals"
    if problem.answer.startswith("-"):
        return "a negative answer"
    steps = split_text(solution)
    wrong = find_first_wrong_step(problem, steps)
    return None if wrong is None else f"a step that is not true: {steps[wrong - 1]}"


def get_identity(problem: Problem) -> tuple[str, ...]:
    """What makes two problems of a template the same: the numbers of the question, whatever the names."""
    return (problem.source, *find_numbers(problem.question))


def compute_part(problem: Problem) -> int:
    """0 to 9, by a hash of the problem's numbers."""
    return blake2b(repr(get_identity(problem)).encode(), digest_size=4).digest()[0] % 10


def generate_distinct(
    template: int, use: str, seed: int, get_key: Callable[[Problem], Any] = get_identity
) -> Iterator[Problem]:
    """Problems of a template for a use (of PARTS) that differ by key; ends after MOST_TRIES without a further one."""
    rng = random.Random(f"{use} {template} {seed}")
    seen = set()
    tries = 0
    while tries < MOST_TRIES:
        problem = draw_problem(template, rng)
        tries += 1
        if compute_part(problem) in PARTS[use] and get_key(problem) not in seen:
            seen.add(get_key(problem))
            if find_flaw(problem) is None:
                tries = 0
                yield problem


def generate(split: str, n: int, seed: int) -> list[Problem]:
    """The first `n` problems of a split; a smaller n gives a prefix of a larger one.

    Each round has one problem of every template, in random order; a template whose numbers are used up is skipped.
    Raises ValueError for an unknown split, HealError where the split has fewer problems.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    templates, use = SPLITS[split]
    rng = random.Random(f"{split} {seed}")
    streams = {template: generate_distinct(template, use, seed) for template in templates}
    problems: list[Problem] = []
    while streams and len(problems) < n:
        for template in rng.sample(sorted(streams), len(streams)):
            problem = next(streams[template], None)
            if problem is None:
                del streams[template]
            else:
                problems.append(problem)
    if len(problems) < n:
        raise HealError(f"only {len(problems)} different problems", where=f"gsm_symbolic/{split}", fix="lower n")
    return problems[:n]
