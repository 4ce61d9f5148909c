"""Rejection sampling at HEAL's cost: what HEAL spends on guided samples, repairs and scoring buys further samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from heal.config import experiment as config
from heal.config.options import Name, OptionGroup
from heal.method.base import Example, Method, Traces, build_examples, group_by_problem
from heal.trace_files import DEFAULT_VARIANT, EXTRA_GRADES, EXTRA_SAMPLES, GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    allocation: Literal["uniform", "treated"] = "uniform"
    """More samples for every problem, or only for those that HEAL treats."""
    gear: Name = DEFAULT_VARIANT
    """The GEAR variant whose cost is matched, by name."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only, for as many samples as rejection sampling has; it grows with a problem's samples."""


class RsMatched(Method):
    name = "rs_matched"
    paper = "ours: the equal-cost control of rejection sampling (arXiv 2308.01825)"
    summary = "rejection sampling that spends HEAL's extra cost on more samples"
    differs = (
        "more samples per problem, until HEAL's extra cost in priced tokens is spent; the cap of traces per problem "
        "grows with its samples"
    )
    version = 2
    options: Options
    Options = Options

    @property
    def variant(self) -> str:
        return self.options.gear

    def needs(self) -> list[TraceFile]:
        wildcards = {"allocation": self.options.allocation, "variant": self.variant}
        return [SAMPLES, GRADES, EXTRA_SAMPLES.of(**wildcards), EXTRA_GRADES.of(**wildcards)]

    def build_curriculum(self, traces: Traces) -> Iterator[Example]:
        _, _, samples, grades = self.needs()
        return build_from_further_samples(traces, samples, grades, self.options.pace.max_per_problem)


def build_from_further_samples(traces: Traces, samples: TraceFile, grades: TraceFile, limit: int) -> Iterator[Example]:
    """Correct base samples, then correct further ones, as examples of stage I. limit: for the base samples alone."""
    base, further = traces.read_correct(), traces.read_correct(samples, grades)
    base_grades, further_grades = group_by_problem(traces.read(GRADES)), group_by_problem(traces.read(grades))
    for problem in traces.problems:
        problem_id = problem["problem_id"]
        rows = base.get(problem_id, []) + further.get(problem_id, [])
        if rows:
            base_count, further_count = (len(group.get(problem_id, [])) for group in (base_grades, further_grades))
            scaled = scale_limit(limit, base_count, further_count)
            yield from build_examples({problem_id: rows}, 1, "sample", scaled)


def scale_limit(limit: int, base_count: int, further_count: int) -> int:
    """The cap of traces of a problem with further samples: it grows in proportion to the samples, rounded up (ours)."""
    return math.ceil(limit * (base_count + further_count) / base_count) if base_count else limit
