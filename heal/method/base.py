"""What a method is: the trace files it needs, and how traces become the stages of its training data.

A method is a class with a `name`, a `paper`, what `differs` from it, typed `Options`, `needs()` (so that the workflow
is known before anything runs) and `build_curriculum(traces)`. HEAL is one (heal.method.heal); each file in baselines/
defines another; heal.registry finds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from heal import records
from heal.config.experiment import Pace
from heal.config.models import Distillation
from heal.config.options import OptionGroup
from heal.errors import HealError
from heal.records import Row
from heal.trace_files import GRADES, SAMPLES, TraceFile

NOT_CHECKED = "not checked"
"""In `Method.sources`: written from memory or from a description."""


@dataclass(frozen=True)
class Example:
    """One training conversation: question and trace of a problem, for PACE's stage 1, 2 or 3."""

    problem_id: str
    """The problem, whose question is the user's turn."""
    text: str
    """The trace: the assistant's turn."""
    stage: int
    """1, 2 or 3; a method without stages gives 1."""
    origin: str
    """sample | extra | guided | repair | reference | continued"""
    origin_id: str
    """The trace that the text is from, or the problem of a worked solution."""
    weight: float = 1.0
    """Weight of its loss relative to the other examples."""
    prefix: str = ""
    """The beginning of the text that is context only: its tokens are not trained on."""


class Traces:
    """The trace files of one teacher and teacher sampling seed; a method reads only what its `needs` declares."""

    def __init__(
        self,
        folder: str | Path,
        problems: str | Path,
        needs: Iterable[TraceFile],
        seed: int,
        student: str = "",
        is_valid: Callable[[Row, str], bool] | None = None,
    ) -> None:
        self.folder = Path(folder)
        """Where the trace files are."""
        self.needs = {file.path for file in needs}
        self.seed = seed
        """The run's seed, for what a method draws."""
        self.student = student
        """The student that `{student}` stands for."""
        self.is_valid = is_valid
        """(problem, trace text) → whether every step is right; None where the problems have no step checker."""
        self.problems = records.read(problems, "problems")
        """The training problems, rows of the schema `problems`."""
        self.rows_by_path: dict[str, list[Row]] = {}  # what was read so far

    def read(self, file: TraceFile) -> list[Row]:
        """The file's rows, read once. Raises HealError for a file that `needs` does not declare."""
        if file.path not in self.needs:
            fix = "return it from the method's needs(), so that a rule makes it"
            raise HealError(f"{file.path!r} was not declared", where="needs()", fix=fix)
        if file.path not in self.rows_by_path:
            path = self.folder / file.of(student=self.student).path
            self.rows_by_path[file.path] = records.read(path, file.schema)
        return self.rows_by_path[file.path]

    def read_correct(self, samples: TraceFile = SAMPLES, grades: TraceFile = GRADES) -> dict[str, list[Row]]:
        """Correct samples by problem, in the order of their index."""
        correct_ids = {row["trace_id"] for row in self.read(grades) if row["correct"]}
        return group_by_problem(row for row in self.read(samples) if row["trace_id"] in correct_ids)

    def find_valid(self, rows: Iterable[Row]) -> set[str]:
        """Ids of the traces whose every step is right. Raises HealError where steps cannot be checked."""
        if self.is_valid is None:
            fix = "choose another rule or detector; `oracle` needs problems of a world with a step checker"
            raise HealError("steps cannot be checked", where="oracle", fix=fix)
        problems = {problem["problem_id"]: problem for problem in self.problems}
        valid = set()
        for row in rows:
            if row["trace_id"] and self.is_valid(problems[row["problem_id"]], row["text"]):
                valid.add(row["trace_id"])
        return valid


class Method(ABC):
    """Base class of HEAL and of each baseline; baselines/TEMPLATE.py shows a complete one."""

    name: ClassVar[str]
    """How the config and `heal methods` call it."""
    paper: ClassVar[str]
    summary: ClassVar[str]
    differs: ClassVar[str]
    """What is not as in the paper."""
    sources: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What the method takes from its paper → where that was checked: the abstract, public code, or `NOT_CHECKED`."""
    version: ClassVar[int] = 1
    """Raise it when the method's curriculum changes for the same traces: its curricula are then built again."""
    Options: ClassVar[type[OptionGroup]] = OptionGroup

    def __init__(self, options: OptionGroup) -> None:
        self.options = options

    @abstractmethod
    def needs(self) -> list[TraceFile]:
        """The trace files (heal.trace_files) that `build_curriculum` reads; only {student} stays open in a path."""

    @abstractmethod
    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        """The training examples with their stages, as a list or one after the other.

        None at all is refused before training starts.
        """

    @property
    def variant(self) -> str | None:
        """The GEAR variant that the method's repairs, or their cost, come from; None for a method without GEAR."""
        return None

    @property
    def teaches_repairs(self) -> bool:
        """Whether the method's examples are, or are counted by, repairs."""
        return any(file.schema == "repairs" for file in self.needs())

    @property
    def pace(self) -> Pace | None:
        """The method's own option `pace`; None for a method without one."""
        pace: Pace | None = getattr(self.options, "pace", None)
        return pace

    @property
    def schedule(self) -> str:
        """The PACE schedule the student is trained with."""
        return "mixed"

    @property
    def distillation(self) -> Distillation | None:
        """How the student learns from the teacher's probabilities; None where it learns from text alone."""
        return None


def group_by_problem(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by problem id, in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    return groups


def compute_pass_rates(grades: Iterable[Row]) -> dict[str, float]:
    """c/N over the graded samples, by problem id."""
    rates = {}
    for problem_id, rows in group_by_problem(grades).items():
        rates[problem_id] = sum(row["correct"] for row in rows) / len(rows)
    return rates


def take_distinct(rows: Sequence[Row], limit: int) -> list[Row]:
    """`limit` rows with different texts, round-robin over their source traces; of equal texts the first row.

    Repairs and continuations name the trace that was cut (`source_id`): the first row of each source comes first, then
    the second of each. Rows without a source stay in their order.
    """
    rows_by_source: dict[str, list[Row]] = {}
    texts = set()
    for number, row in enumerate(rows):
        text = row["text"]
        if text not in texts:
            texts.add(text)
            rows_by_source.setdefault(row.get("source_id") or f"row {number}", []).append(row)
    ordered: list[Row] = []
    for round_of_rows in zip_longest(*rows_by_source.values()):
        ordered += [row for row in round_of_rows if row is not None]
    return ordered[:limit]


def build_examples(
    groups: Mapping[str, Sequence[Row]],
    stage: int,
    origin: str,
    limit: int,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Example]:
    """Up to `limit` distinct traces per problem as examples of a stage; weights: by problem, 1 where there is none."""
    for problem_id, rows in groups.items():
        for row in take_distinct(rows, limit):
            text = row["text"].strip()
            if text:
                weight = weights.get(problem_id, 1.0)
                yield Example(problem_id, text, stage, origin, row["trace_id"], weight)
