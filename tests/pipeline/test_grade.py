"""Grades of samples: right where the boxed answer verifies and the trace ended by itself."""

import pytest

from heal.pipeline.grade import grade_samples


@pytest.mark.parametrize(
    ("text", "finish_reason", "correct", "reason"),
    [
        ("so \\boxed{5}", "stop", True, ""),
        ("so \\boxed{5}", "length", False, "truncated"),
        ("<think>\nso \\boxed{5}", "stop", False, "truncated"),
        ("<think>\nso \\boxed{4}</think>\n\n\\boxed{5}", "stop", True, ""),
        ("so \\boxed{4}", "stop", False, "wrong"),
    ],
)
def test_a_cut_off_sample_is_wrong_whatever_it_boxes(text, finish_reason, correct, reason):
    sample = {"trace_id": "t", "problem_id": "p", "text": text, "finish_reason": finish_reason}
    (grade,) = grade_samples([{"problem_id": "p", "answer": "5"}], [sample])
    assert (grade["correct"], grade["reason"]) == (correct, reason)
