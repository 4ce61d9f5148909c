"""Grade sampled traces: the extracted answer of each, whether it is right, and why not.

Reads problems and samples; writes one verdict per sample (schema `grades`).

    heal grade --problems problems/train.parquet --samples samples.parquet --out grades.parquet
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from heal import records
from heal.command import Command, Section
from heal.config.experiment import Stop
from heal.grading.grader import Grader
from heal.method.steps import is_thinking_cut_off
from heal.outcome import read_outcome, record_outcome
from heal.pipeline.stop import check_outcome
from heal.provenance import record_run
from heal.records import Row

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""


class Grade(Command):
    problems: Path
    """The problems file."""
    samples: Path
    """The samples file."""
    required: bool = False
    """Fail where these grades leave the rest of a run without a point (see the section `stop` of the config)."""
    stop: Annotated[Stop, Section("stop", decides_output=False)] = Stop()
    """When that is."""
    out: Path
    """The parquet file to write."""

    def run(self) -> None:
        with record_run(self.out, "grade", VERSION, {"options": self.describe_options()}) as facts:
            problems = records.read(self.problems, "problems")
            samples = records.read(self.samples, "samples")
            records.write(self.out, "grades", grade_samples(problems, samples))
            outcome = read_outcome(self.out)
            facts |= record_outcome(outcome)
        if self.required:
            check_outcome(outcome, self.stop, self.out)


def grade_samples(problems: Iterable[Row], samples: Iterable[Row]) -> list[Row]:
    """One row per sample; correct is the strict reading: the boxed answer verifies and the trace ended by itself.

    A trace that ends inside its thinking block was cut off, whatever is boxed in it.
    """
    gold = {problem["problem_id"]: problem["answer"] for problem in problems}
    rows = []
    with Grader() as grader:
        for sample in samples:
            text = sample["text"]
            result = grader.grade(text, gold[sample["problem_id"]])
            ended = sample["finish_reason"] == "stop" and not is_thinking_cut_off(text)
            row = {
                "trace_id": sample["trace_id"],
                "problem_id": sample["problem_id"],
                "extracted": result.extracted,
                "correct": result.correct and ended,
                "reason": result.reason if ended else "truncated",
            }
            rows.append(row)
    return rows
