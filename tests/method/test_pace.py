"""Laws of PACE: which example is seen how often, in which stage."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.method import pace

SCHEDULES = ["cumulative", "sequential", "mixed", "mixed_matched", "reversed"]
STAGES = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=40)


@given(STAGES, st.sampled_from(SCHEDULES), st.integers(1, 60), st.integers(1, 8), st.integers(0, 3))
def test_every_schedule_fills_exactly_the_steps(stages, schedule, steps, batch, seed):
    order, labels = pace.order_exposures(stages, schedule=schedule, max_steps=steps, batch_size=batch, seed=seed)
    assert order.shape == (steps * batch,) and labels.shape == (steps,)
    assert set(order) <= set(range(len(stages)))
    again, _ = pace.order_exposures(stages, schedule=schedule, max_steps=steps, batch_size=batch, seed=seed)
    assert (order == again).all()


@given(STAGES, st.integers(1, 60), st.integers(1, 8))
def test_mixed_matched_is_cumulative_in_another_order(stages, steps, batch):
    options = {"max_steps": steps, "batch_size": batch, "seed": 1}
    cumulative, _ = pace.order_exposures(stages, schedule="cumulative", **options)
    matched, _ = pace.order_exposures(stages, schedule="mixed_matched", **options)
    assert Counter(cumulative.tolist()) == Counter(matched.tolist())


@given(STAGES, st.integers(1, 60))
def test_cumulative_never_shows_a_stage_before_its_time(stages, steps):
    order, labels = pace.order_exposures(stages, schedule="cumulative", max_steps=steps, batch_size=4, seed=0)
    shown = np.asarray(stages)[order].reshape(steps, 4).max(axis=1)
    assert (shown <= labels).all() and (np.diff(labels) >= 0).all()
    backwards, falling = pace.order_exposures(stages, schedule="reversed", max_steps=steps, batch_size=4, seed=0)
    assert (np.asarray(stages)[backwards].reshape(steps, 4).min(axis=1) >= falling).all()


@given(STAGES, st.integers(1, 60))
def test_sequential_shows_one_stage_at_a_time(stages, steps):
    order, labels = pace.order_exposures(stages, schedule="sequential", max_steps=steps, batch_size=4, seed=0)
    assert (np.asarray(stages)[order] == np.repeat(labels, 4)).all()


@given(STAGES, st.integers(1, 60))
def test_mixed_shows_every_example_equally_often(stages, steps):
    order, _ = pace.order_exposures(stages, schedule="mixed", max_steps=steps, batch_size=4, seed=0)
    counts = np.bincount(order, minlength=len(stages))
    assert counts.max() - counts.min() <= 1


def test_steps_are_shared_in_proportion_and_an_empty_stage_gives_its_steps_away():
    stages = [1] * 10 + [3] * 10
    _, labels = pace.order_exposures(stages, schedule="cumulative", max_steps=30, batch_size=1, seed=0)
    assert Counter(labels.tolist()) == {1: 10, 3: 20}


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=3), st.integers(3, 500))
def test_shares_add_up_and_none_is_starved(sizes, steps):
    shares = pace.share_optimizer_steps(sizes, steps)
    assert sum(shares) == steps and min(shares) >= 1
    exact = [size * steps / sum(sizes) for size in sizes]
    assert all(abs(share - e) < 2 for share, e in zip(shares, exact, strict=True))


def test_no_example_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        pace.order_exposures([], schedule="mixed", max_steps=1, batch_size=1, seed=0)


@given(STAGES, st.sampled_from(SCHEDULES), st.sampled_from([1.0, 2.0, 5.0]), st.integers(1, 9))
def test_with_epochs_every_example_is_seen_at_least_that_often_whatever_the_schedule(stages, schedule, epochs, batch):
    order, labels = pace.order_exposures(
        stages, schedule=schedule, max_steps=None, epochs=epochs, batch_size=batch, seed=0
    )
    counts = np.bincount(order, minlength=len(stages))
    if schedule == "mixed_matched":  # shuffled: its total is that of `cumulative`
        other, _ = pace.order_exposures(
            stages, schedule="cumulative", max_steps=None, epochs=epochs, batch_size=batch, seed=0
        )
        assert sorted(order) == sorted(other)
    assert counts.min() >= epochs
    passes = pace.count_passes(stages, schedule, labels, batch)
    smallest = min(len(examples) for _, examples in pace.build_stage_sets(stages, schedule))
    assert all(epochs <= value < epochs + batch / smallest for value in passes.values())


@given(STAGES, st.sampled_from(["cumulative", "sequential", "reversed"]), st.integers(3, 60), st.integers(1, 8))
def test_passes_say_how_often_the_examples_of_a_sets_own_stage_are_shown_in_it(stages, schedule, steps, batch):
    order, labels = pace.order_exposures(stages, schedule=schedule, max_steps=steps, batch_size=batch, seed=0)
    passes = pace.count_passes(stages, schedule, labels, batch)
    for stage, examples in pace.build_stage_sets(stages, schedule):
        shown = np.isin(order[np.repeat(labels == stage, batch)], examples).sum()
        assert passes[str(stage)] == pytest.approx(shown / len(examples))
    assert set(passes) == {str(stage) for stage in stages}


def test_a_fixed_number_of_steps_is_not_changed_by_epochs():
    for epochs in (1.0, 9.0):
        order, _ = pace.order_exposures(
            [1, 2, 3], schedule="cumulative", max_steps=10, epochs=epochs, batch_size=2, seed=0
        )
        assert len(order) == 20
