"""HEAL with further easy traces in place of repairs, at equal counts: is it what is repaired, or just more data?"""

from __future__ import annotations

from itertools import chain, zip_longest

from heal.method.base import Example, Traces, distinct, examples
from heal.method.heal import Heal
from heal.records import Row
from heal.trace_files import files


class ExtraEasy(Heal):
    kind = "extra_easy"
    paper = "ours: the control of HEAL (arXiv 2603.10359) for the number of traces"
    summary = "as many further traces of problems that the teacher solves, in place of repairs"
    differs = "HEAL but for the third stage"

    def curriculum(self, traces: Traces) -> list[Example]:
        most = self.options.pace.max_per_problem
        repaired = self.repairs(traces)
        count = sum(len(distinct(rows, most)) for rows in repaired.values())
        treated = {row["problem_id"] for row in traces.read(files.repairs(self.options.gear), "repairs")}
        correct = traces.correct()
        easy = {problem: rows for problem, rows in correct.items() if problem not in treated}
        stages = {
            1: examples(correct, 1, "sample", most),
            2: examples(self.guided(traces), 2, "guided", most),
            3: examples(further(easy, most, count), 3, "sample", most),
        }
        return [example for stage in sorted(self.options.stages) for example in stages[stage]]


def further(solved: dict[str, list[Row]], used: int, count: int) -> dict[str, list[Row]]:
    """`count` traces, at most `used` per problem, spread over the problems: first those that stage I does not use.

    Then those that it uses; fewer than `count` where the teacher gave fewer.
    """
    every = {problem: distinct(rows, len(rows)) for problem, rows in solved.items()}
    fresh = [rows[used : 2 * used] for rows in every.values()]
    again = [rows[: used - len(new)] for rows, new in zip(every.values(), fresh, strict=True)]
    turns = chain(zip_longest(*fresh), zip_longest(*again))
    chosen = [row for row in chain.from_iterable(turns) if row is not None][:count]
    ids = {row["trace_id"] for row in chosen}
    return {problem: [row for row in rows if row["trace_id"] in ids] for problem, rows in every.items()}
