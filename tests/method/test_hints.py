"""Hints without a model: each source says what its name says, and the content controls do not give the answer away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.config.experiment import Gear, Hint
from heal.errors import HealError
from heal.grading.grader import Grader
from heal.method.hints import HINTS, HintContext, choose_wrong_answer

CUT = {"kept_steps": 0}
ANSWERS = ["7", "12", "-3", "7.0", r"\frac{1}{2}", "0.5", r"\sqrt{2}", "(1,2)", "x+1", "12"]


@pytest.fixture(scope="module")
def grader():
    with Grader() as grader:
        yield grader


def make_problems(answers):
    return {f"p{i}": {"problem_id": f"p{i}", "answer": answer, "solution": None} for i, answer in enumerate(answers)}


def write_hint(source, problem, problems, grader, **options):
    context = HintContext(Gear(hint=Hint(source=source, **options)), problems, grader)
    return HINTS[source](CUT, problem, context)


def test_a_wrong_answer_is_another_problems_and_never_equals_the_gold_one(grader):
    problems = make_problems(ANSWERS)
    context = HintContext(Gear(), problems, grader)
    for problem in problems.values():
        answer = choose_wrong_answer(problem, context)
        assert answer in ANSWERS
        assert grader.compare(problem["answer"], answer) == "wrong"  # 7.0 is 7, and 0.5 is a half
        assert write_hint("wrong_answer", problem, problems, grader) == f"Hint: the answer is {answer}."


@given(st.lists(st.integers(0, 999), min_size=2, max_size=30, unique=True))
def test_the_wrong_answer_to_a_number_is_a_number_and_depends_on_the_problem_only(grader, numbers):
    problems = make_problems([r"\pi", *map(str, numbers)])
    context = HintContext(Gear(), problems, grader)
    backwards = HintContext(Gear(), dict(reversed(problems.items())), grader)
    for problem in list(problems.values())[1:]:
        answer = choose_wrong_answer(problem, context)
        assert answer.isdigit() and answer != problem["answer"]
        assert choose_wrong_answer(problem, backwards) == answer


def test_problems_get_different_wrong_answers(grader):
    problems = make_problems([str(number) for number in range(50)])
    context = HintContext(Gear(), problems, grader)
    assert len({choose_wrong_answer(problem, context) for problem in problems.values()}) > 20


def test_problems_with_one_answer_have_no_wrong_one(grader):
    problems = make_problems(["7", "7.0"])
    with pytest.raises(HealError, match="no problem has an answer other than '7'") as caught:
        choose_wrong_answer(problems["p0"], HintContext(Gear(), problems, grader))
    assert "problem p0" in str(caught.value)


@given(st.text("0123456789", min_size=1, max_size=60), st.lists(st.text("abc", min_size=1), min_size=1, max_size=5))
def test_noise_is_as_long_as_the_answer_hint_and_has_its_own_words_only(grader, answer, words):
    (problem,) = make_problems([answer]).values()
    noise = write_hint("noise", problem, {}, grader, noise_text=" ".join(words))
    longest = max(map(len, words)) + 1
    assert 0 <= len(noise) - len(write_hint("answer", problem, {}, grader)) <= longest
    assert set(noise.removesuffix(".").split()) <= set(words)


@pytest.mark.parametrize("source", ["noise", "retry", "none"])
def test_controls_without_an_answer_contain_no_number(source, grader):
    (problem,) = make_problems(["42"]).values()
    assert not any(character.isdigit() for character in write_hint(source, problem, {}, grader))


def test_only_the_control_without_a_hint_is_empty(grader):
    problems = make_problems(ANSWERS)
    for source in HINTS.keys() - {"solution"}:
        assert bool(write_hint(source, problems["p0"], problems, grader)) == (source != "none")


def test_a_hint_from_a_missing_solution_names_the_problem(grader):
    problems = make_problems(["7"])
    with pytest.raises(HealError, match="problem p0"):
        write_hint("solution", problems["p0"], problems, grader)
