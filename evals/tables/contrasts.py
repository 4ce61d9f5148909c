"""Differences between a run's methods: the only place where tables, ranks and the paper's table get them from.

Reads nothing, writes nothing. The variance is pooled over all methods of a group (evals.pooled_model). Where a
difference would be a number without meaning, there is a sentence in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evals import stats
from evals.pooled_model import Contrast, PooledModel, fit_pooled_model
from evals.results import Run

MIN_QUESTIONS = 20
"""Fewest questions on which methods are compared."""
MAX_TRUNCATION_GAP = 0.05
"""Largest difference between two methods' shares of cut-off answers that is never taken for the cause of a result."""


def estimate_mean(scores_TSQ: NDArray[np.float64], **options: int) -> stats.Interval:
    """Mean and crossed-bootstrap interval, for display; bounds are NaN for fewer than MIN_QUESTIONS questions.

    Several teacher seeds are resampled too, and training seeds within them.
    """
    scores_SQ = scores_TSQ.reshape(-1, scores_TSQ.shape[-1])
    interval = stats.compute_crossed_bootstrap(scores_SQ, groups=len(scores_TSQ), **options)
    if scores_TSQ.shape[-1] < MIN_QUESTIONS:
        return stats.Interval(interval.mean, math.nan, math.nan, interval.covers)
    return interval


def get_replicates(scores_TSQ: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of independent replicates: the training seeds of one teacher seed, or the means of several teacher seeds.

    Shape [replicates, Q]. Training seeds are nested in teacher seeds, so of several teacher seeds only the means are
    independent: taking all (teacher seed, training seed) pairs for replicates covers far less than its level, and the
    interval of one teacher seed says nothing about others (results/reference/coverage.md).
    """
    return scores_TSQ[0] if len(scores_TSQ) == 1 else scores_TSQ.mean(axis=1)


def describe_difference_coverage(teacher_seeds: int) -> str:
    """Sources of variance in a difference's interval on these questions."""
    if teacher_seeds == 1:
        return "training seeds; these questions, this teacher seed"
    return "teacher seeds, training seeds; these questions"


@dataclass(frozen=True)
class MethodGroup:
    """Methods whose students answered one benchmark or stratum, and whose variance is pooled."""

    run: Run
    teacher: str
    student: str
    benchmark: str
    methods: Sequence[str]

    @cached_property
    def model(self) -> PooledModel:
        replicates = []
        for method in self.methods:
            scores_TSQ = self.run.get_student_scores(self.teacher, self.student, method, self.benchmark)
            replicates.append(get_replicates(scores_TSQ))
        return fit_pooled_model(np.stack(replicates))

    def compare(self, a: str, b: str) -> tuple[Contrast | None, str]:
        """(method a minus method b, ""), or (None, why there is no difference to show)."""
        run, n_questions = self.run, self.model.scores_MRQ.shape[-1]
        if n_questions < MIN_QUESTIONS:
            return None, "one question" if n_questions == 1 else f"{n_questions} questions, fewer than {MIN_QUESTIONS}"
        if self.model.n_replicates < 2:
            return None, "one training seed"
        if run.has_mixed_engines(self.teacher, self.student, (a, b), self.benchmark):
            return None, "answered on different engines"
        contrast = self.model.compare(self.methods.index(a), self.methods.index(b))
        if math.isnan(contrast.se):
            return None, "no method's accuracy varies with the seed"
        cut_off = self.explain_by_truncation(a, b, contrast.diff)
        return (None, cut_off) if cut_off else (contrast, "")

    def explain_by_truncation(self, a: str, b: str, diff: float) -> str:
        """A sentence where the lower method's surplus of cut-off answers is as large as the difference; else ""."""
        lower, higher = (b, a) if diff > 0 else (a, b)
        shares = []
        for method in (lower, higher):
            shares.append(self.run.compute_truncated_share(self.teacher, self.student, method, self.benchmark))
        gap = shares[0] - shares[1]
        if gap <= MAX_TRUNCATION_GAP or gap < abs(diff):
            return ""
        return f"the token limit cuts off {shares[0]:.0%} of {lower}'s answers and {shares[1]:.0%} of {higher}'s"
