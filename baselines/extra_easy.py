"""HEAL with further easy traces in place of repairs, at equal counts: is it what is repaired, or just more data?"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, zip_longest

from heal.method.base import Example, Traces, build_examples, take_distinct
from heal.method.heal import Heal
from heal.records import Row
from heal.trace_files import REPAIRS


class ExtraEasy(Heal):
    name = "extra_easy"
    paper = "ours: the control of HEAL (arXiv 2603.10359) for the number of traces"
    summary = "as many further traces of problems that the teacher solves, in place of repairs"
    differs = "HEAL but for the third stage"

    def build_last_stage(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        count = 0
        for rows in self.read_repairs(traces).values():
            count += len(take_distinct(rows, limit))
        treated = {row["problem_id"] for row in traces.read(REPAIRS.of(variant=self.variant))}
        easy = {problem: rows for problem, rows in traces.read_correct().items() if problem not in treated}
        return build_examples(select_further(easy, limit, count), 3, "sample", limit)


def select_further(solved: dict[str, list[Row]], used: int, count: int) -> dict[str, list[Row]]:
    """`count` traces, at most `used` per problem, spread over the problems: first those that stage I does not use.

    Then those that it uses; fewer than `count` where the teacher gave fewer.
    """
    fresh, again, distinct = [], [], {}
    for problem, rows in solved.items():
        distinct[problem] = take_distinct(rows, len(rows))
        unused = distinct[problem][used : 2 * used]
        fresh.append(unused)
        again.append(distinct[problem][: used - len(unused)])
    ids: set[str] = set()
    for turn in chain(zip_longest(*fresh), zip_longest(*again)):
        for row in turn:
            if row is not None and len(ids) < count:
                ids.add(row["trace_id"])
    return {problem: [row for row in rows if row["trace_id"] in ids] for problem, rows in distinct.items()}
