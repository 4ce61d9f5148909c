"""Laws, published worked examples and a coverage simulation for evals/stats.py."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as scipy_stats

from evals import stats
from evals.pooled_model import Contrast, estimate_question_se, fit_pooled_model
from heal.errors import HealError

# Benjamini & Hochberg 1995, section 4: the fifteen p-values, of which four are rejected at 0.05.
BH_1995 = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
BH_1995 += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture
def tables() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    a_SQ = rng.binomial(4, 0.5, size=(5, 60)) / 4
    return a_SQ, np.clip(a_SQ + rng.choice([-0.25, 0.0, 0.0], size=a_SQ.shape), 0, 1)


def get_bounds(interval: stats.Interval) -> tuple[float, float]:
    return interval.low, interval.high


def compare(a_SQ: np.ndarray, b_SQ: np.ndarray, *others: np.ndarray) -> Contrast:
    return fit_pooled_model([a_SQ, b_SQ, *others]).compare(0, 1)


def simulate_methods(rng, logits, seeds: int = 4, questions: int = 60, seed_sd: float = 0.3) -> np.ndarray:
    """Right and wrong answers [methods, seeds, questions]; each seed moves its method's logit."""
    logits_MRQ = np.array(logits)[:, None, None] + rng.normal(0, 1.5, questions)
    logits_MRQ = logits_MRQ + rng.normal(0, seed_sd, (len(logits), seeds, 1))
    return (rng.random((len(logits), seeds, questions)) < expit(logits_MRQ)).astype(float)


def test_constant_scores_have_no_width():
    for shape, covers in {(3, 40): "training seeds and questions", (1, 40): "questions"}.items():
        interval = stats.compute_crossed_bootstrap(np.full(shape, 0.1))
        assert interval == stats.Interval(0.1, 0.1, 0.1, covers)


def test_a_method_against_itself_differs_by_exactly_zero(tables):
    contrast = compare(*tables[:1], *tables)
    low, high = contrast.compute_interval()
    assert (contrast.diff, contrast.p) == (0.0, 1.0) and low == -high < 0
    a_Q = tables[0][0] > 0.5
    assert stats.compute_mcnemar(a_Q, a_Q).p == 1.0


def test_order_of_seeds_and_questions_does_not_matter(tables):
    seeds, questions = np.random.default_rng(0).permutation(5), np.random.default_rng(0).permutation(60)
    before, after = compare(*tables), compare(*(table[seeds][:, questions] for table in tables))
    assert [*vars(after).values()] == pytest.approx([*vars(before).values()], rel=1e-9)
    # The pairing itself must matter: one table's seeds in another order is another experiment.
    assert compare(tables[0][::-1], tables[1]).p != pytest.approx(before.p, rel=0.01)


def test_a_swap_flips_and_a_constant_shifts(tables):
    a_SQ, b_SQ = tables
    for interval in (Contrast.compute_interval, Contrast.compute_interval_on_new_questions):
        low, high = interval(compare(a_SQ, b_SQ))
        assert interval(compare(b_SQ, a_SQ)) == pytest.approx((-high, -low))
    low, high = get_bounds(stats.compute_crossed_bootstrap(a_SQ))
    assert get_bounds(stats.compute_crossed_bootstrap(a_SQ + 0.125)) == pytest.approx((low + 0.125, high + 0.125))


