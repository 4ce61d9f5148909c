"""The audit of GEAR: cuts against the first wrong step, repairs per teacher token, entropy as a mark of errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.audits import gear as gear_audit
from heal.errors import HealError
from tests.support.audit_factory import (
    BY_ID,
    SAMPLES,
    TRUTH,
    USAGE,
    N,
    get_value,
    make_entropies,
    make_repairs,
)
from tests.support.run_factory import make_repair


@pytest.mark.parametrize(
    ("kept_steps", "distance", "prefix"), [(0, -2, 0.0), (1, -1, 0.5), (2, 0, 1.0), (3, 1, 1.0), (4, 2, 1.0)]
)
def test_cuts_are_measured_against_the_first_wrong_step(kept_steps, distance, prefix):
    quantities = gear_audit.measure_cuts(make_repairs(kept_steps, "valid"), BY_ID, TRUTH)
    assert get_value(quantities, "exact") == (distance == 0)
    assert get_value(quantities, "distance in steps") == distance
    assert get_value(quantities, "after the error") == (distance > 0)
    assert get_value(quantities, "share of right prefix kept") == prefix
    assert get_value(quantities, "restart") == (kept_steps == 0)
    assert math.isnan(get_value(quantities, "exact, without restarts")) == (kept_steps == 0)
    assert get_value(quantities, f"distance {distance:+d}" if distance else "distance 0") == 1


def test_repairs_of_one_trace_share_one_cut_and_traces_without_breakpoint_are_no_cuts():
    twice = make_repairs(2, "valid") + make_repairs(2, "jump")
    none = [make_repair(SAMPLES[0], None, [])]
    assert gear_audit.measure_cuts(twice, BY_ID, TRUTH)["exact"].n == N
    quantities = gear_audit.measure_cuts(twice[1:N] + none, BY_ID, TRUTH)
    assert quantities["exact"].n == N - 1
    assert get_value(quantities, "breakpoint found") == pytest.approx((N - 1) / N)


def test_valid_repairs_per_token_count_rejected_repairs_tokens():
    rows = make_repairs(2, "alternate")
    quantities = gear_audit.measure_repairs(rows, USAGE, TRUTH)
    assert get_value(quantities, "valid of accepted") == 0.5
    assert get_value(quantities, "fresh error of accepted") == 0.5
    assert get_value(quantities, "inherited error of accepted") == 0
    assert get_value(quantities, "valid repairs per 1,000 teacher tokens") == pytest.approx(1000 * N / 2 / 2500)
    rejected = [row | {"accepted": False} for row in make_repairs(2, "jump")]
    more = gear_audit.measure_repairs(rows + rejected, {"prefill": 500, "generated": 4000}, TRUTH)
    assert get_value(more, "valid repairs per 1,000 teacher tokens") == pytest.approx(1000 * N / 2 / 4500)
    assert get_value(more, "accepted") == 0.5


def test_cut_at_the_error_beats_other_cuts_and_order_does_not_matter():
    exact = gear_audit.measure_repairs(make_repairs(2, "valid"), USAGE, TRUTH)
    late = gear_audit.measure_repairs(make_repairs(4, "valid"), USAGE, TRUTH)
    primary = "valid repairs per 1,000 teacher tokens"
    assert get_value(exact, primary) > get_value(late, primary) == 0
    assert gear_audit.measure_repairs(make_repairs(2, "valid")[::-1], USAGE, TRUTH) == exact


def test_a_repairs_file_without_costs_is_refused():
    with pytest.raises(HealError, match="does not say what it cost"):
        gear_audit.measure_repairs(make_repairs(2, "valid"), {}, TRUTH)


def test_entropy_marks_the_error_only_where_it_does():
    marked = gear_audit.measure_entropy(make_repairs(2, "valid"), BY_ID, TRUTH)
    assert get_value(marked, "AUROC of step entropy for the first wrong step") == 1
    assert get_value(marked, "largest surge is a wrong step") == 1
    rng = np.random.default_rng(3)
    loud = [
        row
        | {
            "step_entropies": np.array(e := make_entropies(len(row["step_entropies"]), 1, rng)),
            "surges": np.array(e) - 0.3,
        }
        for row in make_repairs(2, "valid")
    ]
    quiet = gear_audit.measure_entropy(loud, BY_ID, TRUTH)
    assert get_value(quiet, "largest surge is a wrong step") == 0
    assert get_value(quiet, "AUROC of step entropy for the first wrong step") < 0.7
