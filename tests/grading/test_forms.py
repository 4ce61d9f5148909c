"""Spellings of answers, by kind: each is right for its gold answer and wrong for the one next to it; near misses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from heal.grading.extract import cut_thinking, extract_boxed
from heal.grading.grader import Grader
from heal.grading.readings import clean, read_pair


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as shared:
        yield shared


# Kind → (gold answer, another gold answer, spellings of the first): right for the first, wrong for the second.
SPELLINGS: dict[str, list[tuple[str, str, list[str]]]] = {
    "tiny numbers": [
        (r"6.63\times 10^{-34}", r"6.64\times 10^{-34}", ["6.63e-34", "6.63E-34", "6.63*10^-34", "6.63 x 10^{-34}"]),
        (r"4\times 10^{-8}", "0", ["4e-8", "0.00000004", r"\frac{4}{10^8}"]),
        ("602214076000000000000000", "602214076000000000000001", [r"6.02214076\times 10^{23}", "6.02214076e23"]),
        ("2e-1", "2e-2", [r"2\mathrm{e}-1", "-1+2e"]),
        (r"\frac{1}{3^{50}}", r"\frac{1}{3^{51}}", ["3^{-50}", r"\left(\frac13\right)^{50}"]),
        ("(0.0000004, 1)", "(0.0000001, 1)", [r"(4\times 10^{-7}, 1)", r"\left(\frac{4}{10^7}, 1\right)"]),
        (r"\frac13", "0.3333", ["0.333333", "0.3333333"]),
    ],
    "formulas": [
        (r"3-\frac{2}{e}", r"3+\frac{2}{e}", [r"3-\frac{2}{\mathrm{e}}", r"3-2\mathrm{e}^{-1}"]),
        (r"\sqrt{\frac{a}{b}}", r"\sqrt{\frac{b}{a}}", [r"\frac{\sqrt{a}}{\sqrt{b}}", r"\sqrt{a/b}"]),
        (r"4\sqrt{3}", r"4\sqrt{2}", [r"4\sqrt(3)", "4sqrt(3)", "4√3", r"4\sqrt3"]),
        ("-1", "1", [r"e^{i\pi}", r"\mathrm{e}^{\mathrm{i}\pi}"]),
        (r"\cos t + i\sin t", r"\cos t - i\sin t", ["e^{it}"]),
        (r"\frac{5}{11}", r"\frac{5}{12}", [r"0.\overline{45}", "0.4545...", r"0.\dot{4}\dot{5}", r"0.(45)"]),
        (r"\frac{1}{12}", r"\frac{1}{11}", [r"0.08\overline{3}", r"0.08\bar{3}", "0.08333..."]),
        ("2, 4, 6, \\ldots, 2n", "2, 4, 6, \\ldots, n", ["2, 4, 6, ..., 2n", r"2,4,6,\dots,2n", "2, 4, 6, …, 2n"]),
    ],
    "intervals": [
        ("[1,4)", "[1,4]", [r"1 \le x < 4", "4 > x ≥ 1", r"\{x \mid 1 \le x < 4\}", r"x \in [1, 4)", "[1; 4["]),
        (r"(6,\infty)", r"[6,\infty)", ["x > 6", "6 < t", r"\{x \in \mathbb{R} : x > 6\}", "]6, +∞["]),
        (
            r"(-\infty,1)\cup(4,\infty)",
            "(1,4)",
            [r"x<1 \text{ or } x>4", "x < 1, x > 4", r"(4,\infty) \cup (-\infty,1)"],
        ),
        (r"(-\infty,5)\cup(5,\infty)", r"(-\infty,\infty)", [r"x \ne 5", "x≠5", r"\mathbb{R} \setminus \{5\}"]),
        ("1 < x < 4", "1 < y < 4", ["4 > x > 1", r"x > 1 \text{ and } x < 4"]),
        (r"\mathbb{R}", r"(0,\infty)", [r"\text{all real numbers}", r"-\infty < x < \infty"]),
    ],
    "vectors": [
        (
            r"\begin{pmatrix} 1\\-2\\3 \end{pmatrix}",
            r"\begin{pmatrix} 1\\2\\3 \end{pmatrix}",
            ["(1,-2,3)", r"\langle 1,-2,3 \rangle", r"\begin{bmatrix} 1\\-2\\3 \end{bmatrix}", "(1,-2,3)^T"],
        ),
        (
            "(4,5)",
            "(5,4)",
            [r"\begin{pmatrix} 4 & 5 \end{pmatrix}", r"\left[\begin{array}{c} 4 \\ 5 \end{array}\right]"],
        ),
    ],
    "units": [
        (
            "12",
            "13",
            ["12 cm", r"12\,\text{cm}^2", "12 square units", "12 (cats)", "12 people", "12 本", r"12\,k\Omega"],
        ),
        (
            "12",
            "1.2",
            [r"12\ \mathrm{kg\cdot m/s}", r"12 \frac{\text{m}}{\text{s}}", "12th", r"12^{\text{th}}", "12㎝"],
        ),
        (r"12 \text{ cm}", r"12 \text{ m}", ["12 centimeters", r"12\operatorname{cm}"]),
        ("7.50", "7.05", [r"\$7.5", "7.5 dollars", r"7.50 \text{ USD}", "€7.50"]),
        ("7.5", "7", [r"7 \text{ hours and } 30 \text{ minutes}", "7 hours 30 minutes"]),
        ("5000000", "5", [r"5 \text{ million}", "5 million dollars"]),
        ("3t", "3", ["3 t", "t + 2t"]),
        ("60.5^\\circ", "60^\\circ", ["60.5°", "60^o 30'", r"60^\circ 30^\prime", "60.5 degrees"]),
        ("35\\%", "3.5", [r"35 \text{ percent}", "35 per cent", "35％", "0.35"]),
    ],
    "number bases": [
        (
            "1011_2",
            "1011_3",
            ["1011_{2}", r"1011_{\text{two}}", "(1011)_2", r"1011 \text{ (base 2)}", r"\text{1011}_2"],
        ),
        ("2F_{16}", "2E_{16}", ["2f_{16}", r"2F_{\text{sixteen}}", "2F"]),
        ("1011", "11", ["1011_2", "1011_{10}"]),
    ],
    "thousands": [
        (
            "45678",
            "45.678",
            ["45 678", r"45\,678", "45'678", r"45\text{,}678", "45{,}678", "45，678", r"45~678", "45,678"],
        ),
        ("1234567", "1234576", ["1.234.567", "1 234 567", r"1\,234\,567", "1{,}234{,}567"]),
        ("45678.9", "456789", ["45 678.9", r"45\,678.9"]),
    ],
    "mixed numbers": [
        (
            r"\frac{7}{2}",
            r"\frac{3}{2}",
            ["3 1/2", r"3\ 1/2", r"3\,\tfrac12", "3½", r"3 \text{ and } \frac{1}{2}", "3^1/_2"],
        ),
        (r"-\frac{7}{2}", r"-\frac{5}{2}", ["-3 1/2", r"-3\frac{1}{2}", "−3½"]),
    ],
    "fractions": [
        ("2/3", "3/2", ["^2/_3", r"\sfrac{2}{3}", r"{2 \over 3}", r"2 \over 3", r"\frac 2 3", "2⁄3", "⅔", r"2 \div 3"]),
    ],
    "Unicode": [
        ("-7", "7", ["−7", "–7", "—7", "－７"]),
        (r"3\sqrt{2}", r"2\sqrt{3}", ["3√2", "3√{2}", r"3·√2"]),
        (r"\sqrt[3]{x+1}", r"\sqrt{x+1}", ["∛(x+1)"]),
        ("x^2", "x^3", ["x²", "𝑥²", "ｘ²"]),
        ("(1,2)", "(2,1)", ["（1，2）"]),
        ("1,2,3", "1,2,4", ["1、2、3", "1，2，3"]),
        ("12.5", "125", ["１２.５", "12．5", "12\u200b.5", "\ufeff12.5"]),
        (r"\frac{\pi}{2}", r"\frac{\pi}{3}", ["π/2", "½π"]),
        (r"\infty", r"-\infty", ["∞", "+∞", r"\text{infinity}"]),
    ],
    "words": [
        (r"\text{Monday}", r"\text{Sunday}", ["Monday", r"\textbf{monday}", "Monday.", "on Monday"]),
        ("Yes", "No", [r"\text{Yes}", "yes.", r"\text{Yes, because it is even}"]),
        ("False", "True", ["false", r"\textbf{FALSE}"]),
        (
            r"\text{no solution}",
            r"\text{one solution}",
            ["No solutions.", r"\text{There is no solution}", r"\emptyset"],
        ),
        (r"\emptyset", r"\{0\}", [r"\varnothing", r"\{\}", "∅", r"\text{empty set}"]),
        (r"\text{Ann and Bob}", r"\text{Ann and Rob}", ["Bob, Ann", r"\text{Bob and Ann}"]),
        (r"\text{Carla}", r"\text{Clara}", ["Carla", r"\mathrm{Carla}"]),
        (r"3:45 \text{ p.m.}", r"3:45 \text{ a.m.}", [r"3:45 \text{ PM}", "3:45pm"]),
        ("4:5", "5:4", [r"4 \text{ to } 5", "8:10", "4 : 5"]),
    ],
    "choices": [
        (
            "D",
            "C",
            ["(D)", r"\textbf{(D) } 35", r"\text{Choice D}", "D: 35", "D. 35", r"D \quad 35", "D (35)", "D - 35", "d"],
        ),
        (
            "D",
            "B",
            ["The answer is D.", r"\text{The correct option is (D)}", r"\mathbf{(D)} \; 35", "D – 35", "[D]", "**D**"],
        ),
        ("BD", "BC", ["B, D", r"\text{B and D}", "D, B", "(B), (D)"]),
        (r"D. {x \mid x < 4}", "C", ["D", r"\text{(D)}"]),
    ],
    "dressing": [
        ("35", "36", ["35.", "**35**", "`35`", "$35$", r"\(35\)", '"35"', "35,", "= 35", "<b>35</b>", "35 ✓", r"35\\"]),
        (
            "35",
            "53",
            [r"\color{blue}{35}", r"\textcolor{red}{35}", r"{\color{red}35}", r"\colorbox{yellow}{$35$}", r"\#35"],
        ),
        (
            "35",
            "3.5",
            [r"\underline{\underline{35}}", r"\large 35", r"{\bf 35}", r"\boldsymbol{35}", r"\mathrm{~}35", "~35~"],
        ),
        (
            "35",
            "-35",
            [r"35\checkmark", r"35 \blacksquare", r"\hspace{2mm}35", r"\tag{1} 35", r"\implies 35", r"\approx 35"],
        ),
        (
            "35",
            "0.35",
            [r"\text{The answer is } 35", "Answer: 35", r"\text{Thus, the final answer is: } 35", "x = 35."],
        ),
        ("35", "34", [r"\begin{aligned} x &= 35 \end{aligned}", r"35 \text{ (since } x>0\text{)}", "**Answer:** 35"]),
        (
            r"\frac{3}{5}",
            r"\frac{5}{3}",
            [r"\color{blue}{\frac{3}{5}}", r"\underline{\frac35}.", r"\mathbf{\frac{3}{5}}"],
        ),
    ],
}

# Kind → (gold answer, an answer that looks like it).
NEAR_MISSES: dict[str, list[tuple[str, str]]] = {
    "tiny numbers": [
        (r"\frac{1}{7^{40}}", r"\frac{1}{7^{41}}"),
        ("0.0000004", "0"),
        ("0", "0.0000004"),
        (r"\{0.0000004, 1\}", r"\{0.0000001, 1\}"),
        ("[0,0.0000004]", "[0,0.0000001]"),
        (r"\frac{x}{7^{40}}", r"\frac{x}{7^{41}}"),
        (r"1+\frac{1}{7^{40}}", "1"),
        ("x+10^{40}", "x+10^{40}+1"),
        (r"\frac13", "0.33"),
    ],
    "formulas": [
        (r"\sqrt{x^2}", "x"),
        (r"\ln|x|", r"\ln x"),
        ("5", r"foo \bad{ 5"),
        ("5", r"\{x \mid 2 \le x < 5\}"),
        ("1.2", r"\langle 1,2,3 \rangle"),
        (r"1, 2, \ldots, m", r"1, 3, 5, \ldots, 2m-1"),
        (r"1, 2, \ldots, m", "1, 2, m"),
        ("3.14159", "3.14159..."),
        ("x+y", "a+b"),
    ],
    "intervals": [
        ("[2,5)", "]2,5]"),
        (r"(4,\infty)", r"x \ge 4"),
        ("x>4", "y>4"),
        (r"(-\infty,2)\cup(3,\infty)", r"x>2 \text{ or } x<3"),
        (r"(-\infty,2)\cup(3,\infty)", "2<x<3"),
    ],
    "vectors": [
        (r"\begin{pmatrix} 1\\2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", "(1,2,3,4)"),
    ],
    "units": [
        ("5", r"5 \text{ or more}"),
        ("18", "18x"),
        ("18", "18 xy"),
        ("3", "3t"),
        (r"105^\circ", r"75^\circ 30'"),
        ("18 dollars", "18 cents"),
        ("18", r"18\Omega x"),
        (r"60^\circ\text{C}", r"60^\circ\text{F}"),
    ],
    "number bases": [("314_5", "84"), ("84", "314_5"), ("1011_2", "11"), ("x_1", "x_2")],
    "thousands": [("45678", "45 679"), ("45678", "456 78"), ("207", "23 184"), ("5", "2 3"), ("45678", "45, 78")],
    "mixed numbers": [(r"\frac52", "4 1/2"), ("2", "4 1/2"), (r"3, \frac12", "3 1/2"), (r"\frac72", "3 - 1/2")],
    "fractions": [("2/3", "2 3"), ("2/3", "x^2/_3")],
    "Unicode": [("23", "2·3"), (r"3\sqrt{x+1}", "3√x+1"), ("12", "２１"), ("x_1", "x₂")],
    "words": [
        ("Yes", r"\text{Yes and no}"),
        ("Yes", r"\text{Yes, if } x > 0"),
        ("True", r"\text{Not true}"),
        ("No", r"\text{Yes, no problem}"),
        (r"\text{even}", "neve"),
        (r"\text{no real solution}", r"\text{no solution}"),
        (r"2:30 \text{ p.m.}", "1:15"),
        (r"40 \notin S", r"40 \in S"),
    ],
    "choices": [
        ("A", r"\text{A triangle}"),
        ("E", "E=mc^2"),
        ("B", "AB"),
        ("C", r"C \text{ or } D"),
        ("C", r"\text{not C}"),
        ("C", "2C"),
        ("C", "C+1"),
        ("C", "(C)+1"),
        ("B", "B - D"),
        ("A", r"A \cap B"),
        ("BD", "B,C,D"),
    ],
    "dressing": [
        ("42", "42!"),
        ("42", r"\text{not } 42"),
        ("42", r"\text{at least } 42"),
        ("42", r"\overline{42}i"),
        ("42", r"\sqrt{42}"),
        ("42", "42.1"),
    ],
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_spelling_is_right_for_its_gold_and_wrong_for_the_gold_next_to_it(grader: Grader, kind: str) -> None:
    for gold, other, answers in SPELLINGS[kind]:
        for answer in answers:
            assert grader.compare(gold, answer) == "correct", (gold, answer, read_pair(gold, answer))
            assert grader.compare(other, answer) in ("wrong", "unparsable"), (other, answer, read_pair(other, answer))


@pytest.mark.parametrize("kind", NEAR_MISSES)
def test_a_near_miss_is_wrong(grader: Grader, kind: str) -> None:
    for gold, answer in NEAR_MISSES[kind]:
        assert grader.compare(gold, answer) in ("wrong", "unparsable"), (gold, answer, read_pair(gold, answer))


def test_every_kind_has_both() -> None:
    assert SPELLINGS.keys() == NEAR_MISSES.keys()


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"The roots are $\boxed{2}$ and $\boxed{9}$.", "2, 9"),
        (r"\[\boxed{(2,7)} \quad \text{and} \quad \boxed{(6,1)}\]", "(2,7), (6,1)"),
        (r"$\boxed{2}, \boxed{3}$, or $\boxed{11}$", "2, 3, 11"),
        (r"$x_1 = \boxed{2}$ and $x_2 = \boxed{9}$", "2, 9"),
        (r"\boxed{5}, \boxed{5}", "5"),
        (r"\boxed{2} no, wait; it must be \boxed{5}", "5"),
        (r"So \boxed{3}. Check: yes. **Final Answer** \boxed{3}", "3"),
        (r"\boxed{2} = \boxed{3}", "3"),
        (r"\boxed{2}. \boxed{3}", "3"),
    ],
)
def test_boxes_that_only_and_separates_are_one_answer(text: str, content: str) -> None:
    assert extract_boxed(text) == content


def test_the_part_behind_the_thinking_is_read() -> None:
    assert cut_thinking("<think>5</think> 6") == " 6"
    assert cut_thinking("opened by the prompt 5</think> 6") == " 6"
    assert cut_thinking("<think>5, or maybe") == ""
    assert cut_thinking("no thinking") == "no thinking"


def test_an_answer_in_an_open_thinking_block_is_none(grader: Grader) -> None:
    assert grader.grade(r"<think> So \boxed{5}? Let me check", "5").reason == "no_answer"
    assert grader.grade(r"<think>\boxed{5}</think> then <think> \boxed{6}", "6").reason == "no_answer"


@pytest.mark.parametrize(
    ("text", "gold", "strict", "flexible"),
    [
        ("So three of them fit.\n\nAnswer: D", "D", False, True),
        ("So three of them fit.\n\nAnswer: D", "C", False, False),
        ("The answer is a triangle.", "A", False, False),
        (r"We need \boxed{p \ll \Delta B}. **Answer: C**", "C", True, True),
        (r"We need \boxed{p \ll \Delta B}. **Answer: C**", "B", False, False),
        (r"\boxed{B}. The other answer is C.", "C", False, False),
        (r"\boxed{\frac{1}{2}} or \boxed{0.5}", "0.5", True, True),
        (r"\boxed{B} or \boxed{C}", "C", False, False),
        (r"\boxed{3} and \boxed{5}", "5", False, False),
        ("It is 2√3.", r"2\sqrt{3}", False, True),
        ("It is 3 1/2 hours.", "3.5", False, True),
        ("Its area is 18 cm².", "18", False, True),
        ("Its area is 18 cm².", "2", False, False),
        ("So h = 6.63 × 10⁻³⁴ J s.", r"6.63 \times 10^{-34}", False, True),
        ("So h = 6.63e-34.", "-34", False, False),
        ("So the answer is −5.", "-5", False, True),
        ("So the answer is −5.", "5", False, False),
        ("So the answer is ½.", "0.5", False, True),
        ("So the answer is ½.", "2", False, False),
    ],
)
def test_statements_without_a_box(grader: Grader, text: str, gold: str, strict: bool, flexible: bool) -> None:
    grade = grader.grade(text, gold)
    assert (grade.correct, grade.flexible) == (strict, flexible)


ANY = [gold for rows in SPELLINGS.values() for gold, _, _ in rows]
ANY += [answer for rows in SPELLINGS.values() for _, _, answers in rows for answer in answers]


@pytest.mark.parametrize("form", ["{}", "**{}**", "${}$", " {} ", "{}.", "\\color{{red}}{{{}}}"])
def test_dressing_comes_off_every_answer(form: str) -> None:
    for answer in ANY:
        if not answer.startswith(("**", '"')) and not answer.endswith(".") and not re.search(r"\$|\\over ", answer):
            assert read_pair(answer, form.format(answer)) is True, (answer, clean(form.format(answer)))


def test_reading_twice_changes_nothing() -> None:
    for answer in ANY:
        assert clean(clean(answer)) == clean(answer)


HOSTILE = [
    *("{" * 900, "(" * 900, "\\" * 999, "^" * 900, "<" * 999, "*" * 999, " " * 998 + "x", "1 " * 499, "1," * 499),
    *("\\text{" * 160, "a " * 499, "0.1" * 300, "\\,1" * 300, "x<" * 499, "\\frac" * 199, "9 cm " * 199, "A, " * 333),
    *(
        "\\underline{" + "\\{" * 400,
        "\\underline{" + "{a}" * 300,
        "\\underline{" * 90,
        "1\\text{" + "a" * 900,
        "<b>" * 300,
    ),
]


def test_reading_takes_little_time_whatever_the_answer(grader: Grader) -> None:
    for answer in HOSTILE:
        began = time.process_time()
        for gold in ("5", "C", r"\text{Monday}", "[2,5)", "314_5"):
            read_pair(gold, answer)
        assert time.process_time() - began < 1, answer[:20]
