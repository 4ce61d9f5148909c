"""P-ALIGN: the shortest sufficient prefix of a teacher's trace, continued by the student itself.

Arxiv 2601.10064 ("Long-chain reasoning distillation via adaptive prefix alignment"). Teachers' traces are long and
their later parts redundant for a small student. Each is split into sentences and bisected: the student itself says of
a prefix whether it is enough. Then the student solves the problem with that prefix as a draft, and is trained on what
it wrote. Public code: github.com/NEUIR/P-ALIGN at 4ddef39.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import ClassVar

from baselines.bread import select_shortest
from heal.config import experiment as config
from heal.config.options import OptionGroup, Share
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples, group_by_problem
from heal.trace_files import CONTINUATIONS, GRADES, SAMPLES, TraceFile

CODE = "public code: NEUIR/P-ALIGN at 4ddef39,"


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
        "the student judges by trying, and its continuations must be right: in their code it answers [ENOUGH] or "
        "[NOT_ENOUGH], and nothing is checked; cuts on a grid of steps, not by bisection over sentences; the student "
        "continues the prefix itself, not a prompt that holds it as a draft, at the run's decoding; the run's "
        "optimizer steps"
    )
    sources: ClassVar = {
        "bisection over sentences, judged by the student's own word": f"{CODE} src/binary_search.py",
        "the whole trace where no prefix is enough": f"{CODE} src/binary_search.py",
        "one continuation, not checked, at temperature 0.6, top-p 0.9": f"{CODE} src/prefix-alignment.py",
        "what the loss covers": NOT_CHECKED,
    }
    options: Options
    Options = Options

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
