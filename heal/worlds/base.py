"""What a world is: problems that a program generates, and a checker that knows whether each reasoning step is valid.

How to add one:

1. Copy heal/worlds/TEMPLATE.py to heal/worlds/NAME.py. It is the only file to open: worlds are found by scanning. A
   larger world is a package heal/worlds/NAME/ whose __init__.py imports the class from world.py.
2. Give the class a `name`, its `splits`, `generate` and `check_steps`. The rest of `World` is optional.
3. Look at its problems, with the checker's verdict on each step of their worked solutions:
   `heal show-problems NAME train`
4. Run the laws that every world keeps: `python -m pytest tests/worlds/test_worlds.py`
5. Use it in a config, as in `problems.train: {source: NAME, split: train, n: 500}`. Benchmarks ask its held-out splits
   by a task file each (evals/tasks/README.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from heal.config.options import OptionGroup
from heal.errors import HealError
from heal.records import Row


@dataclass(frozen=True)
class Problem:
    """One problem of a world."""

    question: str
    answer: str
    """Gold answer."""
    solution: str | None
    """Worked solution, steps split by blank lines."""
    source: str
    """NAME/split, or NAME and another part of the world; how the checker of a stored problem is found."""
    difficulty: str = "unknown"

    @classmethod
    def from_row(cls, row: Row) -> Problem:
        """The problem in a row of schema `problems`. Raises KeyError for a row without question or answer."""
        return cls(
            question=row["question"],
            answer=row["answer"],
            solution=row.get("solution"),
            source=str(row.get("source")),
            difficulty=str(row.get("difficulty")),
        )

    def to_row(self) -> Row:
        """A row of schema `problems`, without its id."""
        return asdict(self)


@dataclass(frozen=True)
class Prompts:
    """The run's prompts, as warm-up examples have to contain them."""

    instruction: str = ""
    """Text after every question."""
    guided_template: str = ""
    """User turn of an answer-guided sample, with `{question}` and `{answer}`."""
    hint_template: str = ""
    """Hint that GEAR injects mid-trace, with `{answer}`."""

    def ask(self, question: str) -> str:
        """The user turn of a plain sample."""
        return add_instruction(question, self.instruction)


def add_instruction(question: str, instruction: str) -> str:
    """The question and, after a blank line, the form that the answer must have."""
    return f"{question}\n\n{instruction}" if instruction else question


def find_first_wrong(verdicts: Sequence[bool]) -> int | None:
    """The first step (from 1) that is not valid; None where all are."""
    for number, valid in enumerate(verdicts, 1):
        if not valid:
            return number
    return None


class World(ABC):
    """Base class of every world; heal/worlds/TEMPLATE.py is a complete one."""

    name: ClassVar[str]
    """The `source` of its problem sets in a config: a plain word."""
    splits: ClassVar[Sequence[str]]
    """Names of its problem sets. No two share a problem, whatever their seeds."""
    note: ClassVar[str] = ""
    """Sentence under every table of results on this world; empty for none."""
    checker_note: ClassVar[str] = ""
    """How the checker judges a step, in a sentence under the audits."""
    Options: ClassVar[type[OptionGroup]] = OptionGroup
    """What `options` of a problem set may contain."""
    WarmUpOptions: ClassVar[type[OptionGroup] | None] = None
    """What `warm_up.examples` of a model may contain; None for a world that builds none."""

    @abstractmethod
    def generate(self, split: str, n: int, seed: int, options: Any) -> list[Problem]:
        """The first `n` problems of a split, all different; a smaller n gives a prefix of a larger one.

        split: one of `splits`. options: an instance of `Options`. Raises HealError where the split has fewer problems.
        """

    @abstractmethod
    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """Whether each step of a trace is valid, given what the steps before it state.

        Accepts anything as a step. Raises ValueError for a problem that is not of this world.
        """

    def find_withheld_steps(self, problem: Problem) -> list[int] | None:
        """Steps (from 1) that need a fact which the world's teachers lack; None where nothing is withheld."""
        return None

    def find_needed_facts(self, question: str) -> set[Hashable]:
        """Withheld facts that a question needs."""
        return set()

    def find_stated_facts(self, question: str, text: str) -> set[Hashable]:
        """Withheld facts that a training text about the question states correctly."""
        return set()

    def solve(self, problem: Problem) -> str | None:
        """The true answer, whatever gold answer the problem carries; None where only the gold answer is known."""
        return None

    def build_warmup_examples(self, options: Any, prompts: Prompts, seed: int) -> list[Row]:
        """Curriculum rows (heal.training.conversations) that a model is warmed up on, of problems in no split.

        options: an instance of `WarmUpOptions`. Raises HealError in a world that builds none.
        """
        raise self.refuse_warmup()

    def count_warmup_examples(self, options: Any) -> int:
        """Number of examples that `build_warmup_examples` gives at most. Raises HealError as that does."""
        raise self.refuse_warmup()

    def refuse_warmup(self) -> HealError:
        """The error of a world that builds no warm-up examples."""
        fix = "name another world in warm_up.world, or define both methods and WarmUpOptions"
        return HealError("builds no warm-up examples", where=f"world {self.name}", fix=fix)
