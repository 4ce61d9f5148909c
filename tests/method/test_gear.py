"""Laws of surges, breakpoints, detectors and cuts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.config.experiment import Gear
from heal.errors import HealError
from heal.method import gear
from heal.method.detectors import check_detector, find_detectors, list_detectors, make_detector
from heal.method.detectors.base import WrongTrace, find_maximum, limit_search
from heal.method.detectors.TEMPLATE import LongestStep
from heal.method.entropy import aggregate_steps, compute_surges
from heal.method.steps import Step


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30), st.floats(0.01, 1), st.floats(-5, 5))
def test_breakpoint_is_the_earliest_maximum_and_ignores_scale(scores, fraction, shift):
    k = find_maximum(np.array(scores), fraction)
    window = scores[: limit_search(len(scores), fraction)]
    assert 1 <= k <= max(2, math.ceil(fraction * len(scores))) and window.index(max(window)) == k - 1
    assert find_maximum(np.array(scores) * 4.0, fraction) == k


def test_breakpoint_needs_the_smallest_surge_and_steps():
    assert find_maximum(np.array([0.1, 0.2]), 1.0, minimum=0.3) is None
    assert find_maximum(np.array([]), 1.0) is None
    assert [limit_search(k, 1 / 3) for k in (1, 2, 3, 6, 7, 9, 10)] == [1, 2, 2, 2, 3, 3, 4]


def test_surge_of_the_first_step_is_taken_against_correct_traces():
    assert compute_surges(np.array([2.0, 3.0, 1.0]), 1.5).tolist() == [0.5, 1.0, -2.0]


@pytest.mark.parametrize(("rewind", "kept_steps"), [(1, 3), (0, 4), (2, 2)])
def test_rewind(rewind, kept_steps):
    assert gear.count_kept_steps(4, rewind) == kept_steps
    assert gear.count_kept_steps(1, rewind) >= 0


def get_texts(token_ids):
    """Steps of three tokens, the last one a blank line."""
    return [("w", "w", "\n\n")[number % 3] for number in range(len(token_ids))]


def make_trace(name, entropies, words=3):
    """A wrong trace with one step per entropy, `words` tokens each."""
    steps = [Step(i * words, (i + 1) * words, f"step {i}") for i in range(len(entropies))]
    row = {"trace_id": name, "problem_id": f"p{name}", "index": 0, "token_ids": list(range(words * len(entropies)))}
    values = np.repeat(entropies, words)
    row |= {"entropies": values, "entropies_upper": None, "logprobs": -values, "finish_reason": "stop"}
    entropies_K = aggregate_steps(row["entropies"], steps, "mean")
    return WrongTrace(row, "question", steps, entropies_K, compute_surges(entropies_K, 0.0))


TRACES = [make_trace(str(i), np.random.default_rng(i).uniform(0.1, 2, 9)) for i in range(40)]


def find_breakpoints(traces, options, seed, first_wrong_step=None):
    return make_detector(options.detector).find(traces, options, seed, first_wrong_step)


@pytest.mark.parametrize("detector", [name for name in list_detectors() if name != "oracle"])
def test_every_detector_stays_in_the_window_and_does_not_depend_on_the_other_traces_order(detector):
    options = Gear(detector=detector, min_surge_nats=-math.inf)
    breakpoints = find_breakpoints(TRACES, options, seed=1)
    assert all(1 <= k <= 3 for k in breakpoints)
    if detector != "position_matched":
        assert find_breakpoints(TRACES[::-1], options, seed=1) == breakpoints[::-1]


def test_position_matched_keeps_the_positions_and_loses_the_traces():
    options = Gear(search_fraction=1.0)
    surge = find_breakpoints(TRACES, options, seed=1)
    matched = find_breakpoints(TRACES, options.model_copy(update={"detector": "position_matched"}), seed=1)
    assert sorted(matched) == sorted(surge) and matched != surge


def test_the_surging_step_is_found_and_dropped():
    spiked = make_trace("x", [0.2, 0.2, 2.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2])
    assert find_breakpoints([spiked], Gear(), seed=0) == [3]
    cut = gear.Cut(spiked, 3, gear.count_kept_steps(3, 1))
    assert cut.kept_tokens == 6


def test_detectors_are_found_and_the_template_is_a_complete_one_that_is_not():
    assert {"entropy_surge", "random", "oracle"} < set(find_detectors()) and "longest_step" not in find_detectors()
    assert all(make_detector(name).name == name for name in list_detectors())
    assert LongestStep().find(TRACES, Gear(search_fraction=1.0), seed=0)


def test_an_unknown_detector_gets_the_nearest_name():
    check_detector("random", "a.yaml", "gear.detector")
    with pytest.raises(HealError, match="gear.detector: unknown detector 'entropy_surg'") as caught:
        check_detector("entropy_surg", "a.yaml", "gear.detector")
    assert caught.value.fix == "did you mean 'entropy_surge'?"
    with pytest.raises(HealError, match="unknown detector"):
        gear.select_cuts([], [], [], lambda ids: [], Gear(detector="entropy_surg"), 0)


def test_oracle_needs_a_checker():
    with pytest.raises(HealError, match="checker"):
        find_breakpoints(TRACES, Gear(detector="oracle"), seed=0)
    assert find_breakpoints(TRACES[:2], Gear(detector="oracle"), 0, lambda trace: 7) == [7, 7]


def make_grades(problem, corrects, answers):
    return [
        {"problem_id": problem, "trace_id": f"{problem}{i}", "correct": c, "extracted": a, "reason": ""}
        for i, (c, a) in enumerate(zip(corrects, answers, strict=True))
    ]


def test_treated_are_the_problems_at_the_ceiling_and_suspects_are_skipped():
    grades = make_grades("solved", [True] * 4, "1111") + make_grades("once", [True, False, False, False], "1234")
    grades += make_grades("never", [False] * 4, "1234") + make_grades("suspect", [False] * 4, "7777")
    assert gear.select_treated_problems(grades, 0.0, 0.8) == (["never"], ["suspect"])
    assert gear.select_treated_problems(grades, 0.25, 1.0) == (["once", "never", "suspect"], [])
    assert gear.select_treated_problems(grades[::-1], 0.25, 0.8)[1] == ["suspect"]


def test_wrong_traces_are_chosen_in_order_and_truncated_ones_left_out():
    rows = [make_trace(str(i), [0.5] * n).row | {"index": i} for i, n in enumerate((5, 2, 4))]
    rows[0]["finish_reason"] = "length"
    chosen = gear.choose_traces(rows, Gear(traces_per_problem=2))
    assert [row["index"] for row in chosen] == [1, 2]
    assert [row["index"] for row in gear.choose_traces(rows, Gear(repair_truncated=True, traces_per_problem=1))] == [0]
    assert [row["index"] for row in gear.choose_traces(rows, Gear(order="shortest"))] == [1, 2]


def test_cuts_leave_solved_problems_alone():
    problems = [{"problem_id": "p", "question": "q"}]
    samples = [TRACES[0].row | {"problem_id": "p"}]
    right = [{"problem_id": "p", "trace_id": TRACES[0].row["trace_id"], "correct": True, "extracted": "1"}]
    assert gear.select_cuts(problems, samples, right, get_texts, Gear(min_step_tokens=1), 0) == []
    wrong = [right[0] | {"correct": False}]
    assert gear.select_cuts(problems, samples, wrong, get_texts, Gear(min_step_tokens=1), 0) == []  # suspect
    cuts = gear.select_cuts(problems, samples, wrong, get_texts, Gear(min_step_tokens=1, max_wrong_agreement=1.0), 0)
    assert len(cuts) == 1 and cuts[0].kept_steps == cuts[0].breakpoint - 1


@pytest.mark.parametrize(("upper", "certain"), [(1.0, True), (5.0, False)])
def test_a_cut_is_certain_where_both_bounds_of_the_entropies_agree(upper, certain):
    """Step 2 surges by the lower bounds; an upper bound of 1 nat in step 3 leaves it there, one of 5 does not."""
    low, high = np.array([0.1, 2.0, 0.1] + [0.1] * 6), np.array([0.1, 2.0, upper] + [0.1] * 6)
    row = make_trace("a", low).row | {"entropies_upper": np.repeat(high, 3), "problem_id": "p"}
    grades = [{"problem_id": "p", "trace_id": "a", "correct": False, "extracted": "1"}]
    options = Gear(min_step_tokens=1, max_wrong_agreement=1.0)
    problems = [{"problem_id": "p", "question": "q"}]
    (cut,) = gear.select_cuts(problems, [row], grades, get_texts, options, 0)
    assert cut.breakpoint == 2 and cut.certain is certain
    (exact,) = gear.select_cuts(problems, [row | {"entropies_upper": None}], grades, get_texts, options, 0)
    assert exact.certain is None and exact.breakpoint == 2


@given(st.text())
def test_leaks_are_found_in_any_case(text):
    assert gear.has_leak(f"{text} as the HINT says", Gear().leak_patterns)
    assert not gear.has_leak("The answer is 7.", Gear().leak_patterns)
