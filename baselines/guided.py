"""HEAL with answer-guided traces in place of repairs, problem by problem at equal counts."""

from __future__ import annotations

from collections.abc import Iterable

from heal.method.base import Example, Traces, build_examples, group_by_problem, take_distinct
from heal.method.heal import Heal
from heal.trace_files import GUIDED, TraceFile


class Guided(Heal):
    name = "guided"
    paper = "after STaR's rationalization, arXiv 2203.14465"
    summary = "the answer is given from the start, in place of repairs, at equal counts"
    differs = "a control within HEAL, not STaR itself (which is `star`): base samples and stages as HEAL's"

    def needs(self) -> list[TraceFile]:
        files = super().needs()
        return files if GUIDED in files else [*files, GUIDED]

    def build_last_stage(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        guided = group_by_problem(row for row in traces.read(GUIDED) if row["accepted"])
        replacements = {}
        for problem, rows in self.read_repairs(traces).items():
            count = len(take_distinct(rows, limit))
            replacements[problem] = select_further(guided.get(problem, []), limit, count)
        return build_examples(replacements, 3, "guided", limit)


def select_further(rows: list[dict], used: int, count: int) -> list[dict]:
    """`count` distinct traces, those that stage II does not use first; fewer where the teacher gave fewer."""
    distinct = take_distinct(rows, len(rows))
    return (distinct[used:] + distinct[:used])[:count]
