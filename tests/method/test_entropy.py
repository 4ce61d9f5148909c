"""Laws of entropies: bounds hold them, and aggregates lie in order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.method.entropy import aggregate_tokens, bound_entropies


@given(st.integers(2, 500))
def test_uniform_entropy_is_ln_v_within_its_bounds(vocabulary):
    listed = min(20, vocabulary)
    low, high = bound_entropies(np.full(listed, -math.log(vocabulary)), vocabulary)
    assert low <= math.log(vocabulary) + 1e-9 and high == pytest.approx(math.log(vocabulary))


@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=30), st.integers(1, 30))
def test_bounds_hold_the_entropy_and_are_exact_with_every_logprob(weights, listed):
    p = np.sort(np.array(weights) / sum(weights))[::-1]
    entropy = -(p * np.log(p)).sum()
    low, high = bound_entropies(np.log(p[:listed]), len(p))
    assert low - 1e-9 <= entropy <= high + 1e-9
    if listed >= len(p):
        assert low == pytest.approx(entropy) == pytest.approx(high)


@given(st.lists(st.floats(-20, -0.01), min_size=1, max_size=5), st.integers(0, 5), st.sampled_from([-9999.0, -np.inf]))
def test_a_listed_probability_of_zero_leaves_bounds_that_are_in_order(logprobs, zeros, zero):
    listed = np.array(logprobs) - np.logaddexp.reduce([*logprobs, 0.0])
    low, high = bound_entropies(np.array([*listed, *[zero] * zeros]), 1000)
    assert np.isfinite([low, high]).all() and low <= high


@given(st.lists(st.floats(0, 5), min_size=1, max_size=40))
def test_top20_lies_between_mean_and_maximum(values):
    mean, top, largest = (aggregate_tokens(np.array(values), statistic) for statistic in ("mean", "top20", "max"))
    assert mean - 1e-9 <= top <= largest + 1e-9
