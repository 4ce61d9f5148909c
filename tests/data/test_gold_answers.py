"""Gold answers: what surrounds one is taken off, what stands for a missing one is refused, the rest is unchanged."""

from __future__ import annotations

import json

import pytest

from heal.data.gold_answers import COMMANDS, extract_gold_answer, restore_commands, write_number
from heal.errors import HealError
from heal.grading.grader import check_gold


def write_with_single_backslashes(text: str) -> str:
    """What a JSON reader makes of a text whose backslashes nobody doubled."""
    return json.loads(f'"{text}"')


@pytest.mark.parametrize(
    "gold", ["42", "-3", "\\frac{1}{2}", "0.5", "x=3", "12,13", "\\text{east}", "C", "0.999...", "3 (mod 7)"]
)
def test_dressing_is_taken_off_and_bare_answers_stay(gold: str) -> None:
    for dressed in (gold, f"{gold}.", f"${gold}$", f"${gold}.$", f"${gold}$.", f" \\({gold}\\) ", f"\\[{gold}.\\]"):
        if not (gold.endswith(".") and dressed != gold):
            assert extract_gold_answer(dressed, "plain") == gold


@pytest.mark.parametrize(
    ("dressed", "form", "gold"),
    [
        ("9 (apples)", "plain", "9"),
        ("€5", "plain", "5"),
        ("1,200 £", "plain", "1,200"),
        ("C. {x \\mid -3<x<4}", "plain", "C"),
        ("(B) 42 m", "plain", "B"),
        ("$x=3$ or $x=-2$", "plain", "$x=3$ or $x=-2$"),
        ("3 p.m.", "plain", "3 p.m."),
        ("1e+16", "plain", "10000000000000000"),
        ("1.5e-07", "plain", "0.00000015"),
        ("so\n#### €5", "plain", "5"),
        ("#### Step 1\nAdd.\n#### Step 2\nSo 5", "plain", "5"),
        ("The roots are $\\boxed{2}$ and $\\boxed{9}$.", "boxed", "2, 9"),
        ("$\\boxed{2}$, $\\boxed{\\frac{1}{2}}$ or \\boxed{9}", "boxed", "2, \\frac{1}{2}, 9"),
        ("\\boxed{1} is off by one: \\boxed{2}", "boxed", "2"),
        ("So $\\boxed{5}$.\n\nAnswer: $\\boxed{5}$", "boxed", "5"),
        ("27.0", "integer", "27"),
    ],
)
def test_the_gold_answer_of_each_form(dressed: str, form: str, gold: str) -> None:
    assert extract_gold_answer(dressed, form) == gold


@pytest.mark.parametrize("word", ["proof", "Proof.", "\\text{proof}", "notfound", "not found", "see solution", "[TBD]"])
def test_a_word_for_a_missing_answer_is_refused(word: str) -> None:
    with pytest.raises(HealError, match="stands for a missing value"):
        check_gold(extract_gold_answer(word, "plain"))


@pytest.mark.parametrize("word", ["\\text{Evelyn}", "no solution", "Tuesday", "true", "prime"])
def test_a_word_that_is_an_answer_is_kept(word: str) -> None:
    assert extract_gold_answer(word, "plain") == word


def test_headings_above_prose_are_no_answer() -> None:
    with pytest.raises(HealError, match="marks headings"):
        extract_gold_answer("#### Step 1\nAdd 2 and 3.\n#### Step 2\nSo 5 or 6", "plain")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_backslash_json_took_for_an_escape_is_restored(command: str) -> None:
    lost = write_with_single_backslashes(f"2\\{command}{{1}}")
    assert lost != f"2\\{command}{{1}}"
    assert extract_gold_answer(lost, "plain") == f"2\\{command}{{1}}"


def test_line_breaks_and_tabs_of_prose_stay() -> None:
    prose = "A line\nu is 3\n\tan apple\nnot one\nexists\r\nnight"
    assert restore_commands(prose, prose=True) == prose
    assert restore_commands("What is \frac{1}{2}\times 3?", prose=True) == "What is \\frac{1}{2}\\times 3?"


@pytest.mark.parametrize(
    ("value", "text"),
    [(27.0, "27"), (-0.5, "-0.5"), (1e16, "10000000000000000"), (1.5e-7, "0.00000015"), (1e22, "1" + "0" * 22)],
)
def test_numbers_are_written_without_exponent(value: float, text: str) -> None:
    assert write_number(value) == text and float(text) == value
