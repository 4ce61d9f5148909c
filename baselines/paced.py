"""PACED: problems at the edge of what the student can do weigh most, those it always or never solves least.

Arxiv 2603.11178. The signal of a distillation gradient vanishes where the student's pass rate p is 0 or 1; weighting
problems by p(1 − p) concentrates training between. Known: the weight p(1 − p), a member of the family of Beta kernels,
with p from the student's own samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import Example, Method, Traces, build_examples, compute_pass_rates
from heal.trace_files import GRADES, SAMPLES, STUDENT_GRADES, STUDENT_SAMPLES, TraceFile


class Options(OptionGroup):
    smoothing: Annotated[float, Field(ge=0)] = 0.5
    """Successes and failures added to those seen: from few samples no rate is known to be 0 or 1 (ours)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class Paced(Method):
    name = "paced"
    paper = "arXiv 2603.11178 (PACED)"
    summary = "correct samples, weighted by p(1 - p) of the student's own pass rate p"
    differs = (
        "the loss is that of supervised training on the teacher's correct samples, not a divergence from the teacher; "
        "pass rates are taken once, from the untrained student, and smoothed; weights have mean 1; the run's optimizer "
        "steps"
    )
    options: Options
    Options = Options

    @property
    def pace(self) -> config.Pace:
        return self.options.pace

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, STUDENT_SAMPLES, STUDENT_GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        grades = traces.read(STUDENT_GRADES)
        samples = len(grades) / max(len(traces.problems), 1)
        weights = {}
        for problem_id, rate in compute_pass_rates(grades).items():
            weights[problem_id] = compute_weight(rate, samples, self.options.smoothing)
        return build_examples(traces.read_correct(), 1, "sample", self.options.pace.max_per_problem, weights)


def compute_weight(rate: float, samples: float, smoothing: float) -> float:
    """p(1 − p) of the pass rate over this many samples, smoothed."""
    p = (rate * samples + smoothing) / (samples + 2 * smoothing)
    return p * (1 - p)
