"""EAST: problems on which the student's answers disagree weigh most.

Wang et al. 2025, arXiv 2503.23913 (entropy-based adaptive weighting for self-training). The model samples each training
problem; the samples are clustered by final answer; the entropy of the cluster shares measures the model's uncertainty,
and a mapping with one parameter turns it into the problem's weight in fine-tuning on its correct samples. Known:
clusters by final answer, entropy over them, a tunable mapping, weights with a fixed mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.grading.grader import Grader
from heal.method.base import Example, Method, Traces, build_examples, group_by_problem
from heal.trace_files import GRADES, SAMPLES, STUDENT_GRADES, STUDENT_SAMPLES, TraceFile


class Options(OptionGroup):
    answers_of: Literal["student", "teacher"] = "student"
    """Whose samples' answers are clustered: the student is who learns, the teacher costs nothing more."""
    sharpness: Annotated[float, Field(ge=0)] = 2.0
    """Weight of full disagreement over that of full agreement, as ln; 0 weighs all alike (ours)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class East(Method):
    name = "east"
    paper = "arXiv 2503.23913 (Wang et al., EAST)"
    summary = "correct samples, weighted by the entropy of the student's final answers"
    differs = (
        "trains on the teacher's samples, not the student's own; the mapping is exp(sharpness * entropy / ln n); "
        "an answer that cannot be read is a cluster of its own; one round; weights have mean 1; the run's optimizer "
        "steps"
    )
    options: Options
    Options = Options

    @property
    def pace(self) -> config.Pace:
        return self.options.pace

    def needs(self) -> list[TraceFile]:
        files = [SAMPLES, GRADES]
        return [*files, STUDENT_SAMPLES, STUDENT_GRADES] if self.options.answers_of == "student" else files

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        graded = traces.read(STUDENT_GRADES if self.options.answers_of == "student" else GRADES)
        weights = {}
        with Grader() as grader:
            for problem_id, rows in group_by_problem(graded).items():
                answers = [row["extracted"] for row in rows]
                weights[problem_id] = compute_weight(answers, self.options.sharpness, grader.compare)
        return build_examples(traces.read_correct(), 1, "sample", self.options.pace.max_per_problem, weights)


def count_cluster_sizes(answers: Sequence[str | None], compare: Callable[[str, str], str]) -> list[int]:
    """Sizes of the groups of answers that the grader calls equal; each unreadable answer is one of its own."""
    groups: dict[str, int] = {}
    unreadable = []
    for answer in answers:
        if answer is None:
            unreadable.append(1)
            continue
        equal = answer
        if answer not in groups:
            equal = next((other for other in groups if compare(other, answer) == "correct"), answer)
        groups[equal] = groups.get(equal, 0) + 1
    return [*groups.values(), *unreadable]


def compute_weight(answers: Sequence[str | None], sharpness: float, compare: Callable[[str, str], str]) -> float:
    """exp(sharpness · H / ln n), where H is the entropy of the clusters of n answers, in nats."""
    from scipy.stats import entropy  # every command imports the baselines, and scipy takes long

    maximum = np.log(len(answers)) if len(answers) > 1 else 1.0
    return float(np.exp(sharpness * entropy(count_cluster_sizes(answers, compare)) / maximum))
