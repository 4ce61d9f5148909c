"""Rejection sampling at HEAL's cost: the tokens that HEAL spends on guided samples, repairs and scoring buy samples."""

from __future__ import annotations

from typing import Literal

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import Example, Method, Traces, examples
from heal.trace_files import files


class Options(OptionGroup):
    allocation: Literal["uniform", "treated"] = "uniform"
    """More samples for every problem, or only for those that HEAL treats."""
    gear: config.Gear = config.Gear()
    """The GEAR whose cost is matched."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class RsMatched(Method):
    kind = "rs_matched"
    paper = "ours: the equal-cost control of rejection sampling (arXiv 2308.01825)"
    summary = "rejection sampling that spends HEAL's extra teacher tokens on more samples"
    differs = "more samples per problem, until HEAL's extra tokens are spent"
    options: Options
    Options = Options

    def needs(self) -> list[str]:
        return [*files.base, *files.extra(self.options.gear, self.options.allocation)]

    def curriculum(self, traces: Traces) -> list[Example]:
        base = traces.correct()
        extra = traces.correct(*files.extra(self.options.gear, self.options.allocation))
        ids = [problem["problem_id"] for problem in traces.problems]
        both = {i: base.get(i, []) + extra.get(i, []) for i in ids if i in base or i in extra}
        return examples(both, 1, "sample", self.options.pace.max_per_problem)
