"""HEAL with the teacher's failed traces, unrepaired, in place of repairs: do repairs teach more than errors?"""

from __future__ import annotations

from collections.abc import Iterable

from heal.method.base import Example, Traces, build_examples, group_by_problem, take_distinct
from heal.method.heal import Heal
from heal.trace_files import GRADES, SAMPLES


class FailedTraces(Heal):
    name = "failed_traces"
    paper = "ours: the control of HEAL (arXiv 2603.10359) for what repairing adds"
    summary = "the failed traces of the same problems, unrepaired, in place of repairs, at equal counts"
    differs = "HEAL but for the third stage"

    def build_last_stage(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        wrong_ids = {row["trace_id"] for row in traces.read(GRADES) if not row["correct"]}
        failed = group_by_problem(row for row in traces.read(SAMPLES) if row["trace_id"] in wrong_ids)
        replacements = {}
        for problem, rows in self.read_repairs(traces).items():
            count = len(take_distinct(rows, limit))
            replacements[problem] = take_distinct(failed.get(problem, []), count)
        return build_examples(replacements, 3, "sample", limit)
