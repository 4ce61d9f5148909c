"""Tabulate what every method's students were shown: withheld facts covered, and exposures per PACE stage.

Reads curriculum.jsonl and exposures.csv of every method, problems/train.parquet. Writes --coverage and --exposures
(csv). The number of repeats per example can change accuracy more than the method does, so every comparison has it.

    heal tabulate-exposures --config config/config.yaml --comparison main \\
        --coverage results/mini/tables/main_coverage.csv --exposures results/mini/tables/main_exposures.csv
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import attrgetter
from pathlib import Path

import pandas as pd

from evals.results import ComparisonCommand, Run
from evals.tables.render import format_rows_csv, list_columns
from heal import records
from heal.errors import HealError
from heal.provenance import record_run
from heal.records import Row
from heal.worlds.base import World

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""


@dataclass(frozen=True)
class CoverageRow:
    """How many of the facts that the world withholds from teachers one method's training data state."""

    teacher: str
    student: str
    method: str
    teacher_seed: int
    examples: int
    facts_needed: int
    """Withheld facts that the training problems need."""
    facts_shown: int
    """Those of them that a training example states correctly."""
    coverage: float


@dataclass(frozen=True)
class ExposureRow:
    """How often one method's students were trained on the examples of one PACE stage and origin."""

    teacher: str
    student: str
    method: str
    teacher_seed: int
    stage: int
    origin: str
    examples: int
    exposures: float
    """Repeats of all examples together, mean over training seeds."""
    per_example: float
    """Repeats per example."""
    least: int
    """Fewest repeats of one example, over all training seeds."""
    most: int


class TabulateExposures(ComparisonCommand):
    coverage: Path
    """The csv of withheld facts; only the header where the problems' world withholds none."""
    exposures: Path
    """The csv of repeats per example."""

    def run(self) -> None:
        with record_run(self.exposures, "tabulate-exposures", VERSION, {"options": self.describe_options()}):
            run = self.open_run()
            covered = build_coverage(run)
            exposed = build_exposures(run)
            records.write_text(self.coverage, format_rows_csv(covered, list_columns(CoverageRow)))
            records.write_text(self.exposures, format_rows_csv(exposed, list_columns(ExposureRow)))


Curriculum = tuple[str, str, str, int]
"""(teacher, student, method, teacher seed)."""


def list_curricula(run: Run) -> Iterator[Curriculum]:
    """Every curriculum of the comparison, in the order of the axes."""
    return product(run.teachers, run.students, run.methods, range(run.teacher_seeds))


def build_coverage(run: Run) -> list[CoverageRow]:
    """One row per curriculum; [] where the training problems need no withheld fact."""
    if run.world is None:
        return []
    needed = find_needed_facts(run.world, run.read_problems("train"))
    if not needed:
        return []
    rows = []
    for teacher, student, method, teacher_seed in list_curricula(run):
        folder = run.get_curriculum_folder(teacher, teacher_seed, student, method)
        curriculum = records.read_jsonl(folder / "curriculum.jsonl")
        n_shown = len(find_stated_facts(run.world, curriculum) & needed)
        row = CoverageRow(
            teacher=teacher,
            student=student,
            method=method,
            teacher_seed=teacher_seed,
            examples=len(curriculum),
            facts_needed=len(needed),
            facts_shown=n_shown,
            coverage=n_shown / len(needed),
        )
        rows.append(row)
    return rows


def find_needed_facts(world: World, problems: Sequence[Row]) -> set[Hashable]:
    """The withheld facts that the problems need."""
    facts: set[Hashable] = set()
    for problem in problems:
        facts |= world.find_needed_facts(problem["question"])
    return facts


def find_stated_facts(world: World, curriculum: Sequence[Row]) -> set[Hashable]:
    """The withheld facts that the training conversations state correctly."""
    facts: set[Hashable] = set()
    for row in curriculum:
        facts |= world.find_stated_facts(row["messages"][0]["content"], row["messages"][-1]["content"])
    return facts


@dataclass
class Repeats:
    """Repeats per example of one stage and origin, over the students of one curriculum."""

    examples: int = 0
    totals: list[int] = field(default_factory=list)
    """Repeats of all examples together, one value per training seed."""
    least: float = math.inf
    most: int = 0

    def add(self, exposures: pd.Series) -> None:
        """Adds one student's repeats per example."""
        self.examples = max(self.examples, len(exposures))
        self.totals.append(int(exposures.sum()))
        self.least = min(self.least, int(exposures.min()))
        self.most = max(self.most, int(exposures.max()))


def build_exposures(run: Run) -> list[ExposureRow]:
    """One row per curriculum, stage and origin, sorted; methods in the order of the comparison."""
    rows = []
    for teacher, student, method, teacher_seed in list_curricula(run):
        groups: dict[tuple[int, str], Repeats] = {}
        for seed in range(run.training_seeds):
            folder = run.get_student_folder(teacher, teacher_seed, student, method, seed)
            for (stage, origin), frame in read_exposures(folder / "exposures.csv").groupby(["stage", "origin"]):
                groups.setdefault((int(stage), str(origin)), Repeats()).add(frame["exposures"])
        for (stage, origin), repeats in sorted(groups.items()):
            exposures = sum(repeats.totals) / len(repeats.totals)
            row = ExposureRow(
                teacher=teacher,
                student=student,
                method=method,
                teacher_seed=teacher_seed,
                stage=stage,
                origin=origin,
                examples=repeats.examples,
                exposures=exposures,
                per_example=exposures / repeats.examples,
                least=int(repeats.least),
                most=repeats.most,
            )
            rows.append(row)
    return sorted(rows, key=attrgetter("teacher", "student"))


def read_exposures(path: Path) -> pd.DataFrame:
    """Columns id, stage, origin, exposures. Raises HealError where the file or a column is missing."""
    if not path.exists():
        raise HealError("no such file", where=str(path), fix="train this student (snakemake does)")
    frame = pd.read_csv(path)
    absent = {"id", "stage", "origin", "exposures"} - set(frame.columns)
    if absent:
        raise HealError(f"no column {min(absent)!r}", where=str(path), fix="delete it and train this student again")
    return frame
