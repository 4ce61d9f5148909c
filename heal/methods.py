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

from heal import pure, records, worlds
from heal.config import Distillation, Gear, Pace, Pure
from heal.errors import HealError
from heal.options import OptionGroup
from heal.records import Row, content_id
from heal.steps import split_text


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
                cure="return it from the method's needs(), so it is made",
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


class files:
    """Names of trace files. Where they depend on a method's options, their hash is in the name: variants never mix.

    `{student}` stands for the student that the curriculum is for: those files are a student's own pass over the
    problems, or over the teacher's correct samples.
    """

    base = ("samples.parquet", "grades.parquet")
    guided = "guided.parquet"
    of_student = ("students/{student}/samples.parquet", "students/{student}/grades.parquet")
    ranks = "students/{student}/ranks.parquet"
    continued = "students/{student}/continued.parquet"

    @staticmethod
    def of_teacher(needs: Iterable[str]) -> list[str]:
        """Those that the teacher made, each once: what a method costs of the teacher."""
        return sorted({file for file in needs if "{student}" not in file})

    @staticmethod
    def variant(gear: Gear) -> str:
        return f"{gear.detector}-{content_id(gear.model_dump())[:8]}"

    @staticmethod
    def repairs(gear: Gear) -> str:
        return f"repairs/{files.variant(gear)}.parquet"

    @staticmethod
    def scores(gear: Gear) -> str:
        return f"scores/{files.variant(gear)}.parquet"

    @staticmethod
    def extra(gear: Gear, allocation: str) -> tuple[str, str]:
        """Samples and grades of the extra samples that cost as much as HEAL with this GEAR."""
        return (
            f"extra/{allocation}-{files.variant(gear)}.parquet",
            f"extra/{allocation}-{files.variant(gear)}.grades.parquet",
        )


def kind_of(file: str) -> str:
    """The schema (heal.records) of a trace file."""
    table, _, name = file.removesuffix(".parquet").rpartition("/")
    if name.endswith("grades"):
        return "grades"
    return {"extra": "samples", "repairs": "repairs", "scores": "scores"}.get(table, name)


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


class HealOptions(OptionGroup):
    gear: Gear = Gear()
    """GEAR, where it differs from the run's."""
    pure: Pure = Pure()
    """PURE, where it differs from the run's."""
    pace: Pace = Pace()
    """PACE, where it differs from the run's."""
    stages: list[int] = [1, 2, 3]
    """The stages that are used."""


class Heal(Method):
    """Stage I: correct base samples; II: + answer-guided samples; III: + GEAR's repairs that PURE keeps."""

    kind = "heal"
    paper = "arXiv 2603.10359 (re-implemented from a description)"
    summary = "GEAR's repairs, filtered by PURE, taught in PACE's three stages"
    differs = "what is reported of the paper and what is ours stands beside each option in config/README.md"
    Options = HealOptions
    options: HealOptions

    def needs(self) -> list[str]:
        gear, pure = self.options.gear, self.options.pure
        scores = [files.scores(gear)] if pure.enabled else []
        return [*files.base, files.guided, files.repairs(gear), *scores]

    def curriculum(self, traces: Traces) -> list[Example]:
        most = self.options.pace.max_per_problem
        stages = {
            1: lambda: examples(traces.correct(), 1, "sample", most),
            2: lambda: examples(self.guided(traces), 2, "guided", most),
            3: lambda: examples(self.repairs(traces), 3, "repair", most),
        }
        return [example for stage in sorted(self.options.stages) for example in stages[stage]()]

    def guided(self, traces: Traces) -> dict[str, list[Row]]:
        """Accepted answer-guided samples by problem, filtered by PURE only where its switch says so."""
        rows = [row for row in traces.read(files.guided, "guided") if row["accepted"]]
        return by_problem(self.filtered(traces, rows, "guided") if self.options.pure.filter_guided else rows)

    def repairs(self, traces: Traces) -> dict[str, list[Row]]:
        """Accepted repairs by problem, as far as PURE keeps them."""
        rows = [row for row in traces.read(files.repairs(self.options.gear), "repairs") if row["accepted"]]
        return by_problem(self.filtered(traces, rows, "repair"))

    def filtered(self, traces: Traces, rows: list[Row], kind: str) -> list[Row]:
        options = self.options.pure
        if not options.enabled:
            return rows
        scores = traces.read(files.scores(self.options.gear), "scores")
        kept = pure.kept(
            [score for score in scores if score["kind"] == kind],
            options,
            own=[score for score in scores if score["kind"] == "sample"],
            seed=traces.seed,
            valid=valid_traces(traces.problems, rows) if options.rule == "oracle" else (),
        )
        return [row for row in rows if row["trace_id"] in kept]
