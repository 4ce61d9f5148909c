"""Laws of PURE: what is scored, what is dropped, and that a filter only removes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.config.experiment import Pure
from heal.method import pure
from heal.pipeline.score import choose_points, compute_uncertainty, divide_by_first, hold_between_points


def make_score(name, nll, u, statement=None, origin="repair"):
    values = {key: list(nll) for key in ("nll_mean", "nll_top20", "nll_max")}
    values |= {"uncertainty_product": list(u), "uncertainty_mean": list(u)}
    return {"trace_id": name, "origin": origin, "statement": statement, **values}


SCORES = st.lists(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1.2)), min_size=0, max_size=8), min_size=0, max_size=20
).map(lambda traces: [make_score(f"t{i}", [n for n, _ in t], [u for _, u in t]) for i, t in enumerate(traces)])
RULES = st.sampled_from(["quantile", "calibrated", "random", "oracle"])


@given(SCORES, RULES, st.floats(0, 1))
def test_a_filter_only_removes_and_does_not_look_at_the_order(scores, rule, share):
    options = Pure(rule=rule, drop_share=share)
    context = {"own": scores[:5], "seed": 1, "valid": {"t1", "t3"}}
    kept_ids = pure.select_traces(scores, options, **context)
    assert kept_ids <= {s["trace_id"] for s in scores}
    assert kept_ids == pure.select_traces(scores[::-1], options, **context)


@given(SCORES, st.floats(0, 1))
def test_quantile_and_random_drop_the_same_share_and_quantile_the_most_anomalous(scores, share):
    options = Pure(drop_share=share)
    kept_ids = pure.select_traces(scores, options)
    assert len(kept_ids) == len(pure.select_traces(scores, Pure(rule="random", drop_share=share), seed=3))
    assert len(scores) - len(kept_ids) <= share * len(scores) + 1e-6
    values = {s["trace_id"]: pure.compute_anomaly(s, options) for s in scores}
    dropped = [values[name] for name in values if name not in kept_ids]
    assert not dropped or not kept_ids or min(dropped) >= max(values[name] for name in kept_ids)


@given(SCORES)
def test_switched_off_keeps_everything(scores):
    assert pure.select_traces(scores, Pure(enabled=False)) == {s["trace_id"] for s in scores}


def test_the_ratio_is_perplexity_over_uncertainty():
    ratio = np.exp(pure.compute_log_ratios(np.array([math.log(3.0)]), np.array([0.49]), 0.01))
    assert ratio == pytest.approx([3.0 / 0.5])


def test_scored_until_the_answer_is_certain_and_never_the_statement():
    u = [1.0, 0.9, 0.05, 0.6, 0.0]
    assert pure.find_last_scored_step(u, 5, 0.1) == 3
    assert pure.find_last_scored_step(u, 5, -math.inf) == 4
    assert pure.find_last_scored_step(u, None, -math.inf) == 5
    assert pure.find_last_scored_step([1.0], 1, 0.1) == 0
    surprising_statement = make_score("t", [0.1, 0.1, 9.0], [1.0, 1.0, 0.0], statement=3)
    assert pure.compute_anomaly(surprising_statement, Pure()) == pytest.approx(0.1 - math.log(1.01))
    surprising_check = make_score("t", [0.1, 0.1, 9.0, 0.1], [1.0, 0.0, 0.0, 0.0], statement=4)
    assert pure.compute_anomaly(surprising_check, Pure()) < pure.compute_anomaly(surprising_check, Pure(scope="all"))


def test_a_jump_is_more_anomalous_than_the_same_step_without_certainty():
    jump, work = make_score("j", [0.1, 3.0], [1.0, 0.01]), make_score("w", [0.1, 3.0], [1.0, 1.0])
    assert pure.compute_anomaly(jump, Pure()) > pure.compute_anomaly(work, Pure())
    assert pure.select_traces([jump, work], Pure(drop_share=0.5)) == {"w"}


def test_calibrated_limits_come_from_the_same_distance_to_certainty():
    own = [make_score(f"o{i}", [0.1, 1.0 + 0.01 * i], [1.0, 0.01], origin="sample") for i in range(100)]
    like, unlike = make_score("like", [0.1, 1.5], [1.0, 0.01]), make_score("unlike", [1.5, 1.5], [1.0, 0.01])
    options = Pure(rule="calibrated", drop_share=0.4)
    assert pure.select_traces([like, unlike], options, own=own) == {"like"}
    assert pure.select_traces([like, unlike], options, own=[]) == {"like", "unlike"}


def test_uncertainty_readings():
    logprobs = np.log([0.5, 0.2])
    assert compute_uncertainty(logprobs, "product") == pytest.approx(0.9)
    assert compute_uncertainty(logprobs, "mean") == pytest.approx(0.65)
    assert divide_by_first([0.45, 0.9], 0.9).tolist() == pytest.approx([0.5, 1.0])
    assert divide_by_first([0.0], 0.0).tolist() == [0.0]


@given(st.integers(0, 100), st.integers(1, 20))
def test_the_grid_is_bounded_and_holds_the_last_step(steps, points):
    chosen = choose_points(steps, points)
    assert len(chosen) <= points and (not steps or chosen[-1] == steps)
    assert chosen == sorted(set(chosen)) and all(1 <= k <= steps for k in chosen)


def test_held_values_last_until_the_next_point():
    assert hold_between_points([0.5, 0.1], [2, 4], 5, 1.0) == [1.0, 0.5, 0.5, 0.1, 0.1]