def test_bootstrap_is_deterministic_and_matches_loops(tables):
    a_SQ, b_SQ = tables
    first, again, other = (stats.compute_crossed_bootstrap(a_SQ, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    pick = np.random.default_rng(3).integers
    means = [(a_SQ - b_SQ)[pick(5, size=5)][:, pick(60, size=60)].mean() for _ in range(20_000)]
    expected = np.quantile(means, [0.05, 0.95])
    interval = stats.compute_crossed_bootstrap(a_SQ - b_SQ, level=0.9, resamples=20_000)
    assert get_bounds(interval) == pytest.approx(expected, abs=0.0015)


def test_each_axis_widens_the_interval():
    by_question, by_seed = np.tile([0.0, 1.0], (3, 50)), np.repeat([[0.0], [1.0]], 100, axis=1)
    low, high = get_bounds(stats.compute_crossed_bootstrap(by_question))
    assert (low, high) == pytest.approx((0.4, 0.6), abs=0.011)  # binomial(100, 1/2)
    assert get_bounds(stats.compute_crossed_bootstrap(by_seed)) == pytest.approx((0.0, 1.0))
    assert math.isnan(stats.compute_crossed_bootstrap([[0.5], [1.0]]).low)


def test_a_teacher_seed_is_resampled_with_its_training_seeds():
    """Where only teacher seeds differ, resampling (teacher seed, training seed) pairs would give a narrow interval."""
    by_group = np.repeat([0.0, 1.0], 20)[:, None] * np.ones(100)
    assert get_bounds(stats.compute_crossed_bootstrap(by_group, groups=2)) == pytest.approx((0.0, 1.0))
    low, high = get_bounds(stats.compute_crossed_bootstrap(by_group))
    assert low > 0.2 and high < 0.8
    one = np.random.default_rng(1).random((4, 30))
    assert stats.compute_crossed_bootstrap(one, groups=1) == stats.compute_crossed_bootstrap(one)
    assert stats.compute_crossed_bootstrap(one, groups=2).covers == "teacher seeds, training seeds and questions"
    with pytest.raises(HealError, match="4 rows are not 3 groups"):
        stats.compute_crossed_bootstrap(one, groups=3)


def test_two_methods_that_vary_alike_give_the_paired_t(tables):
    a_SQ = tables[0]
    b_SQ = 1 - a_SQ[::-1]  # the same distance from 0.5
    b_SQ[0, :2] = 1 - b_SQ[0, :2]
    ours, theirs = compare(a_SQ, b_SQ), scipy_stats.ttest_rel(a_SQ.mean(axis=1), b_SQ.mean(axis=1))
    assert (ours.dof, ours.p) == (theirs.df, pytest.approx(theirs.pvalue, rel=1e-2))
    assert ours.compute_interval(0.9) == pytest.approx(tuple(theirs.confidence_interval(0.9)), rel=1e-2)


def test_equal_scales_give_the_two_way_analysis_of_variance():
    """statsmodels' least squares on method and replicate, for methods of equal accuracy."""
    rng = np.random.default_rng(3)
    means_MR = 0.5 + rng.normal(0, 0.05, (4, 3)) + rng.normal(0, 0.05, 3)
    means_MR += 0.5 - means_MR.mean(axis=1, keepdims=True)
    scores_MRQ = np.repeat(means_MR[:, :, None], 50, axis=2)
    method, replicate = np.indices(means_MR.shape).reshape(2, -1)
    design = np.column_stack([method == 0, method == 1, method == 2, method == 3, replicate == 1, replicate == 2])
    fit = sm.OLS(means_MR.ravel(), design.astype(float)).fit()
    expected = fit.t_test([1, -1, 0, 0, 0, 0])
    contrast = fit_pooled_model(scores_MRQ).compare(0, 1)
    assert (contrast.se, contrast.dof) == (pytest.approx(float(expected.sd[0, 0])), fit.df_resid)


def test_what_all_methods_share_in_a_replicate_is_no_error():
    """And where two methods differ in their scale, what remains of it is."""
    rng = np.random.default_rng(4)
    scores_MRQ = simulate_methods(rng, [0.0, 0.0, 0.0], seeds=6, questions=2000, seed_sd=0.05)
    shared_R = rng.normal(0, 0.1, 6)
    shifted = fit_pooled_model(scores_MRQ + shared_R[:, None] - shared_R.mean())
    alone = fit_pooled_model(scores_MRQ)
    assert shifted.compare(0, 1).se == pytest.approx(alone.compare(0, 1).se, rel=0.01)
    assert shifted.variances[1] > 10 * alone.variances[1]
    assert shifted.compare_with_constant(0, np.zeros(2000)).se > 3 * alone.compare_with_constant(0, np.zeros(2000)).se


def test_a_contrast_says_when_it_cannot_say():
    one_seed = compare(np.eye(1, 30), np.zeros((1, 30)))
    equal = compare(np.eye(2, 30)[[0, 0]], np.zeros((2, 30)))
    for contrast in (one_seed, equal):
        numbers = (contrast.p, *contrast.compute_interval(), *contrast.compute_interval_on_new_questions())
        assert contrast.diff == 1 / 30 and all(map(math.isnan, (*numbers, contrast.compute_detectable())))


@pytest.mark.parametrize("seed", range(20))
def test_an_adjusted_interval_excludes_zero_exactly_where_p_is_rejected(seed):
    rng = np.random.default_rng(seed)
    contrasts = []
    for _ in range(int(rng.integers(1, 6))):
        model = fit_pooled_model(simulate_methods(rng, rng.normal(-1, 0.1 * (seed % 8), 4)))
        contrasts += [model.compare(method, 0) for method in (1, 2, 3)]
    p = [contrast.p for contrast in contrasts]
    level = stats.compute_adjusted_level(p, 0.05)
    assert 1 - 0.05 <= level <= 1 - 0.05 / len(p) + 1e-12 or level == pytest.approx(0.95)
    for contrast, p_bh in zip(contrasts, stats.compute_adjusted_p(p), strict=True):
        low, high = contrast.compute_interval(level)
        assert (low > 0 or high < 0) == (p_bh <= 0.05)
        new_low, new_high = contrast.compute_interval_on_new_questions(level)
        assert new_low <= low <= contrast.diff <= high <= new_high


def test_new_questions_add_their_own_variance():
    """Nothing where each question shows the same difference; with many seeds the error of the mean over questions."""
    rng = np.random.default_rng(5)
    by_question_Q = rng.normal(0, 0.2, 400)
    noise_RQ = rng.normal(0, 0.5, (50, 400))
    assert estimate_question_se(noise_RQ) < 0.004
    expected = by_question_Q.std(ddof=1) / 20
    assert estimate_question_se(by_question_Q + noise_RQ) == pytest.approx(expected, rel=0.15)
    for nothing in (noise_RQ[:1], noise_RQ[:, :1]):
        assert math.isnan(estimate_question_se(nothing))


def test_the_questions_of_two_methods_are_paired():
    a_SQ, b_SQ = simulate_methods(np.random.default_rng(6), [0.0, 0.0], seeds=8, questions=400)
    assert compare(a_SQ, b_SQ[:, ::-1]).question_se > 2 * compare(a_SQ, b_SQ).question_se


def test_tables_that_do_not_pair_are_refused():
    with pytest.raises(HealError, match=r"do not pair up: \(1, 3\) against \(1, 4\)"):
        stats.compute_mcnemar(np.zeros(3), np.zeros(4))
    with pytest.raises(HealError, match="no full table"):
        fit_pooled_model(np.full((2, 3, 10), math.nan))
    for bad in ([[0.5, math.nan]], [0.5, 0.5], np.zeros((2, 0))):
        with pytest.raises(HealError, match="no full table"):
            stats.compute_crossed_bootstrap(bad)
    with pytest.raises(HealError, match="0 or 1"):
        stats.compute_mcnemar([0.5, 1], [0, 1])


def test_mcnemar_textbook():
    """The table of R's exact2x2 (Fay 2010): 21, 9, 2, 12, exact p = 0.06543."""
    a_Q, b_Q = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [21, 2, 9, 12], axis=0).T
    result = stats.compute_mcnemar(a_Q, b_Q)
    assert (result.only_a, result.only_b, result.n) == (2, 9, 44)
    assert result.p == pytest.approx(0.06543, abs=5e-6)
    assert stats.compute_mcnemar(b_Q, a_Q).p == result.p


def test_mcnemar_of_agresti_s_approval_ratings():
    """Agresti 1990, p. 350: 794 approve twice, 150 only at first, 86 only later, 570 never; z squared is 17.36."""
    a_Q, b_Q = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [794, 150, 86, 570], axis=0).T
    result = stats.compute_mcnemar(a_Q, b_Q)
    assert (result.only_a, result.only_b, result.n) == (150, 86, 1600)
    z_squared = (result.only_a - result.only_b) ** 2 / (result.only_a + result.only_b)
    assert z_squared == pytest.approx(17.36, abs=0.005)
    assert result.p == pytest.approx(scipy_stats.chi2.sf(z_squared, 1), rel=0.5) and result.p < 1e-4


