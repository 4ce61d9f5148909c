"""What the step checker says of repairs, and intervals of shares."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.audits.checker_truth import Truth
from evals.audits.estimates import compute_mean, compute_ratio
from heal.errors import HealError
from tests.support.audit_factory import (
    TRUTH,
    make_repairs,
)


def test_errors_are_inherited_or_fresh_by_where_the_cut_was():
    assert {TRUTH.classify_error(row) for row in make_repairs(2, "valid")} == {"valid"}
    assert {TRUTH.classify_error(row) for row in make_repairs(2, "jump")} == {"fresh"}
    assert {TRUTH.classify_error(row) for row in make_repairs(3, "valid")} == {"inherited"}


def test_shares_of_zero_and_one_keep_a_width_and_groups_count():
    assert compute_ratio([1] * 8, [1] * 8, range(8)).low < 0.8
    narrow, wide = compute_mean([0, 1] * 50, range(100)), compute_mean([0, 1] * 50, np.repeat([0, 1, 2, 3, 4], 20))
    assert narrow.high - narrow.low > 0.1 and wide.mean == narrow.mean == 0.5
    clustered = compute_mean([0] * 50 + [1] * 50, np.repeat(range(10), 10))
    assert clustered.high - clustered.low > 2 * (narrow.high - narrow.low)
    assert math.isnan(compute_ratio([], [], []).mean)


def test_problems_of_another_world_are_refused():
    with pytest.raises(HealError, match="cannot be checked"):
        Truth([{"problem_id": "1", "question": "What is 1 + 1?"}])
