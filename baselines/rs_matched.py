"""Rejection sampling at HEAL's cost: the tokens that HEAL spends on guided samples, repairs and scoring buy samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from heal.config import experiment as config
from heal.config.options import Name, OptionGroup
from heal.method.base import Example, Method, Traces, build_examples
from heal.trace_files import DEFAULT_VARIANT, EXTRA_GRADES, EXTRA_SAMPLES, GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    allocation: Literal["uniform", "treated"] = "uniform"
    """More samples for every problem, or only for those that HEAL treats."""
    gear: Name = DEFAULT_VARIANT
    """The GEAR variant whose cost is matched, by name."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class RsMatched(Method):
    name = "rs_matched"
    paper = "ours: the equal-cost control of rejection sampling (arXiv 2308.01825)"
    summary = "rejection sampling that spends HEAL's extra teacher tokens on more samples"
    differs = "more samples per problem, until HEAL's extra tokens are spent"
    options: Options
    Options = Options

    @property
    def variant(self) -> str:
        return self.options.gear

    @property
    def pace(self) -> config.Pace:
        return self.options.pace

    def needs(self) -> list[TraceFile]:
        wildcards = {"allocation": self.options.allocation, "variant": self.variant}
        return [SAMPLES, GRADES, EXTRA_SAMPLES.of(**wildcards), EXTRA_GRADES.of(**wildcards)]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        _, _, extra_samples, extra_grades = self.needs()
        base, extra = traces.read_correct(), traces.read_correct(extra_samples, extra_grades)
        correct = {}
        for problem in traces.problems:
            rows = base.get(problem["problem_id"], []) + extra.get(problem["problem_id"], [])
            if rows:
                correct[problem["problem_id"]] = rows
        return build_examples(correct, 1, "sample", self.options.pace.max_per_problem)
