"""From examples to a curriculum: what cannot be trained on is refused."""

from __future__ import annotations

import pytest

from heal.errors import HealError
from heal.method.base import Example
from heal.pipeline import curriculum
from tests.support.trace_folder import make_problems


@pytest.mark.parametrize(
    "example", [Example("p0", "", 1, "sample", "x"), Example("p0", "t", 1, "s", "x", float("nan"))]
)
def test_what_cannot_be_trained_on_is_refused(example):
    with pytest.raises(HealError, match="example 1"):
        curriculum.rows([example], make_problems(), "method m")
    with pytest.raises(HealError, match="no training example"):
        curriculum.rows([], make_problems(), "method m")


def test_what_is_given_holds_the_opening_of_a_thinking_block():
    example = Example("p0", "one\n\ntwo</think>three", 1, "continued", "x", given="one\n\n")
    assert curriculum.rows([example], make_problems(), "m")[0]["given"] == "<think>\none\n\n"
