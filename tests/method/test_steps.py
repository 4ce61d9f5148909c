"""Laws of steps: they partition the tokens of the thinking block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.method.steps import (
    TokenTexts,
    find_first_step,
    find_statement,
    is_thinking_cut_off,
    list_boxes,
    split,
    split_text,
)

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


TEXTS = st.lists(st.sampled_from(["a", "$$", ".", "\n", "\n\n", " ", "  ", "\t", "- b"]), max_size=40).map("".join)


@st.composite
def make_tokens(draw):
    """A random text, cut into tokens at random places: some straddle the border of a step."""
    text = draw(TEXTS)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=20)))
    borders = [0, *cuts, len(text)]
    return [text[start:end] for start, end in zip(borders, borders[1:], strict=False)]


def assert_no_dangling_words(steps):
    """Kept steps end behind a blank line; the next step has its own indentation and first word."""
    for number, step in enumerate(steps[:-1], 1):
        kept = "".join(one.text for one in steps[:number])
        rest = "".join(one.text for one in steps[number:])
        last_line = kept.rpartition("\n")[2]
        assert not last_line.strip() and kept[: len(kept) - len(last_line)].rstrip(" \t\n") != kept
        assert "\n" not in rest[: len(rest) - len(rest.lstrip())], step


@given(make_tokens(), st.integers(1, 4))
def test_no_cut_lands_behind_a_dangling_word_or_in_front_of_a_newline(pieces, shortest):
    steps = split(pieces, shortest)
    assert "".join(step.text for step in steps) == "".join(pieces)
    assert_no_dangling_words([step for step in steps if step.text.strip()])


@given(TEXTS)
def test_with_a_token_per_character_the_steps_are_the_texts_between_blank_lines(text):
    steps = [step.text.strip() for step in split(list(text)) if step.text.strip()]
    assert steps == split_text(text)


def test_indentation_and_the_first_word_belong_to_the_next_step():
    """The tokens of Qwen's vocabulary for these texts."""
    steps = split(["So", ":\n\n", "  ", " $$", "x", "$$\n\n", "-", " y"])
    assert [step.text for step in steps] == ["So:\n\n", "   $$x$$\n\n", "- y"]
    assert [step.text for step in split(["one", ".\n\n", " -", " two"])] == ["one.\n\n", " - two"]
    assert [step.text for step in split(["one", "\n\n ", "\n  ", "two"])] == ["one\n\n \n  ", "two"]


def test_a_token_that_holds_the_border_and_words_after_it_joins_the_steps():
    steps = split(["one", ".\n\ntwo", " three\n\n", "four"])
    assert [step.text for step in steps] == ["one.\n\ntwo three\n\n", "four"]
    assert [step.text for step in split(["one", "\n\n", "\n", "two"])] == ["one\n\n\n", "two"]
    assert [step.text for step in split(["one.", "two"])] == ["one.two"]


@given(make_tokens(), st.integers(1, 4))
def test_the_first_step_of_a_prefix_is_that_of_the_whole_trace(pieces, shortest):
    pieces = pieces * 9  # longer than what is read first
    get_texts = lambda numbers: [pieces[number] for number in numbers]  # noqa: E731
    whole = split(pieces, shortest)
    assert find_first_step(range(len(pieces)), get_texts, shortest) == (whole[0] if whole else None)


def test_only_the_beginning_of_a_long_trace_is_read():
    read = []

    def get_texts(numbers):
        read.append(len(numbers))
        return ["\n\n" if number % 10 == 9 else "word" for number in numbers]

    assert find_first_step(range(100_000), get_texts).end == 10 and max(read) < 100


def test_a_token_is_decoded_once():
    class Tokenizer:
        decoded = []

        def decode(self, ids, skip_special_tokens):
            self.decoded += ids
            return f" {ids[0]}"

    get_texts = TokenTexts(Tokenizer())
    assert get_texts(np.array([3, 5, 3], np.int32)) == [" 3", " 5", " 3"] == get_texts([3, 5, 3])
    assert Tokenizer.decoded == [3, 5]


def test_only_the_thinking_block_is_split():
    steps = split(["<think>", "one", "\n\n", "two", "</think>", "answer", "\n\n", "more"])
    assert [step.text for step in steps] == ["<think>one\n\n", "two"]


def test_a_short_step_joins_the_next():
    assert [step.text for step in split(["Wait", "\n\n", "a", "b", "c", "\n\n", "d"], 3)] == ["Wait\n\nabc\n\n", "d"]


@pytest.mark.parametrize(
    ("texts", "statement"),
    [
        (["I put it into \\boxed{}.", "2 + 3", "\\boxed{5}"], 3),
        (["Write \\boxed{answer}.", "So \\boxed{5 }?", "Yes: \\boxed{5}."], 2),
        (["First \\boxed{4}", "no, \\boxed{5}"], 2),
        (["\\boxed{\\frac{1}{2}}", "again \\boxed{ \\frac{1}{2}}"], 1),
        (["\\boxed{}", "no box"], None),
        (["no box"], None),
        (["\\boxed{5"], None),
    ],
)
def test_the_statement_is_the_first_step_that_boxes_the_final_answer(texts, statement):
    steps = split([f"{text}\n\n" for text in texts])
    assert find_statement(steps, "".join(step.text for step in steps)) == statement


def test_the_final_answer_of_a_thinking_trace_stands_behind_the_block():
    pieces = ["<think>", "\\boxed{4}", "\n\n", "\\boxed{5}", "\n\n", "end", "</think>", "\\boxed{5}"]
    assert find_statement(split(pieces), "".join(pieces)) == 2


def test_boxes_take_linear_time():
    assert list_boxes("\\boxed{" * 200_000) == []
    assert list_boxes("\\boxed{\\boxed{1} and \\fbox{2}}") == ["\\boxed{1}and\\fbox{2}", "1", "2"]


def test_a_block_that_stays_open_was_cut_off():
    assert is_thinking_cut_off("<think>\nso \\boxed{5}")
    assert not is_thinking_cut_off("<think>\nso</think> \\boxed{5}") and not is_thinking_cut_off("\\boxed{5}")
