"""Rejection sampling: train on the teacher's correct samples and throw the rest away."""

from __future__ import annotations

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import Example, Method, Traces, examples
from heal.trace_files import files


class Options(OptionGroup):
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class RejectionSampling(Method):
    kind = "rejection_sampling"
    paper = "arXiv 2308.01825 (rejection-sampling fine-tuning)"
    summary = "the teacher's correct samples, nothing else"
    differs = "a teacher's samples, not the student's own; at most `max_per_problem` distinct ones, the first by index"
    options: Options
    Options = Options

    def needs(self) -> list[str]:
        return [*files.base]

    def curriculum(self, traces: Traces) -> list[Example]:
        return examples(traces.correct(), 1, "sample", self.options.pace.max_per_problem)
