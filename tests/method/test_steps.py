"""Laws of steps: they partition the tokens of the thinking block."""

from hypothesis import given
from hypothesis import strategies as st

from heal.method.steps import split

PIECES = st.lists(st.sampled_from(["a", "b c", ".", "\n", "\n\n", ".\n\n", "\n\n\n", " \n \n", ""]), max_size=30)


@given(PIECES, st.integers(1, 5))
def test_steps_partition_the_tokens(pieces, shortest):
    steps = split(pieces, shortest)
    assert "".join(step.text for step in steps) == "".join(pieces)
    borders = [0, *(step.end for step in steps)]
    assert [step.start for step in steps] == borders[:-1] and (borders[-1] == len(pieces) if pieces else not steps)
    assert all(step.end - step.start >= shortest for step in steps[:-1])


@given(PIECES)
def test_a_step_ends_with_its_blank_line(pieces):
    for step in split(pieces)[:-1]:
        assert "\n" in step.text.rstrip(" ")[-3:]


def test_a_token_belongs_to_the_step_in_which_it_starts():
    assert [step.text for step in split(["one", ".\n\ntwo", " three\n\n", "four"])] == [
        "one.\n\ntwo",
        " three\n\n",
        "four",
    ]
    assert [step.text for step in split(["one", "\n\n", "\n", "two"])] == ["one\n\n\n", "two"]
    assert [step.text for step in split(["one.", "two"])] == ["one.two"]


def test_only_the_thinking_block_is_split():
    steps = split(["<think>", "one", "\n\n", "two", "</think>", "answer", "\n\n", "more"])
    assert [step.text for step in steps] == ["<think>one\n\n", "two"]


def test_a_short_step_joins_the_next():
    assert [step.text for step in split(["Wait", "\n\n", "a", "b", "c", "\n\n", "d"], 3)] == ["Wait\n\nabc\n\n", "d"]
