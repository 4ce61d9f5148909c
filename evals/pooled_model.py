"""Differences between methods: contrasts of one model with the variance pooled over all methods.

Reads nothing, writes nothing. Array suffixes name the axes: M methods, R replicates, Q questions. A *replicate* is what
a difference is averaged over: a training seed where there is one teacher seed, else the mean of a teacher seed's
students. Scores are floats in [0, 1]; compared methods share replicates and questions, in the same order. NaN always
means "cannot say", never zero. benchmarks/coverage.py measures coverage, false positives and power by simulation
(results/reference/coverage.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from evals.stats import ROUNDING
from heal.errors import HealError

SCALE_POWER = 0.8
"""Power of mean · (1 - mean) that a method's standard deviation over replicates is proportional to."""


@dataclass(frozen=True)
class Contrast:
    """Difference of two methods' means, with the standard errors from which its test and its intervals follow."""

    diff: float
    se: float
    """Over replicates, on these questions. NaN: too few replicates, or no variation between them."""
    dof: int
    question_se: float
    """What the choice of questions adds."""
    n_questions: int

    @property
    def p(self) -> float:
        """Two-sided, unadjusted, on these questions."""
        return float(2 * stats.t.sf(abs(self.diff / self.se), self.dof))

    def compute_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Covers training seeds, teacher seeds where there are several, and answer sampling, on these questions."""
        half = compute_t_quantile(level, self.dof) * self.se
        return self.diff - half, self.diff + half

    def compute_interval_on_new_questions(self, level: float = 0.95) -> tuple[float, float]:
        """Covers the choice of questions as well; never narrower than `compute_interval`.

        Questions are clusters of paired differences (Miller 2024, arXiv 2411.00640). The two half widths are added as
        the sides of a right angle, each with its own degrees of freedom (Howe 1974, J. Amer. Stat. Assoc. 69).
        """
        by_questions = compute_t_quantile(level, self.n_questions - 1) * self.question_se
        half = math.hypot(compute_t_quantile(level, self.dof) * self.se, by_questions)
        return self.diff - half, self.diff + half

    def compute_detectable(self, level: float = 0.95, power: float = 0.8) -> float:
        """Smallest true difference whose interval excludes 0 with this power, on these questions (noncentral t)."""
        critical = compute_t_quantile(level, self.dof)
        return float(self.se * special.nctdtrinc(self.dof, 1 - power, critical))


def compute_t_quantile(level: float, dof: int) -> float:
    """Half width, in standard errors, of a two-sided interval; NaN without degrees of freedom."""
    return float(stats.t.ppf((1 + level) / 2, dof)) if dof > 0 else math.nan


@dataclass(frozen=True)
class PooledModel:
    """Accuracies of methods M in replicates R, with one variance for all methods: mean_M + scale_M · (block_R + error).

    A paired t of two methods estimates its variance from R - 1 degrees of freedom; this one from (M - 1)(R - 1). What
    all methods share in a replicate (the traces of a teacher seed, the order of the training data) is the block.
    scale_M is a power of mean · (1 - mean), because accuracies near 0 and 1 vary less: 1/2 would suit answer sampling,
    1 a shift of all logits. SCALE_POWER lies between them and covers 94 to 97 % in simulation. With a power of 0, one
    scale for all, the interval of two methods at 30 % covers 85 % where the others are near 0 (docs/log.md). A weighted
    two-way analysis of variance; the weights are ours.
    """

    scores_MRQ: NDArray[np.float64]

    @property
    def n_replicates(self) -> int:
        return self.scores_MRQ.shape[1]

    @property
    def dof(self) -> int:
        return (len(self.scores_MRQ) - 1) * (self.n_replicates - 1)

    @cached_property
    def scale_M(self) -> NDArray[np.float64]:
        n_answers = self.scores_MRQ[0].size
        mean_M = (self.scores_MRQ.sum(axis=(1, 2)) + 1) / (n_answers + 2)  # never 0 or 1
        return np.asarray((mean_M * (1 - mean_M)) ** SCALE_POWER)

    @cached_property
    def variances(self) -> tuple[float, float]:
        """(of the error, of the block), in units of the squared scale; NaN without variation between replicates."""
        means_MR = self.scores_MRQ.mean(axis=2)
        residuals_MR = (means_MR - means_MR.mean(axis=1, keepdims=True)) / self.scale_M[:, None]
        block_R = residuals_MR.mean(axis=0)
        total = float(np.sum((residuals_MR - block_R) ** 2))
        if self.dof < 1 or total <= ROUNDING**2:
            return math.nan, math.nan
        error = total / self.dof
        block = float(np.sum(block_R**2)) / (self.n_replicates - 1) - error / len(means_MR)
        return error, max(block, 0.0)

    def compare(self, a: int, b: int) -> Contrast:
        """Method a minus method b."""
        scales = np.array([self.scale_M[a], -self.scale_M[b]])
        return self.build_contrast(self.scores_MRQ[a] - self.scores_MRQ[b], scales)

    def compare_with_constant(self, a: int, scores_Q: ArrayLike) -> Contrast:
        """Method a minus scores that do not vary with the replicate."""
        return self.build_contrast(self.scores_MRQ[a] - np.asarray(scores_Q), self.scale_M[[a]])

    def build_contrast(self, diff_RQ: NDArray[np.float64], scales: NDArray[np.float64]) -> Contrast:
        """scales: signed, of the methods in the difference. The block cancels as far as their scales are equal."""
        error, block = self.variances
        variance = (error * np.sum(scales**2) + block * np.sum(scales) ** 2) / self.n_replicates
        question_se = estimate_question_se(diff_RQ)
        return Contrast(float(diff_RQ.mean()), math.sqrt(variance), self.dof, question_se, diff_RQ.shape[1])


def fit_pooled_model(scores_MRQ: ArrayLike) -> PooledModel:
    """Raises HealError for scores that are no full table of methods, replicates and questions."""
    scores_MRQ = np.asarray(scores_MRQ, dtype=float)
    if scores_MRQ.ndim != 3 or not scores_MRQ.size or not np.isfinite(scores_MRQ).all():
        raise HealError(f"outcomes are no full table {scores_MRQ.shape}", fix="keep what every seed answered")
    return PooledModel(scores_MRQ)


def estimate_question_se(diff_RQ: NDArray[np.float64]) -> float:
    """Standard error that the choice of questions adds to the mean of paired differences; NaN for one row or column.

    The variance between questions' means, less what chance within a question puts into it. Source: the
    question part of the two-way clustered variance of Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29(2).
    """
    n_replicates, n_questions = diff_RQ.shape
    if n_replicates < 2 or n_questions < 2:
        return math.nan
    centered_RQ = diff_RQ - diff_RQ.mean(axis=1, keepdims=True)
    means_Q = centered_RQ.mean(axis=0)
    between = np.sum(means_Q**2) / (n_questions - 1)
    within = np.sum((centered_RQ - means_Q) ** 2) / ((n_questions - 1) * (n_replicates - 1) * n_replicates)
    return math.sqrt(max(between - within, 0.0) / n_questions)
