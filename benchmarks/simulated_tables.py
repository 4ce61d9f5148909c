"""Simulated tables of graded answers whose truth is known, for benchmarks.coverage. Reads nothing, writes nothing.

Each answer is sampled from a logit that adds crossed effects: question, method × question, teacher seed (shared, and
per method), training seed (shared, and per method), training seed × question; repeats of one question are binomial.

Array suffixes: M methods, N simulated tables, T teacher seeds, S training seeds, Q questions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
CHUNK = 50
"""Tables that are in memory at once."""
OTHERS = {
    "equal": (0.0,) * 12,
    "alike": (0.0, -0.2, 0.3, 0.1, -0.4, 0.2, 0.0, -0.3, 0.4, -0.1, 0.3, -0.2),
    "spread": (-3.0, 2.0, -1.5, -4.0, 3.0, -1.0, -2.0, 0.5, -3.5, -0.5, 1.0, -2.5),
}
"""Logits of further methods above the reference. spread: as in the reference runs, most near 0, one near 80 %."""


@dataclass(frozen=True)
class Design:
    """Sizes of a table, and the standard deviations of its effects in logits (ours, but for `method_seed`)."""

    methods: int
    teacher_seeds: int
    training_seeds: int
    questions: int = 300
    repeats: int = 1
    accuracies: str = "spread"
    """Of the methods besides the two that are compared: equal | alike | spread."""
    base: float = -2.0
    """Logit of the reference on the average question."""
    effect: float = 0.6
    """Added to the logit by the method under test."""
    question: float = 1.5
    method_question: float = 0.5
    teacher_seed: float = 0.2
    method_teacher_seed: float = 0.2
    seed: float = 0.15
    method_seed: float = 0.25
    """In a full run as `measure_seed_sd` says."""
    seed_question: float = 0.7

    @property
    def base_M(self) -> Floats:
        """Logits of reference, method under test and the others."""
        others = OTHERS[self.accuracies][: self.methods - 2]
        return self.base + np.array([0.0, self.effect, *others])

    @property
    def equal(self) -> Design:
        """The design with an equal method under test: on average, on every question and in this teacher seed."""
        method_teacher_seed = self.method_teacher_seed if self.teacher_seeds > 1 else 0.0
        return replace(self, effect=0.0, method_question=0.0, method_teacher_seed=method_teacher_seed)

    @property
    def replicate_sd(self) -> float:
        """Of everything that varies with the training seed."""
        return float(np.sqrt(self.seed**2 + self.method_seed**2 + self.seed_question**2))

    @property
    def teacher_seed_sd(self) -> float:
        """Of everything that varies with the teacher seed alone."""
        return float(np.hypot(self.teacher_seed, self.method_teacher_seed))

    @property
    def question_sd(self) -> float:
        """Of everything that varies with the question alone."""
        return float(np.hypot(self.question, self.method_question))

    @property
    def accuracy(self) -> float:
        """Of the reference."""
        return float(compute_expected_score(self.base, np.hypot(self.replicate_sd, self.question)))


@dataclass(frozen=True)
class SimulatedTables:
    """Scores of several methods in N tables, and the logits that do not vary with training seeds."""

    scores_MNTSQ: Floats
    logits_MNQ: Floats
    """Of each question, over all teacher seeds."""
    effects_MNT: Floats
    """Added by each teacher seed."""
    base_M: Floats
    """Of the average question."""


@dataclass(frozen=True)
class Truth:
    """True mean of every method, shape [M, N], and which mean it is."""

    estimand: str
    means_MN: Floats


def measure_seed_sd(path: Path, benchmark: str) -> float:
    """Standard deviation over training seeds of a method's logit, from the committed answers to a benchmark.

    The benchmark has one repeat. Of each method: the variance of its seeds' means, less that of answer sampling, over
    the squared slope of accuracy by logit (the mean of p · (1 - p)); a ratio of sums over methods.
    """
    answers = pd.read_parquet(
        path, columns=["teacher", "student", "method", "seed", "benchmark", "problem_id", "strict"]
    )
    answers = answers[answers["seed"].notna() & (answers["benchmark"] == benchmark)]
    excess = slopes = 0.0
    for _, rows in answers.groupby(["teacher", "student", "method"]):
        scores_SQ = rows.pivot(index="seed", columns="problem_id", values="strict").to_numpy(float)
        slope = scores_SQ.var(axis=0, ddof=1).mean()
        excess += scores_SQ.mean(axis=1).var(ddof=1) - slope / scores_SQ.shape[1]
        slopes += slope**2
    return math.sqrt(max(excess, 0.0) / slopes)


def simulate_tables(design: Design, n_tables: int, rng: np.random.Generator) -> SimulatedTables:
    """Tables of the design's methods: the reference, the method under test, and others."""
    base_M, methods = design.base_M, design.methods
    sizes_NT = (n_tables, design.teacher_seeds)
    sizes_NTS = (*sizes_NT, design.training_seeds)
    logits_MNQ = (
        base_M[:, None, None]
        + rng.normal(0, design.question, (1, n_tables, design.questions))
        + rng.normal(0, design.method_question, (methods, n_tables, design.questions))
    )
    shared = rng.normal(0, design.teacher_seed, (1, *sizes_NT))
    effects_MNT = shared + rng.normal(0, design.method_teacher_seed, (methods, *sizes_NT))
    shared = rng.normal(0, design.seed, (1, *sizes_NTS))
    effects_MNTS = shared + rng.normal(0, design.method_seed, (methods, *sizes_NTS))
    logits_MNTSQ = (
        logits_MNQ[:, :, None, None]
        + effects_MNT[..., None, None]
        + effects_MNTS[..., None]
        + rng.normal(0, design.seed_question, (methods, *sizes_NTS, design.questions))
    )
    chances_MNTSQ = expit(logits_MNTSQ)
    if design.repeats == 1:
        scores_MNTSQ = (rng.random(chances_MNTSQ.shape) < chances_MNTSQ).astype(float)
    else:
        scores_MNTSQ = rng.binomial(design.repeats, chances_MNTSQ) / design.repeats
    return SimulatedTables(scores_MNTSQ, logits_MNQ, effects_MNT, base_M)


