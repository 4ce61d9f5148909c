"""STaR's rationalization: where no sample is correct, learn from a trace that was written with the answer given.

Zelikman et al. 2022, arXiv 2203.14465. A model answers the training problems; those it gets wrong it is asked again
with the answer as a hint ("rationalization", section 3.2); the base model is fine-tuned on the correct ones of both
kinds, the hint taken out, and the loop begins again with the new model. Known: one greedy answer per problem and round,
the base model trained anew each round, 40 steps in the first and 20 % more in each next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples, group_by_problem
from heal.trace_files import GRADES, GUIDED, SAMPLES, TraceFile


class Options(OptionGroup):
    rationalize: bool = True
    """Whether unsolved problems get rationalized traces; without, this is rejection sampling."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class Star(Method):
    name = "star"
    paper = "arXiv 2203.14465 (Zelikman et al., STaR)"
    summary = "correct samples, and answer-guided ones of the problems without any"
    differs = (
        "the teacher writes, not the student itself; one round; several samples at the run's temperature; the hint's "
        "wording, and its leaks, as for HEAL's guided samples; the run's optimizer steps"
    )
    sources: ClassVar = {
        "rationalization with the answer as a hint": NOT_CHECKED,
        "one greedy answer per problem and round; 40 steps, then 20 % more": NOT_CHECKED,
    }
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, GUIDED]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        correct = traces.read_correct()
        yield from build_examples(correct, 1, "sample", limit)
        if self.options.rationalize:
            accepted = group_by_problem(row for row in traces.read(GUIDED) if row["accepted"])
            unsolved = {problem: rows for problem, rows in accepted.items() if problem not in correct}
            yield from build_examples(unsolved, 1, "guided", limit)
