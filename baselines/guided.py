"""HEAL with answer-guided traces in place of repairs, problem by problem at equal counts."""

from __future__ import annotations

from heal.method.base import Example, Traces, by_problem, distinct, examples
from heal.method.heal import Heal
from heal.trace_files import files


class Guided(Heal):
    kind = "guided"
    paper = "after STaR's rationalization, arXiv 2203.14465"
    summary = "the answer is given from the start, in place of repairs, at equal counts"
    differs = "a control within HEAL, not STaR itself (which is `star`): base samples and stages as HEAL's"

    def curriculum(self, traces: Traces) -> list[Example]:
        most = self.options.pace.max_per_problem
        repaired = {problem: len(distinct(rows, most)) for problem, rows in self.repairs(traces).items()}
        guided = by_problem(row for row in traces.read(files.guided, "guided") if row["accepted"])
        replacing = {problem: further(guided.get(problem, []), most, n) for problem, n in repaired.items()}
        stages = {
            1: examples(traces.correct(), 1, "sample", most),
            2: examples(self.guided(traces), 2, "guided", most),
            3: examples(replacing, 3, "guided", most),
        }
        return [example for stage in sorted(self.options.stages) for example in stages[stage]]


def further(rows: list[dict], used: int, count: int) -> list[dict]:
    """`count` distinct traces, those that stage II does not use first; fewer where the teacher gave fewer."""
    every = distinct(rows, len(rows))
    return (every[used:] + every[:used])[:count]
