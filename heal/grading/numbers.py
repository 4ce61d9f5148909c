"""Write the numbers of an answer as math-verify reads them: thousands, powers of ten, repeating decimals, fractions."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_EXPONENT = 400

SEPARATOR = r"(?:\{,\}|\{\\,\}|\\text\s*\{,\}|\\!\s*,\s*\\!|,\\!|\\[,;: ]|~| |'|_)"
GROUPED = re.compile(
    rf"(?<![\w.,^'}}\\])(?<![\d,.] )(?P<first>[1-9]\d{{0,2}})"
    rf"(?P<mark>{SEPARATOR})(?P<rest>\d{{3}}(?:(?P=mark)\d{{3}})*)"
    r"(?![\d'_^]|,\d|\s*/|\s+\d)"
)
GROUPED_BY_DOTS = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.])")
DECIMAL_COMMA = re.compile(r"(?<![\w.,}])(\d+)\{,\}(\d{1,2}|\d{4,})(?![\d.,])")

COMMA_AS_TEXT = re.compile(r"\\text\s*\{\s*([,;])\s*\}")

POWER = r"(?:\{\s*([+-]?\d{1,3})\s*\}|\(\s*([+-]?\d{1,3})\s*\)|(-?\d{1,3}))(?![\d!^])"
SCIENTIFIC = re.compile(rf"(?<![\w.}}^])(\d+(?:\.\d+)?)\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*{POWER}")
E_NOTATION = re.compile(r"(?<![\w.}^])(\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})(?![\w.])")
AMBIGUOUS_E = re.compile(r"\d+e-\d")  # 2e-1 is 0.2 or 2e − 1
EULER = re.compile(r"(?<![A-Za-z\\])e(?![A-Za-z])|\\exp")

OVERLINED = re.compile(r"(?<![\w.])(\d+)\.(\d*)\\(?:overline|bar)\s*(?:\{\s*(\d+)\s*\}|(\d))")
DOTTED = re.compile(r"(?<![\w.])(\d+)\.(\d*)(\\dot\s*\{?\d\}?(?:\d*\\dot\s*\{?\d\}?)?)")
IN_PARENTHESES = re.compile(r"(-?)(\d+)\.(\d*)\((\d+)\)")
REPEATED = re.compile(
    r"(?<![\w.])(\d+)\.(\d*?)(?:(\d)\3{2,}|(\d{2,6})\4+)\s*(?:\\l?dots|\\cdots|\.\.\.)(?![A-Za-z,;\d])"
)

MIXED = re.compile(r"(?<![\w.^/}])(-?\d+)(?:\s|\\[,;: ]|~)+(\d+)\s*/\s*(\d+)(?![\w.^/])")
AND_FRACTION = re.compile(
    r"(?<![\w.^/}])(-?\d+)\s*(?:\\text\s*\{\s*and\s*\}|\sand\s)\s*(?:(\\[dt]?frac\s*(?:\{\d+\}\{\d+\}|\d\d))|(\d+)/(\d+))$"
)
SLASHED = re.compile(r"(?<![A-Za-z)}])(?:\{\})?\^\s*\{?(\d+)\}?[\\!\s]*/[\\!\s]*_\s*\{?(\d+)\}?")
UNBRACED = re.compile(r"\\([dtc]?frac|binom)\s+(\d)\s*(\d)(?!\d)")
RATIO = re.compile(r"(?<=\d)\s*(?:\\text\s*\{\s*to\s*\}|\bto\b)\s*(?=\d)")
SLANTED = re.compile(r"\\(?:sfrac|nicefrac|xfrac|slantfrac|flatfrac)\s*(?=\{)")
OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}")

DEGREE = re.compile(
    r"\s*(?:\^\s*(?:\{\s*)?(?:\\circ|\\degree|\\text\s*\{\s*o\s*\}|o(?![A-Za-z]))(?:\s*\})?|\\degrees?(?![A-Za-z]))"
)
PRIME, SECOND = r"(?:\^\s*\{?\s*\\prime\s*\}?|\\?')", r"(?:\^\s*\{?\s*\\prime\s*\\prime\s*\}?|\\?''|\")"
ARC = re.compile(rf"(\d+)\^\\circ\s*(\d+)\s*{PRIME}(?!')(?:\s*(\d+)\s*{SECOND})?")
ROOT = re.compile(r"\\?(?<![A-Za-z])sqrt\s*(\[[^\[\]]*\])?\s*(?:\\left\s*)?\(")
WORD_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*(?=[\d\w{])")
SIDE_BY_SIDE = re.compile(r"(?<![\w.^}_])(-?\d+(?:\.\d+)?)(?:\s|\\[,;: ]|\\q?quad(?![A-Za-z]))+(?=-?\d)")


def write_numbers(answer: str, *, has_euler: bool = False) -> str:
    """Every step below. has_euler: the answer or the gold answer contains Euler's number."""
    answer = write_repeating_decimals(join_thousands(answer))
    answer = fix_roots(write_degrees(write_fractions(answer)))
    return separate_numbers(write_powers_of_ten(answer, has_euler=has_euler))


