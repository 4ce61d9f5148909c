"""Training on worked solutions: the ceiling of the mini world, and the reference of data sets that have solutions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from heal.config.options import OptionGroup
from heal.errors import HealError
from heal.method.base import Example, Method, Traces
from heal.trace_files import TraceFile


class Options(OptionGroup):
    missing: Literal["refuse", "leave_out"] = "refuse"
    """Problems without a worked solution: refused, as the ceiling needs them all, or left out."""


class ReferenceSft(Method):
    name = "reference_sft"
    paper = "ours: the upper bound of what any selection of valid traces could reach"
    summary = "the worked solutions, of all problems or of those that have one"
    differs = "nothing: there is no paper"
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return []

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        for row, problem in enumerate(traces.problems, 1):
            if problem["solution"]:
                problem_id = problem["problem_id"]
                yield Example(problem_id, problem["solution"], 1, "reference", problem_id)
            elif self.options.missing == "refuse":
                raise HealError(
                    "no worked solution",
                    where=f"problems, row {row}, field solution",
                    fix="leave this method out, or set missing: leave_out",
                )
