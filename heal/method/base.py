"""What a method is: the trace files it needs, and how traces become stages of training data. HEAL is one of them.

A method is a class with a `kind`, a `paper`, what `differs` from it, typed `Options`, `needs()` (so that the workflow
is known before anything runs) and `curriculum(traces)`. Each file in baselines/ holds another one; heal.registry finds
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from heal import records
from heal.config.experiment import Distillation
from heal.config.options import OptionGroup
from heal.errors import HealError
from heal.method.steps import split_text
from heal.records import Row
from heal.worlds import registry as worlds


@dataclass(frozen=True)
class Example:
    """One training conversation: question and trace of a problem, for PACE's stage 1, 2 or 3."""

    problem_id: str
    text: str
    stage: int
    origin: str  # sample | extra | guided | repair | reference | continued
    origin_id: str
    weight: float = 1.0  # of its loss, relative to the other examples
    given: str = ""  # how the text begins, where the student is to read that much and not to learn it


class Traces:
    """The trace files of one teacher and draw, read when asked for; only what the method declared in `needs`.

    student: whose own files are meant by `files.of_student` and the others with a student in their name.
    """

    def __init__(
        self, folder: str | Path, problems: str | Path, needs: Iterable[str], seed: int, student: str = ""
    ) -> None:
        self.folder, self.needs, self.seed, self.student = Path(folder), set(needs), seed, student
        self.problems = records.read(problems, "problems")
        self.read = cache(self._read)

    def _read(self, file: str, kind: str) -> list[Row]:
        if file not in self.needs:
            raise HealError(
                f"{file!r} was not declared",
                where="needs()",
                fix="return it from the method's needs(), so it is made",
            )
        return records.read(self.folder / file.format(student=self.student), kind)

    def correct(self, samples: str = "samples.parquet", grades: str = "grades.parquet") -> dict[str, list[Row]]:
        """Correct samples by problem, in the order of their index."""
        right = {row["trace_id"] for row in self.read(grades, "grades") if row["correct"]}
        return by_problem(row for row in self.read(samples, "samples") if row["trace_id"] in right)


class Method(ABC):
    """Subclass it in baselines/<kind>.py; see baselines/TEMPLATE.py."""

    kind: ClassVar[str]
    paper: ClassVar[str]
    summary: ClassVar[str]
    differs: ClassVar[str]
    Options: ClassVar[type[OptionGroup]] = OptionGroup

    def __init__(self, options: OptionGroup) -> None:
        self.options = options

    @abstractmethod
    def needs(self) -> list[str]:
        """Trace files, relative to traces/<teacher>/draw<d>/: see `files` for the names that rules exist for."""

    @abstractmethod
    def curriculum(self, traces: Traces) -> list[Example]:
        """The training examples with their stages. [] is refused before training starts."""

    @property
    def schedule(self) -> str:
        """The PACE schedule the student is trained with."""
        pace = getattr(self.options, "pace", None)
        return pace.schedule if pace else "mixed"

    @property
    def distillation(self) -> Distillation | None:
        """Where the student learns from the teacher's probabilities instead of its text alone: how."""
        return None


def by_problem(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["problem_id"]].append(row)
    return dict(grouped)


def distinct(rows: Sequence[Row], most: int) -> list[Row]:
    """The first `most` rows with different texts."""
    return list({row["text"]: row for row in reversed(rows)}.values())[::-1][:most] if rows else []


def examples(
    grouped: dict[str, list[Row]],
    stage: int,
    origin: str,
    most: int,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> list[Example]:
    """Up to `most` distinct traces per problem as examples of a stage; weights: of problems, 1 where there is none."""
    return [
        Example(problem_id, row["text"].strip(), stage, origin, row["trace_id"], weights.get(problem_id, 1.0))
        for problem_id, rows in grouped.items()
        for row in distinct(rows, most)
        if row["text"].strip()
    ]


def valid_traces(problems: Sequence[Row], rows: Iterable[Row]) -> set[str]:
    """Ids of traces whose every step is right, by the checker of their problems' world."""
    by_id = {problem["problem_id"]: problem for problem in problems}
    return {
        row["trace_id"]
        for row in rows
        if row["trace_id"] and worlds.first_wrong_step(by_id[row["problem_id"]], split_text(row["text"])) is None
    }
