"""GEAR's first half as a file: where each wrong trace breaks, and the tokens that a repair keeps. No model is loaded.

Reads problems, base samples and their grades; cuts as heal.method.gear says; writes one row per wrong trace that GEAR
treats (schema `cuts`), in the order of problems and samples. Needs the teacher's tokenizer and no GPU.

    heal plan-cuts --config config/config.yaml --teacher default --variant no_hint --problems problems/train.parquet \\
        --samples samples.parquet --grades grades.parquet --out cuts.parquet
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from heal import records
from heal.command import Command, Section
from heal.config.experiment import Gear
from heal.config.models import ModelSource
from heal.method.detectors.base import WrongTrace
from heal.method.gear import build_cut_row, select_cuts
from heal.method.steps import TokenTexts
from heal.outcome import read_outcome, record_outcome
from heal.provenance import record_run
from heal.records import Row
from heal.worlds import registry as worlds

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""


class PlanCuts(Command):
    teacher: str | None = None
    """Name of the teacher in the config."""
    model: Annotated[ModelSource, Section("teachers.{teacher}")]
    """The model whose tokenizer reads the samples."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run, for detectors with random numbers."""
    variant: str = "default"
    """GEAR variant by name."""
    gear: Annotated[Gear, Section("gear_variants.{variant}")] = Gear()
    """GEAR's options."""
    problems: Path
    """The problems file."""
    samples: Path
    """The teacher's base samples."""
    grades: Path
    """Their grades."""
    out: Path
    """The parquet file to write."""

    def run(self) -> None:
        from heal.engines.base import load_tokenizer

        with record_run(self.out, "plan-cuts", VERSION, {"options": self.describe_options()}) as facts:
            facts["seeds"] = [self.seed]
            get_texts = TokenTexts(load_tokenizer(self.model.path, self.model.revision))
            problems = records.read(self.problems, "problems")
            problems_by_id = {row["problem_id"]: row for row in problems}

            def find_first_wrong_step(trace: WrongTrace) -> int | None:
                problem = problems_by_id[trace.row["problem_id"]]
                return worlds.find_first_wrong_step(problem, [step.text for step in trace.steps])

            samples, grades = records.read(self.samples, "samples"), records.read(self.grades, "grades")
            cuts = select_cuts(problems, samples, grades, get_texts, self.gear, self.seed, find_first_wrong_step)

            def build_rows() -> Iterator[Row]:
                for cut in cuts:
                    yield build_cut_row(cut, self.gear, get_texts)

            records.write(self.out, "cuts", build_rows())
            facts |= record_outcome(read_outcome(self.out))
            facts["cuts"] = {"planned": len(cuts), "no_breakpoint": sum(cut.breakpoint is None for cut in cuts)}
