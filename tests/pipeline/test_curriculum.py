"""From examples to a curriculum: what cannot be trained on is refused."""

from __future__ import annotations

import pytest

from heal.errors import HealError
from heal.method.base import Example
from heal.pipeline.curriculum import build_row, check_examples
from tests.support.trace_folder import make_problems

QUESTIONS = {problem["problem_id"]: problem["question"] for problem in make_problems()}


@pytest.mark.parametrize(
    "example", [Example("p0", "", 1, "sample", "x"), Example("p0", "t", 1, "s", "x", float("nan"))]
)
def test_what_cannot_be_trained_on_is_refused(example):
    with pytest.raises(HealError, match="example 1"):
        list(check_examples([example], QUESTIONS, "method m"))
    with pytest.raises(HealError, match="no training example"):
        list(check_examples([], QUESTIONS, "method m"))


def test_the_prefix_holds_the_opening_of_a_thinking_block():
    example = Example("p0", "one\n\ntwo</think>three", 1, "continued", "x", prefix="one\n\n")
    assert build_row(example, QUESTIONS["p0"])["prefix"] == "<think>\none\n\n"
