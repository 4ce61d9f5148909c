"""Equations in plain text, read and computed without evaluating anything as code: "120 clams / 5 clams/minute = 24".

Words behind a number are its unit, words before one part expressions, a word or a letter in a number's place is an
unknown. × x * and ÷ / and ( ) are read, 5(3 + 4) too; 1/2 without blanks is a fraction; currency signs and thousands
separators are dropped. What cannot be computed (an unknown, two numbers with units, more than 15 digits) is no claim.

Pure functions from text to claims and numbers; reads nothing, writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
TOKENS = re.compile(
    r"(?P<fraction>\d+/\d+(?![\d.%]))"
    rf"|(?P<number>(?:{NUMBER})(?:\s?%)?)"
    r"|(?P<times>(?<![A-Za-z])x(?=\s*[\d(.]))"
    r"|(?P<variable>(?<![A-Za-z'’])[B-HJ-Zb-z](?![\w'’]))"  # not the words a, A, I
    r"|(?P<word>(?:(?<=\d)-|/\s?)?[A-Za-z][\w'’]*(?:[-/][A-Za-z][\w'’]*)*)"
    r"|(?P<sign>[-+*/()])|(?P<equals>=)|(?P<stop>\n|\S)"
)
CODES = {"fraction": "N", "number": "N", "variable": "v", "word": "w", "stop": "."}  # a sign is its own code
OPERAND = r"-?\(*[Nv][)w]*"
EXPRESSION = rf"{OPERAND}(?:[-+*/]{OPERAND})*"
BEGINS, ENDS = re.compile(EXPRESSION), re.compile(rf"{EXPRESSION}$")
REMARK = re.compile(r"\((?=[A-Za-z])[^()]*\)")  # (which is …): no part of an expression
FACTORS = re.compile(r"(?<=\d)(?=\(|[b-z](?!\w))")  # 5(3 + 4), 2x
SIGNS = str.maketrans({"×": "*", "÷": " / ", "−": "-", "–": "-", "$": "", "€": "", "£": ""})
BULLET = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*•])(?=\s)", re.MULTILINE)  # of a list
STATED = re.compile(rf"(?P<number>{NUMBER})(?P<percent>\s?%)?(?!st\b|nd\b|rd\b|th\b)")
MOST_DIGITS, MOST_TOKENS = 15, 100

Token = tuple[str, str]  # code, text


@dataclass(frozen=True)
class Claim:
    """An equation that can be computed: whether it is true, its numbers, and those that stand alone on a side."""

    true: bool
    operations: int
    operands: frozenset[Fraction]
    results: frozenset[Fraction]


class NotComputable(Exception):
    """Not an expression of numbers alone."""


def value_of(text: str) -> Fraction:
    """The number as written, a percent sign ignored. Raises NotComputable for more than 15 digits."""
    digits = text.rstrip("% \t\n").replace(",", "")
    if len(digits) > MOST_DIGITS:
        raise NotComputable(text)
    return Fraction(digits)


def forms(text: str) -> frozenset[Fraction]:
    """The values that a written number can stand for: 20% for 20 and 1/5; none where it has too many digits."""
    try:
        value = value_of(text)
    except NotComputable:
        return frozenset()
    return frozenset({value, value / 100}) if text.endswith("%") else frozenset({value})


def stated(text: str) -> list[str]:
    """Every number in a text as written, with its percent sign; not the numbers of a list or of 1st, 2nd, …"""
    return [match.group() for match in STATED.finditer(BULLET.sub("", text))]


def tokens(text: str) -> list[Token]:
    """Code and text of each token; `=` parts the sides."""
    found: list[Token] = []
    for match in TOKENS.finditer(FACTORS.sub("*", REMARK.sub(" ", BULLET.sub("\n", text).translate(SIGNS)))):
        kind, word = match.lastgroup or "stop", match.group()
        if kind == "times":
            kind, word = ("sign", "*") if found and found[-1][0] in "Nw)" else ("variable", word)
        found.append((CODES.get(kind, word), word))
    return found


def expressions(part: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """The expressions that a part between equals signs begins and ends with; [] for none."""
    codes = "".join(code for code, _ in part)
    head, tail = BEGINS.match(codes), ENDS.search(codes)
    if tail and (codes[: tail.start()].endswith(tuple("-+*/")) or (tail[0][0] == "-" and tail.start())):
        tail = None  # what stands left of the operator is unknown
    first, last = (list(part[m.start() : m.end()]) if m else [] for m in (head, tail))
    return balanced(first), balanced(last)


def balanced(side: list[Token]) -> list[Token]:
    """Without units, and without a bracket at an end that opens or closes a remark around the equation."""
    codes = [token for token in side if token[0] != "w"]
    while codes and codes[0][0] == "(" and sum(c == "(" for c, _ in codes) > sum(c == ")" for c, _ in codes):
        codes.pop(0)
    while codes and codes[-1][0] == ")" and sum(c == ")" for c, _ in codes) > sum(c == "(" for c, _ in codes):
        codes.pop()
    return codes


def compute(side: Sequence[Token]) -> Fraction:
    """The value of an expression. Raises NotComputable."""
    if not 0 < len(side) <= MOST_TOKENS:
        raise NotComputable
    rest = list(side)[::-1]

    def factor() -> Fraction:
        code, text = rest.pop() if rest else ("", "")
        if code == "-":
            return -factor()
        if code == "(":
            value = total()
            if not rest or rest.pop()[0] != ")":
                raise NotComputable
            return value
        if code != "N":
            raise NotComputable
        if "/" in text:
            top, bottom = map(value_of, text.split("/"))
            return divided(top, bottom)
        return value_of(text) / (100 if text.endswith("%") else 1)

    def product() -> Fraction:
        value = factor()
        while rest and rest[-1][0] in "*/":
            value = value * factor() if rest.pop()[0] == "*" else divided(value, factor())
        return value

    def total() -> Fraction:
        value = product()
        while rest and rest[-1][0] in "+-":
            value = value + product() if rest.pop()[0] == "+" else value - product()
        return value

    value = total()
    if rest:
        raise NotComputable
    return value


def divided(top: Fraction, bottom: Fraction) -> Fraction:
    if not bottom:
        raise NotComputable
    return top / bottom


def equal(left: Sequence[Token], right: Sequence[Token]) -> bool:
    """Whether two sides have one value: exactly, rounded to the two or more decimals of a number, or in percent."""
    values = compute(left), compute(right)
    if values[0] == values[1]:
        return True
    for (value, other), side in zip((values, values[::-1]), (right, left), strict=True):
        if len(side) == 1 and side[0][0] == "N":
            text = side[0][1]
            if text.endswith("%") and value == 100 * other:
                return True
            decimals = len(text.rstrip("% ").partition(".")[2])
            if decimals >= 2 and abs(value - other) <= Fraction(1, 2 * 10**decimals):
                return True
    return False


def claims(text: str) -> Iterator[Claim]:
    """The equations of a text that can be computed and hold an operation, in order."""
    parts: list[list[Token]] = [[]]
    for token in tokens(text):
        if token[0] == "=":
            parts.append([])
        else:
            parts[-1].append(token)
    for before, after in zip(parts, parts[1:], strict=False):
        left, right = expressions(before)[1], expressions(after)[0]
        operations = sum(code in "-+*/" or "/" in word for code, word in (*left, *right))
        try:
            true = bool(operations) and equal(left, right)
        except NotComputable:
            continue
        if operations:
            numbers = {form for _, word in (*left, *right) for form in forms_within(word)}
            alone = [side[-1][1] for side in (left, right) if [code for code, _ in side] in (["N"], ["-", "N"])]
            results = {form for word in alone if "/" not in word for form in forms(word)}
            yield Claim(true, operations, frozenset(numbers), frozenset(results))


def forms_within(word: str) -> set[Fraction]:
    """The values of a token's numbers: both of a fraction's."""
    return {form for number in stated(word) for form in forms(number)}
