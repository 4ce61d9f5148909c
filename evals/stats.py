"""Intervals and tests for the tables: pure functions, numpy in, small frozen dataclasses out.

Reads nothing, writes nothing. Array suffixes name the axes: S training seeds, Q questions.
`scores_SQ` holds floats in [0, 1]: the mean over the repeated samples of one question. Compared methods share the
questions and the training seeds, in the same order. Seeds and questions are crossed: each seed answers every question.
Training seeds are nested in teacher sampling seeds: each teacher seed has training seeds of its own. NaN always means
"cannot say", never zero. evals/pooled_model.py has the differences between methods.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_test
from statsmodels.stats.proportion import proportion_confint

from heal.errors import HealError

ROUNDING = 1e-12  # smaller differences between means in [0, 1] are rounding, not results


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `covers` names the sources of variance that it includes."""

    mean: float
    low: float
    high: float
    covers: str


@dataclass(frozen=True)
class McNemar:
    """Numbers of the n questions that only one of two checkpoints solves, and the exact two-sided p."""

    only_a: int
    only_b: int
    n: int
    p: float


def compute_crossed_bootstrap(
    scores_SQ: ArrayLike, *, groups: int = 1, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean score; percentile interval from seeds and questions resampled independently. For display.

    groups: number of teacher sampling seeds that the rows belong to, group by group, with equally many training seeds
    each. Whole groups are resampled then, and training seeds within them. Covers training seeds, questions and answer
    sampling, with several groups the teacher sampling seed too; with one row only questions and answer sampling.
    `covers` says so. One question gives NaN bounds. With few seeds it covers less than its level: claims rest on
    evals.pooled_model. Source: Owen 2007 (pigeonhole bootstrap), Ann. Appl. Stat. 1(2).
    """
    (scores_SQ,) = check_scores(scores_SQ)
    n_seeds, n_questions = scores_SQ.shape
    if groups < 1 or n_seeds % groups:
        fix = "give every teacher seed all its training seeds"
        raise HealError(f"{n_seeds} rows are not {groups} groups of equal size", fix=fix)
    origin = scores_SQ[0, 0]  # subtracted first: a constant table then gives exactly zero width
    centered_SQ = scores_SQ - origin
    mean = float(origin + centered_SQ.mean())
    covers = "training seeds and questions" if n_seeds > 1 else "questions"
    covers = f"teacher seeds, {covers}" if groups > 1 else covers
    if n_questions < 2:
        return Interval(mean, math.nan, math.nan, covers)
    rng = np.random.default_rng(seed)
    seed_weights_BS = resample_weights(rng, resamples, n_seeds)
    question_weights_BQ = resample_weights(rng, resamples, n_questions)
    if groups > 1:
        group_weights_BG = resample_weights(rng, resamples, groups)
        for group in range(groups):
            columns = slice(group * n_seeds // groups, (group + 1) * n_seeds // groups)
            within = resample_weights(rng, resamples, n_seeds // groups)
            seed_weights_BS[:, columns] = group_weights_BG[:, [group]] * within
    means_B = ((question_weights_BQ @ centered_SQ.T) * seed_weights_BS).sum(axis=1)
    low, high = origin + np.quantile(means_B, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), covers)


def compute_mcnemar(a_Q: ArrayLike, b_Q: ArrayLike) -> McNemar:
    """Exact McNemar test on the right/wrong (1/0) answers of two checkpoints to the same questions.

    Covers the questions only: a claim about these two checkpoints, not about the methods that trained them.
    Source: McNemar 1947, with the exact binomial p of statsmodels.
    """
    (first_Q,), (second_Q,) = check_scores(np.asarray(a_Q)[None], np.asarray(b_Q)[None])
    if not np.isin([first_Q, second_Q], (0.0, 1.0)).all():
        raise HealError("McNemar's test needs outcomes 0 or 1", fix="compare means over samples")
    both, only_a, only_b = int(first_Q @ second_Q), int(first_Q @ (1 - second_Q)), int((1 - first_Q) @ second_Q)
    neither = len(first_Q) - both - only_a - only_b
    result = mcnemar_test([[both, only_a], [only_b, neither]], exact=True)
    return McNemar(only_a, only_b, len(first_Q), float(result.pvalue))


def compute_adjusted_p(p: ArrayLike) -> np.ndarray:
    """Benjamini-Hochberg adjusted p-values of one table, same shape; reject where <= the accepted false discovery rate.

    A NaN ("cannot say") stays NaN and does not count as a test. Source: Benjamini & Hochberg 1995; scipy.
    """
    p = np.asarray(p, dtype=float)
    adjusted, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


def compute_adjusted_level(p: ArrayLike, rate: float = 0.05) -> float:
    """Confidence level at which an interval excludes 0 exactly where Benjamini-Hochberg rejects at this rate.

    1 - rate · R / m for R rejections of m tests: the intervals of Benjamini & Yekutieli 2005, J. Amer. Stat. Assoc. 100
    (false coverage rate: of the intervals of rejected ones, on average at most a share `rate` misses its true value). A
    test that is not rejected has p above rate · (R + 1) / m, so at the same level its interval contains 0. Without any
    rejection the level is that of one. NaN without tests. Each p must be of the test that its interval inverts.
    """
    p = np.asarray(p, dtype=float)
    n_tests = int(np.sum(~np.isnan(p)))
    n_rejected = int(np.sum(compute_adjusted_p(p) <= rate))
    return 1 - rate * max(n_rejected, 1) / n_tests if n_tests else math.nan


def compute_wilson_interval(k: int, n: int, level: float = 0.95) -> Interval:
    """Proportion k of n; covers the randomness of independent trials; NaN if n = 0. Wilson 1927, statsmodels."""
    if not 0 <= k <= n:
        raise HealError(f"{k} successes of {n} trials is no proportion")
    low, high = proportion_confint(k, n, alpha=1 - level, method="wilson") if n else (math.nan, math.nan)
    return Interval(k / n if n else math.nan, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)), "trials")


def compute_auroc(
    scores: ArrayLike, labels: ArrayLike, *, groups: ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Probability that a random positive (label 1) scores above a random negative, ties one half.

    All NaN if a class is empty; infinite scores are fine. Without groups the interval covers independently sampled
    items (Newcombe 2006, method 5; not of zero width at 0 or 1). Repairs of one problem are not independent: pass the
    problems as `groups`, and it covers the sampling of whole groups (Obuchowski 1997, clustered DeLong; ours: t with
    the number of groups of the smaller class, less one, as degrees of freedom). NaN bounds where that is none, or the
    groups show no variance. Estimate: Mann & Whitney 1947.
    """
    covers, positive = "items" if groups is None else "groups", np.asarray(labels, dtype=float) > 0
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return Interval(math.nan, math.nan, math.nan, covers)
    (ranks,), _ = check_scores(stats.rankdata(scores)[None], np.asarray(labels)[None])
    # An item's rank among all less its rank in its own class counts the items of the other class below it.
    below_M = (ranks[positive] - stats.rankdata(ranks[positive])) / n
    above_N = 1 - (ranks[~positive] - stats.rankdata(ranks[~positive])) / m
    area = float(below_M.mean())
    if groups is None:
        low, high = solve_newcombe_bounds(area, m, n, level)
        return Interval(area, low, high, covers)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    influence = np.zeros(m + n)
    influence[positive] = (below_M - area) / m
    influence[~positive] = (above_N - area) / n
    variance = np.sum(np.bincount(group, influence) ** 2) * len(names) / max(len(names) - 1, 1)
    fewest = min(len(np.unique(group[positive])), len(np.unique(group[~positive])))
    t = stats.t.ppf((1 + level) / 2, fewest - 1)  # NaN for one group: its variance cannot be estimated
    half = t * math.sqrt(variance) if variance > ROUNDING**2 else math.nan
    return Interval(area, float(np.maximum(area - half, 0.0)), float(np.minimum(area + half, 1.0)), covers)


def solve_newcombe_bounds(area: float, m: int, n: int, level: float) -> tuple[float, float]:
    """The two areas from which the observed one is z of *their* standard errors away (Newcombe 2006, method 5)."""
    z = float(stats.norm.ppf((1 + level) / 2))

    def compute_excess(t: float) -> float:
        variance = t * (1 - t) * (1 + ((m + n) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        return (t - area) ** 2 - z**2 * variance

    inside = min(max(area, ROUNDING), 1 - ROUNDING)  # at 0 and 1 the area itself solves the equation
    return optimize.brentq(compute_excess, 0.0, inside), optimize.brentq(compute_excess, 1.0, inside)


def compute_partial_rank_correlation(x: ArrayLike, y: ArrayLike, z: ArrayLike, level: float = 0.95) -> Interval:
    """Spearman correlation of x and y given z: the partial correlation of their ranks.

    Covers independently sampled items (Fisher's z with Bonett & Wright's 2000 standard error for ranks). NaN
    below 5 items, and where x or y is constant or a monotone function of z. Source: Kendall 1942.
    """
    n = np.size(x)
    if n < 5:
        return Interval(math.nan, math.nan, math.nan, "items")
    x_rank, y_rank, z_rank = rank_centered(x), rank_centered(y), rank_centered(z)
    check_scores(x_rank[None], y_rank[None], z_rank[None])
    # The part that z's ranks explain is subtracted; a constant z explains nothing.
    z_norm = (z_rank @ z_rank) or 1.0
    x_rest = x_rank - z_rank * ((x_rank @ z_rank) / z_norm)
    y_rest = y_rank - z_rank * ((y_rank @ z_rank) / z_norm)
    if min(x_rest @ x_rest, y_rest @ y_rest) <= 1e-9 * n:
        return Interval(math.nan, math.nan, math.nan, "items")
    rho = float((x_rest @ y_rest) / math.sqrt((x_rest @ x_rest) * (y_rest @ y_rest)))
    center = math.atanh(np.clip(rho, -1 + ROUNDING, 1 - ROUNDING))
    half = stats.norm.ppf((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 4))
    return Interval(rho, math.tanh(center - half), math.tanh(center + half), "items")


def rank_centered(values: ArrayLike) -> np.ndarray:
    """Ranks minus their mean, ties averaged."""
    ranks = stats.rankdata(values)
    return ranks - ranks.mean()


def estimate_pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that k samples, chosen at random from n of which c are correct, contain a correct one.

    Unbiased for one question over its samples; no interval. Source: Chen et al. 2021, arXiv 2107.03374.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise HealError(f"pass@{k} is not defined for {c} correct of {n} samples", fix="1 <= k <= n, c <= n")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def estimate_majority_at_k(votes: Sequence[str | None], correct: Sequence[bool], k: int) -> float:
    """Probability that the most frequent answer of k samples is right, over random subsets of the n and random ties.

    votes: the answers as extracted; None casts no vote, and without any vote the majority is wrong. Right answers are
    one class however they are written; wrong ones are compared as text, so that one written in two ways splits its
    vote. Ties are broken at random among the most frequent. Exact, by counting the subsets; unbiased for one question
    over its samples. Source: the vote of Wang et al. 2022 (arXiv 2203.11171); its mean over subsets is ours.
    """
    n = len(votes)
    if not (len(correct) == n and 1 <= k <= n):
        raise HealError(f"maj@{k} is not defined for {n} samples", fix="1 <= k <= n, one verdict per vote")
    n_right = 0
    wrong: Counter[str] = Counter()
    for vote, is_correct in zip(votes, correct, strict=True):
        if is_correct:
            n_right += 1
        elif vote is not None:
            wrong[vote] += 1
    n_silent = n - n_right - wrong.total()
    favorable = 0.0
    for most in range(1, min(n_right, k) + 1):
        rest = count_losing_subsets(n_silent, list(wrong.values()), k - most, most)
        favorable += math.comb(n_right, most) * rest
    return favorable / math.comb(n, k)


def count_losing_subsets(n_silent: int, wrong_counts: Sequence[int], size: int, most: int) -> float:
    """Subsets of `size` silent and wrong votes in which no wrong answer has more than `most` votes.

    A subset where t wrong answers have exactly `most` counts 1 / (1 + t): ties are broken at random. wrong_counts:
    votes of each wrong answer.
    """
    ways: dict[tuple[int, int], int] = {}  # (votes chosen, wrong answers that tie) → ways to choose them
    for chosen in range(min(n_silent, size) + 1):
        ways[chosen, 0] = math.comb(n_silent, chosen)
    for count in wrong_counts:
        extended: dict[tuple[int, int], int] = {}
        for (chosen, ties), number in ways.items():
            for more in range(min(count, most, size - chosen) + 1):
                key = (chosen + more, ties + (more == most))
                extended[key] = extended.get(key, 0) + number * math.comb(count, more)
        ways = extended
    total = 0.0
    for (chosen, ties), number in ways.items():
        if chosen == size:
            total += number / (1 + ties)
    return total


def check_scores(*tables: ArrayLike) -> list[np.ndarray]:
    """The scores as float arrays. Raises HealError unless all are complete and of one shape [rows, columns]."""
    arrays = list(map(as_float_array, tables))
    shapes = " against ".join(str(array.shape) for array in arrays)
    for array in arrays:
        if array.shape != arrays[0].shape:
            raise HealError(f"outcomes do not pair up: {shapes}", fix="compare the same seeds and questions")
    for array in arrays:
        if array.ndim != 2 or not array.size or not np.isfinite(array).all():
            raise HealError(f"outcomes are no full table {shapes}", fix="keep what every seed answered")
    return arrays


def as_float_array(values: ArrayLike) -> np.ndarray:
    return np.asarray(values, dtype=float)


def resample_weights(rng: np.random.Generator, resamples: int, n: int) -> np.ndarray:
    """[resamples, n]: how often each of n items is resampled, over n. Twice as fast as rng.multinomial."""
    picks = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(picks.ravel(), minlength=resamples * n).reshape(resamples, n) / n
