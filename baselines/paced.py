"""PACED: problems at the edge of what the student can do weigh most; those it always or never solves weigh nothing.

Xu et al. 2026, arXiv 2603.11178. The signal of a distillation gradient vanishes where the student's pass rate p is 0
or 1; weighting problems by p(1 − p), a member of the family of Beta kernels, concentrates training between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples, compute_pass_rates
from heal.trace_files import GRADES, SAMPLES, STUDENT_GRADES, STUDENT_SAMPLES, TraceFile


class Options(OptionGroup):
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class Paced(Method):
    name = "paced"
    paper = "arXiv 2603.11178 (Xu et al., PACED)"
    summary = "correct samples, weighted by p(1 - p) of the student's own pass rate p"
    differs = (
        "the loss is that of supervised training on the teacher's correct samples, not a divergence from the "
        "teacher; pass rates are taken once, from the untrained student; problems of weight 0 take no optimizer "
        "steps; the run's optimizer steps"
    )
    sources: ClassVar = {
        "weight p(1 − p), without hyper-parameters": "abstract of version 3",
        "the weight vanishes at p = 0 and p = 1": "abstract of version 3",
        "number of student samples behind p": NOT_CHECKED,
    }
    version = 2
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, STUDENT_SAMPLES, STUDENT_GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        rates = compute_pass_rates(traces.read(STUDENT_GRADES))
        weights = {problem_id: rate * (1 - rate) for problem_id, rate in rates.items()}
        weighted = {problem: rows for problem, rows in traces.read_correct().items() if weights.get(problem)}
        return build_examples(weighted, 1, "sample", self.options.pace.max_per_problem, weights)
