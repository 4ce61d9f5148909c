"""Intervals and tests for the tables: pure functions, numpy in, small frozen dataclasses out.

Reads nothing, writes nothing; tables and audits import it. Its own check: `pytest tests/test_stats.py`.
Convention: `scores_SQ` is a float array [training seeds, questions] in [0, 1]: the mean over the repeated
samples of one question. Two compared methods share the questions and the training seeds, in the same order.
Seeds and questions are crossed: each seed answers every question. Training seeds are nested in teacher draws: each draw
has seeds of its own. NaN always means "cannot say", never zero. What the intervals cover was measured by simulation:
benchmarks/coverage.py, results/reference/coverage.csv.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_test
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from heal.errors import HealError

ROUNDING = 1e-12  # smaller differences between means in [0, 1] are rounding, not results


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `covers` names what varies, for the table's caption."""

    mean: float
    low: float
    high: float
    covers: str


@dataclass(frozen=True)
class TTest:
    """Paired t: mean difference a - b, its interval, two-sided p, degrees of freedom."""

    diff: float
    low: float
    high: float
    p: float
    dof: int


@dataclass(frozen=True)
class McNemar:
    """How many of n questions only one of two checkpoints solves, and the exact two-sided p."""

    only_a: int
    only_b: int
    n: int
    p: float


def crossed_bootstrap(
    scores_SQ: ArrayLike, *, groups: int = 1, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean score; percentile interval from seeds and questions resampled independently. For display.

    groups: the seeds are this many teacher draws with equally many seeds each, draw by draw; whole draws are resampled
    then, and seeds within them. Covers training seeds, questions and answer sampling, with several groups the teacher
    draw too; with one seed only questions and answer sampling. `covers` says so. One question gives NaN bounds. With
    few seeds or draws it covers less than its level: claims rest on `paired_t`. Source: Owen 2007 (pigeonhole
    bootstrap), Ann. Appl. Stat. 1(2).
    """
    (scores_SQ,) = _tables(scores_SQ)
    n_seeds, n_questions = scores_SQ.shape
    if groups < 1 or n_seeds % groups:
        raise HealError(f"{n_seeds} rows are not {groups} groups of equal size", fix="give every draw all its seeds")
    origin = scores_SQ[0, 0]  # taken off first: a constant table then gives exactly zero width
    centred_SQ = scores_SQ - origin
    mean = float(origin + centred_SQ.mean())
    covers = "seeds and questions" if n_seeds > 1 else "questions"
    covers = f"draws, {covers}" if groups > 1 else covers
    if n_questions < 2:
        return Interval(mean, math.nan, math.nan, covers)
    rng = np.random.default_rng(seed)
    seed_weights_DS, question_weights_DQ = (_resampled_weights(rng, draws, n) for n in scores_SQ.shape)
    if groups > 1:
        group_weights_DG = _resampled_weights(rng, draws, groups)
        within = [_resampled_weights(rng, draws, n_seeds // groups) for _ in range(groups)]
        seed_weights_DS = np.concatenate([group_weights_DG[:, [g]] * within[g] for g in range(groups)], axis=1)
    means_D = ((question_weights_DQ @ centred_SQ.T) * seed_weights_DS).sum(axis=1)
    low, high = origin + np.quantile(means_D, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), covers)


def crossed_bootstrap_difference(a_SQ: ArrayLike, b_SQ: ArrayLike, **options: Any) -> Interval:
    """Mean of a - b; `crossed_bootstrap`'s options and cover, the same seeds and questions drawn for both."""
    a_SQ, b_SQ = _tables(a_SQ, b_SQ)
    return crossed_bootstrap(a_SQ - b_SQ, **options)


def paired_t(a_SQ: ArrayLike, b_SQ: ArrayLike, level: float = 0.95) -> TTest:
    """Student's t over the per-seed mean differences a - b. The basis of claims.

    Covers training seeds and answer sampling on *these* questions; not the choice of questions (where the
    methods' difference varies with the question) nor the teacher draw. Fewer than 2 seeds: p and bounds NaN.
    Differences equal in all seeds show no variance: if 0, p = 1, and the bounds are 0 where the tables are
    identical, else NaN; if not 0, p and bounds are NaN (small tables agree by chance). Student 1908; scipy.
    """
    a_SQ, b_SQ = _tables(a_SQ, b_SQ)
    diff_S = (a_SQ - b_SQ).mean(axis=1)
    diff, dof = float(diff_S.mean()), len(diff_S) - 1
    if dof < 1:
        return TTest(diff, math.nan, math.nan, math.nan, dof)
    if np.ptp(diff_S) <= ROUNDING:
        p = 1.0 if abs(diff) <= ROUNDING else math.nan
        bound = 0.0 if np.array_equal(a_SQ, b_SQ) else math.nan
        return TTest(diff, bound, bound, p, dof)
    result = stats.ttest_1samp(diff_S, 0.0)
    low, high = result.confidence_interval(level)
    return TTest(diff, float(low), float(high), float(result.pvalue), dof)


def mcnemar(a_Q: ArrayLike, b_Q: ArrayLike) -> McNemar:
    """Exact McNemar test on the right/wrong (1/0) answers of two checkpoints to the same questions.

    Covers the questions only: a claim about these two checkpoints, not about the methods that trained them.
    Source: McNemar 1947, with the exact binomial p of statsmodels.
    """
    (right_Q,), (other_Q,) = _tables(np.asarray(a_Q)[None], np.asarray(b_Q)[None])
    if not np.isin([right_Q, other_Q], (0.0, 1.0)).all():
        raise HealError("McNemar's test needs outcomes 0 or 1", fix="use paired_t on means over samples")
    table = np.array([[np.sum((right_Q == i) & (other_Q == j)) for j in (1, 0)] for i in (1, 0)])
    result = mcnemar_test(table, exact=True)
    return McNemar(int(table[0, 1]), int(table[1, 0]), len(right_Q), float(result.pvalue))


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    """Adjusted p-values of one table, same shape; reject where <= the false discovery rate one accepts.

    A NaN ("cannot say") stays NaN and does not count as a test. Source: Benjamini & Hochberg 1995; scipy.
    """
    p = np.asarray(p, dtype=float)
    adjusted, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


def detectable_difference(
    a_SQ: ArrayLike | None = None,
    b_SQ: ArrayLike | None = None,
    *,
    sd: float | None = None,
    n_seeds: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Smallest true difference that a two-sided paired t over n_seeds would have found with this power.

    Give two tables, or sd: the standard deviation over seeds of the per-seed mean difference. n_seeds
    defaults to the tables' and may be another, to plan a study. Covers what `paired_t` covers; an sd from few
    seeds is itself rough. NaN without 2 seeds or any variation. Source: noncentral t, statsmodels.
    """
    if sd is None:
        if a_SQ is None or b_SQ is None:
            raise HealError("nothing to take the spread from", fix="give two tables, or sd")
        a_SQ, b_SQ = _tables(a_SQ, b_SQ)
        diff_S = (a_SQ - b_SQ).mean(axis=1)
        sd = float(diff_S.std(ddof=1)) if len(diff_S) > 1 else math.nan
        n_seeds = n_seeds or len(diff_S)
    if n_seeds is None or n_seeds < 2 or not sd > ROUNDING:
        return math.nan
    return float(sd * TTestPower().solve_power(effect_size=None, nobs=n_seeds, alpha=alpha, power=power))


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Proportion k of n; covers the chance in independent trials; NaN if n = 0. Wilson 1927, statsmodels."""
    if not 0 <= k <= n:
        raise HealError(f"{k} successes of {n} trials is no proportion")
    low, high = proportion_confint(k, n, alpha=1 - level, method="wilson") if n else (math.nan, math.nan)
    return Interval(k / n if n else math.nan, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)), "trials")


