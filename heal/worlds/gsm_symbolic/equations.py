"""Equations in plain text, parsed and computed without evaluating anything as code: "120 clams / 5 clams/minute = 24".

Words after a number are its unit, words before one separate expressions, a word or a letter in a number's place is an
unknown. × x * and ÷ / and ( ) are parsed, 5(3 + 4) too; 1/2 without blanks is a fraction; currency signs and thousands
separators are dropped. What cannot be computed (an unknown, two numbers with units, more than 15 digits) is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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
    """An equation that can be computed."""

    true: bool
    operations: int
    """Number of operations."""
    operands: frozenset[Fraction]
    """Values of all its numbers."""
    results: frozenset[Fraction]
    """Values of the numbers that are alone on a side."""


class NotComputable(Exception):
    """Not an expression of numbers alone."""


def parse_number(text: str) -> Fraction:
    """The number as written, without a percent sign. Raises NotComputable for more than 15 digits."""
    digits = text.rstrip("% \t\n").replace(",", "")
    if len(digits) > MOST_DIGITS:
        raise NotComputable(text)
    return Fraction(digits)


def list_values(text: str) -> frozenset[Fraction]:
    """The values that a written number can have: 20% has 20 and 1/5; none where it has too many digits."""
    try:
        value = parse_number(text)
    except NotComputable:
        return frozenset()
    return frozenset({value, value / 100}) if text.endswith("%") else frozenset({value})


def find_numbers(text: str) -> list[str]:
    """Every number in a text as written, with its percent sign; not the numbers of a list or of 1st, 2nd, …"""
    return [match.group() for match in STATED.finditer(BULLET.sub("", text))]


def collect_values(text: str) -> frozenset[Fraction]:
    """All values that the numbers of a text can have."""
    values: frozenset[Fraction] = frozenset()
    for number in find_numbers(text):
        values |= list_values(number)
    return values


def tokenize(text: str) -> list[Token]:
    """Code and text of each token; `=` separates the sides."""
    plain = REMARK.sub(" ", BULLET.sub("\n", text).translate(SIGNS))
    tokens: list[Token] = []
    for match in TOKENS.finditer(FACTORS.sub("*", plain)):
        group, word = match.lastgroup or "stop", match.group()
        if group == "times":
            group, word = ("sign", "*") if tokens and tokens[-1][0] in "Nw)" else ("variable", word)
        tokens.append((CODES.get(group, word), word))
    return tokens


def split_sides(text: str) -> list[list[Token]]:
    """The tokens between the equals signs of a text."""
    sides: list[list[Token]] = [[]]
    for token in tokenize(text):
        if token[0] == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def join_codes(tokens: Sequence[Token]) -> str:
    """The tokens' codes as one text."""
    return "".join(code for code, _ in tokens)


def find_first_expression(side: list[Token]) -> list[Token]:
    """The expression that the tokens begin with; [] for none."""
    match = BEGINS.match(join_codes(side))
    return strip_units(side[: match.end()]) if match else []


def find_last_expression(side: list[Token]) -> list[Token]:
    """The expression that the tokens end with; [] for none, and for one whose left operand is unknown."""
    codes = join_codes(side)
    match = ENDS.search(codes)
    if not match:
        return []
    start = match.start()
    if codes[:start].endswith(tuple("-+*/")) or (start and match[0][0] == "-"):
        return []
    return strip_units(side[start:])


def strip_units(expression: list[Token]) -> list[Token]:
    """Without units, and without a bracket at an end that opens or closes a remark around the equation."""
    tokens = [token for token in expression if token[0] != "w"]
    while tokens and tokens[0][0] == "(" and count_unclosed(tokens) > 0:
        tokens.pop(0)
    while tokens and tokens[-1][0] == ")" and count_unclosed(tokens) < 0:
        tokens.pop()
    return tokens


def count_unclosed(tokens: Sequence[Token]) -> int:
    """Number of opening brackets minus number of closing ones."""
    codes = join_codes(tokens)
    return codes.count("(") - codes.count(")")


def compute(side: Sequence[Token]) -> Fraction:
    """The value of an expression. Raises NotComputable."""
    if not 0 < len(side) <= MOST_TOKENS:
        raise NotComputable
    rest = list(side)[::-1]

    def read_factor() -> Fraction:
        code, text = rest.pop() if rest else ("", "")
        if code == "-":
            return -read_factor()
        if code == "(":
            value = read_sum()
            if not rest or rest.pop()[0] != ")":
                raise NotComputable
            return value
        if code != "N":
            raise NotComputable
        if "/" in text:
            top, bottom = map(parse_number, text.split("/"))
            return divide(top, bottom)
        return parse_number(text) / (100 if text.endswith("%") else 1)

    def read_product() -> Fraction:
        value = read_factor()
        while rest and rest[-1][0] in "*/":
            value = value * read_factor() if rest.pop()[0] == "*" else divide(value, read_factor())
        return value

    def read_sum() -> Fraction:
        value = read_product()
        while rest and rest[-1][0] in "+-":
            value = value + read_product() if rest.pop()[0] == "+" else value - read_product()
        return value

    value = read_sum()
    if rest:
        raise NotComputable
    return value


def divide(top: Fraction, bottom: Fraction) -> Fraction:
    """Raises NotComputable for a division by zero."""
    if not bottom:
        raise NotComputable
    return top / bottom


def is_equal(left: Sequence[Token], right: Sequence[Token]) -> bool:
    """Whether two sides have one value: exactly, rounded to the two or more decimals of a number, or in percent."""
    left_value, right_value = compute(left), compute(right)
    if left_value == right_value:
        return True
    return is_written_as(left_value, right_value, right) or is_written_as(right_value, left_value, left)


def is_written_as(value: Fraction, written: Fraction, side: Sequence[Token]) -> bool:
    """Whether a side is one number that states the value in percent or rounded to two or more decimals.

    written: the side's own value.
    """
    if len(side) != 1 or side[0][0] != "N":
        return False
    text = side[0][1]
    if text.endswith("%") and value == 100 * written:
        return True
    decimals = len(text.rstrip("% ").partition(".")[2])
    return decimals >= 2 and abs(value - written) <= Fraction(1, 2 * 10**decimals)


def find_claims(text: str) -> Iterator[Claim]:
    """The equations of a text that can be computed and contain an operation, in order."""
    sides = split_sides(text)
    for before, after in zip(sides, sides[1:], strict=False):
        left, right = find_last_expression(before), find_first_expression(after)
        operations = count_operations([*left, *right])
        if not operations:
            continue
        try:
            true = is_equal(left, right)
        except NotComputable:
            continue
        operands: set[Fraction] = set()
        for _, word in (*left, *right):
            operands |= collect_values(word)
        results: set[Fraction] = set()
        for side in (left, right):
            if join_codes(side) in ("N", "-N") and "/" not in side[-1][1]:
                results |= list_values(side[-1][1])
        yield Claim(true, operations, frozenset(operands), frozenset(results))


def count_operations(tokens: Iterable[Token]) -> int:
    """Number of signs, and of fractions."""
    count = 0
    for code, word in tokens:
        count += code in "-+*/" or "/" in word
    return count
