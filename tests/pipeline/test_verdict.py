"""Why a trace is accepted or not."""

import pytest

from heal.config.experiment import Gear
from heal.grading.grader import Grader
from heal.pipeline.verdict import judge_trace


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("x = \\boxed{5}", "stop", ""),
        ("x = \\boxed{5}", "length", "truncated"),
        ("x = \\boxed{6}", "stop", "wrong"),
        ("As the hint says, x = \\boxed{5}", "stop", "leak"),
        ("", "stop", "no_answer"),
        ("<think>\nso \\boxed{5}", "stop", "truncated"),
        ("<think>\nso \\boxed{5}", "length", "truncated"),
        ("<think>\nso \\boxed{4}</think> \\boxed{5}", "stop", ""),
        ("no end in sight " * 50, "length", "truncated"),
    ],
)
def test_verdicts(text, finish, reason):
    with Grader() as grader:
        verdict = judge_trace(text, "5", finish, Gear().leak_patterns, grader)
    assert verdict["reason"] == reason and verdict["accepted"] == (reason == "")