def join_thousands(answer: str) -> str:
    """ "23\\,184" → "23184". A plain comma stays: math-verify reads "23,184". "3{,}5" → "3.5"."""
    answer = GROUPED.sub(lambda match: match["first"] + match["rest"].replace(match["mark"], ""), answer)
    answer = GROUPED_BY_DOTS.sub(lambda match: match[0].replace(".", ""), answer)
    return COMMA_AS_TEXT.sub(r"\1 ", DECIMAL_COMMA.sub(r"\1.\2", answer))


def write_powers_of_ten(answer: str, *, has_euler: bool = False) -> str:
    """ "6.63e-34" and "6.63 \\times 10^{-34}" → one exact fraction, "1.2e3" → "1200"."""

    def write(match: re.Match[str]) -> str:
        power = int(next(group for group in match.groups()[1:] if group is not None))
        if abs(power) > MAX_EXPONENT or (has_euler and AMBIGUOUS_E.fullmatch(match[0])):
            return match[0]
        return format_fraction(Fraction(match[1]) * Fraction(10) ** power)

    return E_NOTATION.sub(write, SCIENTIFIC.sub(write, answer))


def contains_euler(answer: str) -> bool:
    """Whether a bare e (not that of 1e5) appears."""
    return EULER.search(E_NOTATION.sub("0", answer)) is not None


def write_repeating_decimals(answer: str) -> str:
    """ "0.\\overline{3}", "0.\\dot{3}", "0.(3)" and "0.333..." → "\\frac{1}{3}"."""
    answer = OVERLINED.sub(lambda match: expand_period(match[1], match[2], match[3] or match[4]), answer)
    answer = DOTTED.sub(lambda match: expand_period(match[1], match[2], re.sub(r"\D", "", match[3])), answer)
    answer = REPEATED.sub(lambda match: expand_period(match[1], match[2], match[3] or match[4]), answer)
    if match := IN_PARENTHESES.fullmatch(answer):
        return match[1] + expand_period(*match.groups()[1:])
    return answer


def expand_period(whole: str, start: str, period: str) -> str:
    """("0", "1", "6") → "\\frac{1}{6}" """
    before = Fraction(int(whole + start))
    return format_fraction((before + Fraction(int(period), 10 ** len(period) - 1)) / 10 ** len(start))


def format_fraction(value: Fraction) -> str:
    """1200 → "1200", 1/3 → "\\frac{1}{3}" """
    return str(value) if value.denominator == 1 else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def write_fractions(answer: str) -> str:
    """ "4 1/2" → "4\\frac{1}{2}", "^3/_4" → "\\frac{3}{4}", "{3 \\over 4}" → "\\frac{3}{4}"."""
    answer = RATIO.sub(":", UNBRACED.sub(r"\\\1{\2}{\3}", answer))
    answer = SLANTED.sub(r"\\frac", SLASHED.sub(r"\\frac{\1}{\2}", answer))
    answer = OVER.sub(r"\\frac{\1}{\2}", f"{{{answer}}}" if "\\over " in answer and "{" not in answer else answer)
    return MIXED.sub(lambda match: write_mixed(match) if int(match[2]) < int(match[3]) else match[0], answer)


def write_and_fraction(answer: str) -> str:
    """ "4 and 1/2" → "4\\frac{1}{2}", where the gold answer is no list."""
    return AND_FRACTION.sub(lambda match: match[1] + (match[2] or f"\\frac{{{match[3]}}}{{{match[4]}}}"), answer)


def write_mixed(match: re.Match[str]) -> str:
    return f"{match[1]}\\frac{{{match[2]}}}{{{match[3]}}}"


def write_degrees(answer: str) -> str:
    """ "75^o" → "75^\\circ", "75^\\circ 30'" → "\\frac{151}{2}^\\circ"."""
    answer = DEGREE.sub(r"^\\circ ", answer).rstrip()
    return ARC.sub(write_arc, answer)


def write_arc(match: re.Match[str]) -> str:
    degrees = Fraction(match[1]) + Fraction(match[2]) / 60 + Fraction(match[3] or 0) / 3600
    return format_fraction(degrees) + "^\\circ"


def fix_roots(answer: str) -> str:
    """ "\\sqrt(3)" → "\\sqrt{3}", "2sqrt3" → "2\\sqrt3"."""
    answer = WORD_ROOT.sub(r"\\sqrt ", answer)
    while match := ROOT.search(answer):
        end = find_closing(answer, match.end())
        if end is None:
            break
        inner = answer[match.end() : end].removesuffix("\\right")
        answer = f"{answer[: match.start()]}\\sqrt{match[1] or ''}{{{inner}}}{answer[end + 1 :]}"
    return answer


def find_closing(text: str, start: int) -> int | None:
    """Where the parenthesis closes that opened just before `start`; None where it does not."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return None


def separate_numbers(answer: str) -> str:
    """ "2 3" → "2, 3": math-verify would add numbers that only a space separates."""
    return SIDE_BY_SIDE.sub(r"\1, ", answer)