def test_benjamini_hochberg_1995():
    adjusted = stats.compute_adjusted_p(BH_1995)
    assert (adjusted <= 0.05).tolist() == [True] * 4 + [False] * 11
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    order = np.random.default_rng(0).permutation(15)
    assert stats.compute_adjusted_p(np.array(BH_1995)[order]) == pytest.approx(adjusted[order])
    with_gap = stats.compute_adjusted_p([*BH_1995[:5], math.nan, *BH_1995[5:]])
    assert math.isnan(with_gap[5]) and np.delete(with_gap, 5) == pytest.approx(adjusted)
    assert np.isnan(stats.compute_adjusted_p([math.nan])).all() and stats.compute_adjusted_p([]).size == 0


def test_detectable_difference_is_found_with_its_power():
    contrast = Contrast(diff=0.0, se=0.02, dof=6, question_se=0.0, n_questions=100)
    rng = np.random.default_rng(1)
    for level in (0.95, 0.99):
        estimates = rng.normal(contrast.compute_detectable(level), contrast.se, 20_000)
        estimated_se = contrast.se * np.sqrt(rng.chisquare(6, 20_000) / 6)
        found = np.abs(estimates) > scipy_stats.t.ppf((1 + level) / 2, 6) * estimated_se
        assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_wilson_newcombe_1998():
    """Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20 and 1/29."""
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}
    published |= {(0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (k, n), expected in published.items():
        assert get_bounds(stats.compute_wilson_interval(k, n)) == pytest.approx(expected, abs=5.1e-5)
        assert get_bounds(stats.compute_wilson_interval(n - k, n)) == pytest.approx(
            (1 - expected[1], 1 - expected[0]), abs=5.1e-5
        )
    assert math.isnan(stats.compute_wilson_interval(0, 0).mean)
    with pytest.raises(HealError):
        stats.compute_wilson_interval(3, 2)


def test_pass_at_k_by_brute_force():
    for n in range(1, 8):
        for c, k in product(range(n + 1), range(1, n + 1)):
            expected = np.mean([min(subset) < c for subset in combinations(range(n), k)])
            assert stats.estimate_pass_at_k(n, c, k) == pytest.approx(expected)
    assert stats.estimate_pass_at_k(30, 3, 1) == pytest.approx(0.1)
    with pytest.raises(HealError):
        stats.estimate_pass_at_k(4, 1, 5)


def test_pass_at_k_is_the_code_of_chen_2021():
    """The numerically stable form that the paper prints."""
    for n, c, k in product((8, 30, 200), (0, 1, 5, 8), (1, 4, 8)):
        printed = 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
        assert stats.estimate_pass_at_k(n, c, k) == pytest.approx(printed, abs=1e-12)


def estimate_majority_by_hand(votes, correct, k):
    """Over all subsets, with ties shared out."""
    won = []
    for subset in combinations(range(len(votes)), k):
        classes = ["right" if correct[i] else f"wrong {votes[i]}" for i in subset if correct[i] or votes[i] is not None]
        counts = {name: classes.count(name) for name in classes}
        top = [name for name, count in counts.items() if count == max(counts.values())]
        won.append(("right" in top) / len(top) if top else 0.0)
    return np.mean(won)


def test_majority_at_k_by_brute_force():
    rng = np.random.default_rng(8)
    for _ in range(40):
        n = int(rng.integers(1, 8))
        votes = rng.choice(["7", "7.0", "8", "9", None], n).tolist()
        correct = [vote in ("7", "7.0") for vote in votes]
        order = rng.permutation(n)
        for k in range(1, n + 1):
            estimate = stats.estimate_majority_at_k(votes, correct, k)
            assert estimate == pytest.approx(estimate_majority_by_hand(votes, correct, k))
            shuffled = stats.estimate_majority_at_k([votes[i] for i in order], [correct[i] for i in order], k)
            assert shuffled == pytest.approx(estimate)
        assert stats.estimate_majority_at_k(votes, correct, 1) == pytest.approx(np.mean(correct))
    assert stats.estimate_majority_at_k(["7", "8", None, None], [True, False, False, False], 4) == 0.5
    assert stats.estimate_majority_at_k(["7"] * 33 + ["8"] * 31, [True] * 33 + [False] * 31, 64) == 1.0
    with pytest.raises(HealError, match="maj@3"):
        stats.estimate_majority_at_k(["7", "8"], [True, False], 3)


def test_auroc_is_the_share_of_won_pairs():
    rng = np.random.default_rng(4)
    for _ in range(20):
        scores, labels = rng.choice([0.0, 1.0, 2.0, 3.5, math.inf], 30), rng.random(30) < 0.4
        pairs = [(x > y) + (x == y) / 2 for x in scores[labels] for y in scores[~labels]]
        result, flipped = stats.compute_auroc(scores, labels), stats.compute_auroc(scores, ~labels)
        assert result.mean == pytest.approx(np.mean(pairs))
        assert 0 <= result.low <= result.mean <= result.high <= 1
        assert get_bounds(flipped) == pytest.approx((1 - result.high, 1 - result.low))
    assert all(math.isnan(stats.compute_auroc([1, 2], [c, c]).mean) for c in (0, 1))
    perfect = stats.compute_auroc(range(40), np.arange(40) >= 20)
    assert perfect.high == 1.0 and 0.8 < perfect.low < 0.95


def test_auroc_interval_newcombe_2006():
    """The printed example of R's SingleCaseES; Hanley & McNeil's variance with both classes of mean size."""
    result = stats.compute_auroc([20, 20, 26, 25, 22, 23, 28, 25, 24, 27, 30, 30, 29], [0] * 6 + [1] * 7)
    assert result.mean == pytest.approx(38.5 / 42)
    assert get_bounds(result) == pytest.approx((0.5973406, 0.9860176), abs=5e-5)
    for t in get_bounds(result):
        q1, q2 = t / (2 - t), 2 * t**2 / (1 + t)
        variance = (t * (1 - t) + (6.5 - 1) * (q1 - t**2 + q2 - t**2)) / 42
        assert abs(result.mean - t) == pytest.approx(scipy_stats.norm.ppf(0.975) * math.sqrt(variance), rel=1e-6)


def test_auroc_of_few_positives_is_as_uncertain_as_they_are_few():
    scores, spread = np.random.default_rng(3).normal(size=200), {}
    for positives in (1, 2, 10, 100):
        area = stats.compute_auroc(scores, np.arange(200) < positives, groups=range(200))
        spread[positives] = area.high - area.low
    assert math.isnan(spread[1])
    assert spread[2] > spread[10] > spread[100]


def test_auroc_of_groups_counts_groups_not_copies():
    rng = np.random.default_rng(5)
    labels = np.arange(60) % 2
    scores = labels + rng.normal(0, 1, 60)
    once = stats.compute_auroc(scores, labels, groups=range(60))
    copied = stats.compute_auroc(np.tile(scores, 8), np.tile(labels, 8), groups=[f"p{i}" for i in range(60)] * 8)
    assert get_bounds(copied) == pytest.approx(get_bounds(once)) and copied.covers == "groups"
    assert get_bounds(once) == pytest.approx(get_bounds(stats.compute_auroc(scores, labels)), abs=0.03)
    assert math.isnan(stats.compute_auroc(scores, labels, groups=[0] * 60).low)
    assert math.isnan(stats.compute_auroc(labels, labels, groups=range(60)).low)


def test_partial_rank_correlation():
    rng = np.random.default_rng(6)
    z = rng.normal(size=400)
    x, y = z + rng.normal(size=400), z + rng.normal(size=400)
    result = stats.compute_partial_rank_correlation(x, y, z)
    r = scipy_stats.spearmanr(np.column_stack([x, y, z])).statistic
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert result.mean == pytest.approx(expected) and result.low < 0 < result.high and r[0, 1] > 0.4
    assert stats.compute_partial_rank_correlation(np.exp(x), y, z**3) == result
    assert stats.compute_partial_rank_correlation(x, x, z).mean == pytest.approx(1.0)
    assert stats.compute_partial_rank_correlation(x, y, np.ones(400)).mean == pytest.approx(r[0, 1])
    for nothing in ((z, y, z), (np.ones(400), y, z), ([2, 1, 4, 3], [1, 3, 2, 4], range(4))):
        assert math.isnan(stats.compute_partial_rank_correlation(*nothing).mean)


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