def auroc(scores: ArrayLike, labels: ArrayLike, *, groups: ArrayLike | None = None, level: float = 0.95) -> Interval:
    """Chance that a random positive (label 1) scores above a random negative, ties one half.

    All NaN if a class is empty; infinite scores are fine. Without groups covers independently drawn items
    (Newcombe 2006, method 5; not of zero width at 0 or 1). Repairs of one problem are not independent: pass
    the problems as `groups`, which covers the draw of whole groups (Obuchowski 1997, clustered DeLong; ours: t on one
    less than the groups of the class that has fewer). NaN bounds where that is none, or the groups show no variance.
    Estimate: Mann & Whitney 1947.
    """
    covers, positive = "items" if groups is None else "groups", np.asarray(labels, dtype=float) > 0
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return Interval(math.nan, math.nan, math.nan, covers)
    (ranks,), _ = _tables(stats.rankdata(scores)[None], np.asarray(labels)[None])
    positives, negatives = ranks[positive], ranks[~positive]
    # An item's rank among all less its rank in its own class counts the other class's items below it.
    below_M = (positives - stats.rankdata(positives)) / n
    above_N = 1 - (negatives - stats.rankdata(negatives)) / m
    area, z = float(below_M.mean()), float(stats.norm.ppf((1 + level) / 2))

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + ((m + n) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        return (t - area) ** 2 - z**2 * variance

    if groups is None:  # the two areas from which the observed one is z of *their* standard errors away
        inside = min(max(area, ROUNDING), 1 - ROUNDING)  # at 0 and 1 the area itself solves the equation
        low, high = (optimize.brentq(excess, end, inside) for end in (0.0, 1.0))
        return Interval(area, low, high, covers)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    influence = np.zeros(m + n)
    influence[positive], influence[~positive] = (below_M - area) / m, (above_N - area) / n
    variance = np.sum(np.bincount(group, influence) ** 2) * len(names) / max(len(names) - 1, 1)
    fewest = min(len(np.unique(group[of])) for of in (positive, ~positive))
    t = stats.t.ppf((1 + level) / 2, fewest - 1)  # NaN for one group: its own luck cannot be told
    half = t * math.sqrt(variance) if variance > ROUNDING**2 else math.nan
    return Interval(area, float(np.maximum(area - half, 0.0)), float(np.minimum(area + half, 1.0)), covers)


def partial_rank_correlation(x: ArrayLike, y: ArrayLike, z: ArrayLike, level: float = 0.95) -> Interval:
    """Spearman correlation of x and y given z: the partial correlation of their ranks.

    Covers independently drawn items (Fisher's z with Bonett & Wright's 2000 standard error for ranks). NaN
    below 5 items, and where x or y is constant or a monotone function of z. Source: Kendall 1942.
    """
    n = np.size(x)
    if n < 5:
        return Interval(math.nan, math.nan, math.nan, "items")
    ranks = _tables(*([stats.rankdata(values)] for values in (x, y, z)))
    x_rank, y_rank, z_rank = (row - row.mean() for (row,) in ranks)
    # What z's ranks explain is taken off; a constant z explains nothing.
    x_rest, y_rest = (r - z_rank * ((r @ z_rank) / ((z_rank @ z_rank) or 1.0)) for r in (x_rank, y_rank))
    if min(x_rest @ x_rest, y_rest @ y_rest) <= 1e-9 * n:
        return Interval(math.nan, math.nan, math.nan, "items")
    rho = float((x_rest @ y_rest) / math.sqrt((x_rest @ x_rest) * (y_rest @ y_rest)))
    centre = math.atanh(np.clip(rho, -1 + ROUNDING, 1 - ROUNDING))
    half = stats.norm.ppf((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 4))
    return Interval(rho, math.tanh(centre - half), math.tanh(centre + half), "items")


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k samples, drawn from n of which c are correct, hold a correct one.

    Unbiased for one question over its samples; no interval. Source: Chen et al. 2021, arXiv 2107.03374.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise HealError(f"pass@{k} is not defined for {c} correct of {n} samples", fix="1 <= k <= n, c <= n")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority_at_k(votes: Sequence[str | None], correct: Sequence[bool], k: int) -> float:
    """Chance that the most frequent answer of k samples is right: over which k of the n are drawn, and over ties.

    votes: the answers as extracted; None casts no vote, and without any vote the majority is wrong. Right answers are
    one class however they are written; wrong ones are told apart by their text, so that one written in two ways splits
    its vote. Ties are broken at random among the most frequent. Exact, by counting the subsets; unbiased for one
    question over its samples. Source: the vote of Wang et al. 2022 (arXiv 2203.11171); its mean over subsets is ours.
    """
    n, right = len(votes), sum(map(bool, correct))
    if not (len(correct) == n and 1 <= k <= n):
        raise HealError(f"maj@{k} is not defined for {n} samples", fix="1 <= k <= n, one verdict per vote")
    wrong = Counter(vote for vote, ok in zip(votes, correct, strict=True) if not ok and vote is not None)
    silent = n - right - sum(wrong.values())
    won = 0.0
    for most in range(1, min(right, k) + 1):
        # (samples drawn, wrong answers that tie) → ways to draw them, no wrong answer more often than `most`
        ways = {(drawn, 0): math.comb(silent, drawn) for drawn in range(min(silent, k - most) + 1)}
        for count in wrong.values():
            further: dict[tuple[int, int], int] = {}
            for (drawn, ties), number in ways.items():
                for more in range(min(count, most, k - most - drawn) + 1):
                    key = (drawn + more, ties + (more == most))
                    further[key] = further.get(key, 0) + number * math.comb(count, more)
            ways = further
        here = sum(number / (1 + ties) for (drawn, ties), number in ways.items() if drawn == k - most)
        won += math.comb(right, most) * here
    return won / math.comb(n, k)


def _tables(*tables: ArrayLike) -> list[np.ndarray]:
    """The same tables as arrays; HealError unless all are full and of one shape [rows, columns]."""
    arrays = [np.asarray(table, dtype=float) for table in tables]
    shapes = " against ".join(str(array.shape) for array in arrays)
    if len({array.shape for array in arrays}) > 1:
        raise HealError(f"outcomes do not pair up: {shapes}", fix="compare the same seeds and questions")
    if any(array.ndim != 2 or not array.size or not np.isfinite(array).all() for array in arrays):
        raise HealError(f"outcomes are no full table {shapes}", fix="keep what every seed answered")
    return arrays


def _resampled_weights(rng: np.random.Generator, draws: int, n: int) -> np.ndarray:
    """[draws, n]: how often each of n things is drawn, over n. Twice as fast as rng.multinomial."""
    picks = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n) / n
