"""Rejection sampling: train on the teacher's correct samples and throw the rest away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples
from heal.trace_files import GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class RejectionSampling(Method):
    name = "rejection_sampling"
    paper = "arXiv 2308.01825 (rejection-sampling fine-tuning)"
    summary = "the teacher's correct samples, nothing else"
    differs = "a teacher's samples, not the student's own; at most `max_per_problem` distinct ones, the first by index"
    sources: ClassVar = {"correct samples, distinct ones": NOT_CHECKED}
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        return build_examples(traces.read_correct(), 1, "sample", self.options.pace.max_per_problem)