def simulate_in_chunks(design: Design, n_tables: int, rng: np.random.Generator) -> Iterator[SimulatedTables]:
    """Tables by the chunk, so that memory stays bounded."""
    for start in range(0, n_tables, CHUNK):
        yield simulate_tables(design, min(CHUNK, n_tables - start), rng)


def compute_expected_score(logits: ArrayLike, sd: float) -> Floats:
    """Mean of the logistic function of logit + normal noise of that sd, by Gauss-Hermite quadrature."""
    logits = np.asarray(logits, dtype=float)
    total = np.zeros_like(logits)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        total += weight * expit(logits + sd * node)
    return total


def compute_truths(design: Design, tables: SimulatedTables) -> list[Truth]:
    """The true means that an interval could be about."""
    sd = float(np.hypot(design.replicate_sd, design.teacher_seed_sd))
    these_questions_MN = compute_expected_score(tables.logits_MNQ, sd).mean(axis=-1)
    all_questions_M = compute_expected_score(tables.base_M, float(np.hypot(sd, design.question_sd)))
    all_questions_MN = np.repeat(all_questions_M[:, None], tables.logits_MNQ.shape[1], axis=1)
    truths = [
        Truth("these questions, all teacher seeds", these_questions_MN),
        Truth("all questions, all teacher seeds", all_questions_MN),
    ]
    if design.teacher_seeds == 1:
        effects_MN = tables.effects_MNT[..., 0]
        logits_MNQ = tables.logits_MNQ + effects_MN[..., None]
        these_questions_MN = compute_expected_score(logits_MNQ, design.replicate_sd).mean(axis=-1)
        sd = float(np.hypot(design.replicate_sd, design.question_sd))
        all_questions_MN = compute_expected_score(tables.base_M[:, None] + effects_MN, sd)
        truths.append(Truth("these questions, this teacher seed", these_questions_MN))
        truths.append(Truth("all questions, this teacher seed", all_questions_MN))
    return truths
