"""EAST: problems on which the student's answers disagree weigh most.

Wang et al. 2025, arXiv 2503.23913 (entropy-based adaptive weighting for self-training). The model samples each
training problem; the samples are clustered by final answer, and the entropy H of the cluster shares measures the
model's uncertainty. Problems whose samples are all wrong or all right are discarded; the others weigh H^a over the
mean of H^a in fine-tuning on their correct samples. Public code: github.com/mandyyyyii/east at 3fe4cb4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.grading.grader import Grader
from heal.method.base import Example, Method, Traces, build_examples, group_by_problem
from heal.trace_files import GRADES, SAMPLES, STUDENT_GRADES, STUDENT_SAMPLES, TraceFile

CODE = "public code: mandyyyyii/east at 3fe4cb4,"


class Options(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"sharpness": "exponent"}
    changed_units: ClassVar[dict[str, str]] = {"sharpness": "the power of the entropy"}
    answers_of: Literal["student", "teacher"] = "student"
    """Whose samples' answers are clustered: the student is who learns, the teacher costs nothing more."""
    exponent: Annotated[float, Field(ge=0)] = 1.0
    """a in the weight H^a; 0 weighs all alike (their script for training: 1; they try 0.1 to 3)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class East(Method):
    name = "east"
    paper = "arXiv 2503.23913 (Wang et al., EAST)"
    summary = "correct samples of problems that the student solves sometimes, weighted by the entropy of its answers"
    differs = (
        "trains on the teacher's samples, not the student's own, and on several per problem, not on one; answers are "
        "equal where the grader says so, not where their texts are; an answer that cannot be read is a cluster of "
        "its own; one round; the run's optimizer steps"
    )
    sources: ClassVar = {
        "weight H^a / mean(H^a)": f"{CODE} train/sft_trainer.py and run_east_sft.sh",
        "a = 1; 0.1 to 3 tried": f"{CODE} train/run_east_sft.sh, data_generation/preprocess.py",
        "all-wrong and all-right problems discarded": f"{CODE} data_generation/util.py",
    }
    version = 3
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        files = [SAMPLES, GRADES]
        return [*files, STUDENT_SAMPLES, STUDENT_GRADES] if self.options.answers_of == "student" else files

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        graded = traces.read(STUDENT_GRADES if self.options.answers_of == "student" else GRADES)
        weights = {}
        with Grader() as grader:
            for problem_id, rows in group_by_problem(graded).items():
                if 0 < sum(row["correct"] for row in rows) < len(rows):
                    answers = [row["extracted"] for row in rows]
                    weights[problem_id] = compute_weight(answers, self.options.exponent, grader.compare)
        uncertain = {problem: rows for problem, rows in traces.read_correct().items() if problem in weights}
        return build_examples(uncertain, 1, "sample", self.options.pace.max_per_problem, weights)


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


def compute_weight(answers: Sequence[str | None], exponent: float, compare: Callable[[str, str], str]) -> float:
    """H^a, where H is the entropy of the clusters in nats; training divides it by its mean over the exposures."""
    from scipy.stats import entropy  # every command imports the baselines, and scipy takes long

    return float(entropy(count_cluster_sizes(answers, compare)) ** exponent)
