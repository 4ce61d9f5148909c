"""Laws of the checker of word problems: equations as people write them, sources of numbers, and the audits on it."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.audits import gear as gear_audit
from evals.audits.checker_truth import Truth
from heal.errors import HealError
from heal.method.steps import split_text
from heal.records import Row
from heal.worlds import registry as worlds
from heal.worlds.base import Problem
from heal.worlds.gsm_symbolic import checker
from heal.worlds.gsm_symbolic.equations import compute, find_claims, tokenize

SHELLS: Row = {
    "problem_id": "shells",
    "question": "Ann has 3 bags of 14 shells and finds 8 more every day for 2 weeks. How many shells has she then?",
    "answer": "154",
    "solution": "Ann starts with 3 * 14 shells/bag = 42 shells\n\nShe finds 8 shells x 7 days/week = 56 shells\n\n"
    "In 2 weeks that is 56 x 2 = 112 shells\n\nSo she has 42 + 112 = 154 shells\n\nThe answer is \\boxed{154}.",
    "source": "gsm_symbolic/template0",
    "difficulty": "easy",
}
STEPS = split_text(SHELLS["solution"])


def check_steps(row: Row, steps: list[str]) -> list[bool]:
    return checker.check_steps(Problem.from_row(row), steps)


def find_first_wrong_step(row: Row, steps: list[str]) -> int | None:
    return checker.find_first_wrong_step(Problem.from_row(row), steps)


def check_claims(text: str) -> list[bool]:
    return [claim.true for claim in find_claims(text)]


@pytest.mark.parametrize(
    "text",
    [
        "120 clams / 5 clams/minute = 24 minutes",
        "She pays $420,000 x 6/100 = $25,200.",
        "14 yards * (3 feet / 1 yards) = 42 feet",
        "the perimeter is 2(54+42) = 192",
        "Warm: 5+2(17)=39.",
        "it takes her 13÷1/2=26 minutes",
        "100% - 40% = 60% of the quiz",
        "81 spools / 180 spools * 100% = 45%",
        "a fifth is 1/5 × 5,000 = 1000",
        "9 loaves of bread cost 9 * €2 = €18",
        "10 / 3 = 3.33",
        "88 years - 90 years = -2 years old",
        "so (24 + 32 = 56) it is",
        "Sarah = 0.5 * 212 + 6 = 112 points",
        "There are 2 bags\n\n- 3 * 4 shells = 12 shells",
        "She has 2 bags\n\n(3 + 4) * 2 = 14 shells",
    ],
)
def test_equations_are_read_as_people_write_them_and_a_changed_result_is_untrue(text):
    assert check_claims(text) == [True]
    last = list(re.finditer(r"\d+", text.partition("=")[2] if text.count("=") == 1 else text.rpartition("=")[2]))[0]
    at = text.rfind("=") + 1 + last.start()
    assert check_claims(f"{text[:at]}9{text[at:]}") == [False]


@pytest.mark.parametrize(
    "text",
    [
        "2x + 90 = 228",
        "1 hour = 60 minutes",
        "He has 12\n\nhalf * 154 = 77",
        "Total - 5 = 8",
        "T = 4",
        "= 3",
        "5 / 0 = 1",
    ],
)
def test_what_cannot_be_computed_is_no_claim(text):
    assert check_claims(text) == []


def render(tree) -> tuple[str, Fraction]:
    """An expression tree as text with units, and its value."""
    if isinstance(tree, int):
        return f"{tree:,} apples", Fraction(tree)
    sign, *parts = tree
    (left_text, a), (right_text, b) = map(render, parts)
    return f"({left_text} {sign} {right_text})", {"+": a + b, "-": a - b, "*": a * b}[sign]


TREES = st.recursive(
    st.integers(0, 99_999), lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=8
)


@settings(max_examples=200, deadline=None)
@given(TREES.filter(lambda tree: not isinstance(tree, int)), st.integers(1, 50))
def test_an_expression_has_the_value_that_arithmetic_gives(tree, slip):
    text, value = render(tree)
    if len(str(value)) <= 15:
        assert check_claims(f"That is {text} = {value} apples in all") == [True]
        assert check_claims(f"That is {text} = {value + slip} apples in all") == [False]
    assert compute([token for token in tokenize(text) if token[0] != "w"]) == value


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text() | st.text("0123456789 -+=*/().,%$x×÷\n{}\\boxed aT")))
def test_the_checker_takes_any_trace(steps):
    assert len(check_steps(SHELLS, steps)) == len(steps)


def test_a_long_trace_is_checked_in_little_time():
    for piece in ("1+", "((", "1 a ", "-", "9" * 50, "1/1/", "5 - which "):
        check_steps(SHELLS, [piece * 2000 + "= 4"])


def test_the_worked_solution_is_valid_and_stays_so_without_blank_lines_in_a_step():
    assert check_steps(SHELLS, STEPS) == [True] * 5
    assert check_steps(SHELLS, ["\n\n".join(STEPS[:3]), "\n\n".join(STEPS[3:])]) == [True, True]


def test_a_jump_to_a_value_is_not_valid_but_what_rests_on_it_is():
    assert check_steps(SHELLS, [STEPS[0], "So she has 154 shells.", STEPS[4]]) == [True, False, True]
    assert check_steps(SHELLS, [STEPS[0], STEPS[4]]) == [True, False]


def test_a_skipped_step_shows_where_its_value_is_used():
    assert find_first_wrong_step(SHELLS, STEPS[1:]) == 3
    assert find_first_wrong_step(SHELLS, [STEPS[0], *STEPS[2:]]) == 2


def test_after_a_wrong_number_true_equations_from_it_are_valid_but_not_the_answer():
    wrong = ["She starts with 3 * 14 = 43 shells", *STEPS[1:3], "So she has 43 + 112 = 155 shells"]
    assert check_steps(SHELLS, [*wrong, "The answer is \\boxed{155}."]) == [False, True, True, True, False]


def test_true_equations_that_lead_elsewhere_and_numbers_from_nowhere_are_not_valid():
    assert check_steps(SHELLS, ["She has 3 + 14 = 17 shells"]) == [False]
    assert check_steps(SHELLS, ["There are 365 days in a year."]) == [False]
    assert check_steps(SHELLS, ["Let us look at the 3 bags.", "1. First the week, the 1st: 7 days"]) == [True, True]


@pytest.mark.parametrize(
    ("box", "right"), [("154", True), ("154.0", True), ("\\$154", True), ("15", False), ("-154", False), ("", False)]
)
def test_only_the_gold_answer_may_be_boxed(box, right):
    assert check_steps(SHELLS, [*STEPS[:4], f"So \\boxed{{{box}}}"])[-1] == right


def test_each_world_has_its_checker_and_others_have_none():
    assert worlds.is_checkable([SHELLS]) and worlds.find_withheld_steps(SHELLS) is None
    assert worlds.find_first_wrong_step(SHELLS, STEPS[1:]) == 3
    for other in (SHELLS | {"source": "openai/gsm8k"}, SHELLS | {"solution": None}, SHELLS | {"source": "mini/train"}):
        with pytest.raises(HealError, match=r"(?s)problem shells.*cannot be checked.*gsm_symbolic, mini"):
            worlds.check_steps(other, STEPS)


def make_repair(kept_steps: int, text: str, name: str) -> Row:
    before = "\n\n".join(STEPS[:kept_steps])
    wrong = [0.1, 0.1, 0.1, 2.0, 0.1]
    return {"problem_id": "shells", "source_id": "s", "trace_id": name, "kept": before, "text": text} | {
        "breakpoint": kept_steps + 1, "accepted": True, "step_entropies": wrong, "surges": wrong
    }  # fmt: skip


def test_audits_judge_word_problems_and_leave_out_what_only_mini_has():
    truth = Truth([SHELLS])
    wrong = "\n\n".join([*STEPS[:3], "So she has 42 + 112 = 150 shells", "The answer is \\boxed{150}."])
    rows = [make_repair(3, SHELLS["solution"], "valid"), make_repair(3, f"{STEPS[0]}\n\n{STEPS[4]}", "jump")]
    samples = {"s": {"trace_id": "s", "problem_id": "shells", "text": wrong}}
    quantities = gear_audit.measure_entropy(rows, samples, truth)
    assert not any("withheld" in name for name in quantities)
    assert quantities["entropy of right steps, nats"].interval.mean == pytest.approx(0.1)
    assert quantities["largest surge is a wrong step"].interval.mean == 1
    assert gear_audit.measure_cuts(rows, samples, truth)["exact"].interval.mean == 1
    assert [truth.classify_error(row) for row in rows] == ["valid", "inherited"]
    assert [truth.is_valid(row) for row in rows] == [True, False]
