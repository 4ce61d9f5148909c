"""From examples to a curriculum: what cannot be trained on is refused."""

from __future__ import annotations

import itertools

import pytest

from heal.errors import HealError
from heal.method.base import Example, Traces
from heal.pipeline.curriculum import build_row, build_rows, check_examples, is_valid
from tests.support.trace_folder import METHODS, STUDENT, make_problems

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


def test_a_row_is_written_before_the_next_example_is_made():
    made = []

    class Endless:
        name = "endless"

        def build_curriculum(self, traces):
            for number in itertools.count():
                made.append(number)
                yield Example("p0", f"text {number}", 1, "sample", str(number))

    class OneProblem:
        problems = make_problems()[:1]

    for number, row in enumerate(itertools.islice(build_rows(Endless(), OneProblem()), 5)):
        assert row["origin_id"] == str(number) and made == list(range(number + 1))


@pytest.mark.parametrize("name", METHODS)
def test_no_method_makes_all_examples_at_once(name, trace_folder):
    method = METHODS[name]
    examples = method.build_curriculum(
        Traces(trace_folder, trace_folder / "train.parquet", method.needs(), 0, STUDENT, is_valid)
    )
    assert iter(examples) is iter(examples)  # no list
