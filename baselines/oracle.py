"""The ceiling of the mini world: a worked solution of every problem, right at every step."""

from __future__ import annotations

from heal.errors import HealError
from heal.methods import Example, Method, Traces
from heal.options import OptionGroup


class Oracle(Method):
    kind = "oracle"
    paper = "ours: the upper bound of what any selection of valid traces could reach"
    summary = "only valid traces, of all problems (needs problems with worked solutions)"
    Options = OptionGroup

    def needs(self) -> list[str]:
        return []

    def curriculum(self, traces: Traces) -> list[Example]:
        for row, problem in enumerate(traces.problems, 1):
            if not problem["solution"]:
                raise HealError(
                    "no worked solution",
                    where=f"problems, row {row}, field solution",
                    cure="leave this method out",
                )
        return [Example(p["problem_id"], p["solution"], 1, "reference", p["problem_id"]) for p in traces.problems]
