"""P-ALIGN: the shortest sufficient prefix of a teacher's trace, continued by the student itself.

Arxiv 2601.10064 (prefix alignment). Teachers' traces are long and their later parts redundant for a small student; each
is cut to the prefix that the student itself judges sufficient, and the student is trained on that prefix and its own
continuation. Known: the shortest sufficient prefix is searched, the student is the judge, and the loss covers prefix
and continuation.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from baselines.bread import select_shortest
from heal.config import experiment as config
from heal.config.options import OptionGroup, Share
from heal.method.base import Example, Method, Traces, build_examples, group_by_problem
from heal.trace_files import CONTINUATIONS, GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    sufficient: Share = 0.5
    """A prefix is enough where more than this share of the student's continuations from it are right (ours)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class PAlign(Method):
    name = "p_align"
    paper = "arXiv 2601.10064 (P-ALIGN)"
    summary = "the shortest sufficient prefix of a teacher's trace, with the student's own correct continuation"
    differs = (
        "the student judges by trying: its continuations must be right, as a small model's word on what is enough is "
        "worth little; cuts on a grid; where no prefix is sufficient, the teacher's whole trace is used; one round; "
        "the run's optimizer steps"
    )
    options: Options
    Options = Options

    @property
    def pace(self) -> config.Pace:
        return self.options.pace

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, CONTINUATIONS]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        shortest = select_shortest(traces.read(CONTINUATIONS), self.options.sufficient)
        aligned = group_by_problem(row for row in shortest if row["accepted"])
        whole = {}
        for problem_id, rows in traces.read_correct().items():
            if problem_id not in aligned:
                whole[problem_id] = rows[:1]
        return chain(build_examples(aligned, 1, "continued", limit), build_examples(whole, 1, "sample", limit))
