"""Rewrite answers that are intervals, vectors, sequences or numbers in a base, so that both sides have one notation.

The functions take the gold answer and the answer and return both; math-verify compares them.
"""

from __future__ import annotations

import re

RELATION = re.compile(r"\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![A-Za-z])|<=|>=|<|>")
STRICT = {"<": "<", "\\lt": "<", ">": ">", "\\gt": ">"}
NOT_EQUAL = re.compile(r"(.+?)\s*(?:\\neq?(?![A-Za-z])|\\not\s*=|!=)\s*(.+)", re.DOTALL)
VARIABLE = re.compile(r"\\?[A-Za-z]+(?:_(?:\w|\{\w+\}))?")
OR = re.compile(r"\s*(?:\\text\s*\{\s*,?\s*or\s*\}|\bor\b|\\lor(?![A-Za-z])|\\vee(?![A-Za-z])|\\cup(?![A-Za-z]))\s*")
OUTSIDE = re.compile(
    r"^(\s*(\\?[A-Za-z]+)\s*(?:<|\\leq?(?![A-Za-z]))[^,<>]+),\s*(?=\2\s*(?:>|\\geq?(?![A-Za-z])))"
)  # x < 2, x > 3
AND = re.compile(r"\s*(?:\\text\s*\{\s*,?\s*and\s*\}|\band\b|\\land(?![A-Za-z])|\\wedge(?![A-Za-z])|,)\s*")
SET_BUILDER = re.compile(
    r"\\?(?:left)?\s*\\?\{\s*(?P<variable>\\?[A-Za-z]+)\s*(?:\\in\s*(?:\\mathbb\s*\{?R\}?|R)\s*)?(?:\\mid(?![A-Za-z])|\\vert|\\colon|:|\|)"
    r"(?P<condition>.*?)(?:\\right)?\s*\\?\}",
    re.DOTALL,
)
MEMBER = re.compile(r"\\?[A-Za-z]+\s*\\in(?![A-Za-z])\s*(?=[(\[\\])")
REALS_WITHOUT = re.compile(
    r"(?:\\mathbb\s*\{?R\}?|\(-\\infty,\s*\\infty\))\s*(?:\\setminus|\\backslash|-|\\)\s*\\?\{([^{},]+)\\?\}"
)
OUTWARD = re.compile(r"([\[\]])([^\[\](),;]+)[,;]([^\[\](),;]+)([\[\]])")
SEMICOLON = re.compile(r"([(\[])([^\[\](),;]+);([^\[\](),;]+)([)\]])")
INTERVAL = re.compile(r"\\mathbb\s*\{?R\}?|(?:[(\[][^\[\](),]+,[^\[\](),]+[)\]]\s*(?:\\cup)?\s*)+")

MATRIX = re.compile(r"\\begin\s*\{([pbB]?matrix|smallmatrix|array)\}(?:\{[^{}]*\})?(.*?)\\end\s*\{\1\}", re.DOTALL)
BRACKETS = re.compile(r"\\(?:left|right)(?![A-Za-z])\s*")
ANGLED = re.compile(r"\\langle\s*([^<>]*?,[^<>]*?)\s*\\rangle|^<([^<>]*,[^<>]*)>$")
TRANSPOSED = re.compile(r"\s*\^\s*\{?\s*(?:\\top|\\intercal|\\text\s*\{T\}|T)\s*\}?$")

DOTS = re.compile(r"\s*,?\s*(?:\\(?:[lc]|)dots[cbom]?(?![A-Za-z])|\.\.\.)\s*,?\s*")

BASES = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "sixteen": 16,
}
BASE = rf"(?:\d{{1,2}}|{'|'.join(sorted(BASES, key=len, reverse=True))})"
BASED = re.compile(
    r"(?:\\text\s*\{\s*|\(\s*)?(?<![A-Za-z\d.])(?P<digits>\d[\dA-Fa-f]*(?:\.[\dA-F]+)?|[A-F]+\d[\dA-F]*)(?:\s*[})])?"
    rf"(?:\s*_\s*(?:\{{\s*)?(?:\\text\s*\{{)?\(?\s*(?:base\s*(?:\}})?)?\s*(?P<base>{BASE})\s*\)?(?:\s*\}})*"
    rf"|\s*(?:\\text\s*\{{)?\s*\(?\s*(?:in\s+)?base[- ]*(?:\}})?\s*(?P<named>{BASE})\)?(?:\s*\}})*)"
)


def write_alike(gold: str, answer: str) -> tuple[str, str]:
    """Both answers in the notation of the gold answer, where they are intervals, vectors or sequences.

    >>> write_alike("[2,5)", "2 \\\\le x < 5")
    ('[2,5)', '[2,5)')
    """
    gold, answer = write_vectors(gold, answer)
    gold, answer = write_intervals(gold, answer)
    return write_sequences(gold, answer)


def write_bases(gold: str, answer: str) -> tuple[str, str]:
    """Numbers in a base become words, since math-verify ignores the base: "314_5" → "\\text{base5digits314}".

    Where only one side names a base, its digits are compared: gold 314_5 and answer 314 are equal, 84 is not.
    """
    if BASED.search(gold) and BASED.search(answer):
        return BASED.sub(write_base, gold), BASED.sub(write_base, answer)
    return BASED.sub(lambda match: match["digits"], gold), BASED.sub(lambda match: match["digits"], answer)


def write_base(match: re.Match[str]) -> str:
    base = match["base"] or match["named"]
    digits = match["digits"].lstrip("0").replace(".", "point") or "0"
    return f"\\text{{base{BASES.get(base, base)}digits{digits.upper()}}}"


def write_vectors(gold: str, answer: str) -> tuple[str, str]:
    """A column or row becomes a tuple where the other side is none: "\\langle 1,2 \\rangle" → "(1,2)".

    Two matrices stay: a column is not a row.
    """
    gold, answer = ANGLED.sub(r"(\1\2)", gold), ANGLED.sub(r"(\1\2)", answer)
    if "\\begin" in gold and "\\begin" in answer:
        return gold, answer
    return write_tuple(gold), write_tuple(answer)


def write_tuple(answer: str) -> str:
    """ "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}" → "(1, 2)"; a matrix with rows and columns stays."""
    plain = BRACKETS.sub("", answer)
    match = MATRIX.search(plain)
    if match is None:
        return TRANSPOSED.sub("", answer) if answer.startswith(("(", "[")) and "," in answer else answer
    rows = [row.strip() for row in match[2].strip().removesuffix("\\\\").split("\\\\")]
    if len(rows) > 1 and any("&" in row for row in rows):
        return answer
    entries = rows if len(rows) > 1 else [entry.strip() for entry in re.split("[&,]", rows[0])]
    before, after = plain[: match.start()].rstrip("([ "), TRANSPOSED.sub("", plain[match.end() :].lstrip(")] "))
    return f"{before}({', '.join(entries)}){after}" if len(entries) > 1 else answer


def write_intervals(gold: str, answer: str) -> tuple[str, str]:
    """Inequalities in one variable become intervals where the other side is an interval: "x > 4" → "(4,\\infty)".

    Two inequalities become intervals where they have the same variable.
    """
    gold, answer = write_brackets(gold), write_brackets(answer)
    (gold_name, gold_interval), (answer_name, answer_interval) = read_inequality(gold), read_inequality(answer)
    if gold_interval and answer_interval and gold_name == answer_name:
        return gold_interval, answer_interval
    if answer_interval and not gold_interval and INTERVAL.fullmatch(BRACKETS.sub("", gold)):
        return gold, answer_interval
    if gold_interval and not answer_interval and INTERVAL.fullmatch(BRACKETS.sub("", answer)):
        return gold_interval, answer
    return gold, answer


def write_brackets(answer: str) -> str:
    """ "x \\in ]2;5]" → "(2,5]", "\\{x \\mid x > 4\\}" → "x > 4"; the reals without a point become a union."""
    if match := SET_BUILDER.fullmatch(answer):
        condition = match["condition"].strip()
        answer = condition if match["variable"] in condition else answer
    answer = MEMBER.sub("", answer)
    answer = REALS_WITHOUT.sub(lambda match: exclude(match[1].strip().rstrip("\\")), answer)
    match = OUTWARD.fullmatch(BRACKETS.sub("", answer))
    if match and (match[1] == "]" or match[4] == "["):
        return f"{'(' if match[1] == ']' else '['}{match[2]},{match[3]}{')' if match[4] == '[' else ']'}"
    return SEMICOLON.sub(r"\1\2,\3\4", answer)


def exclude(point: str) -> str:
    return f"(-\\infty,{point})\\cup({point},\\infty)"


def read_inequality(answer: str) -> tuple[str, str]:
    """(variable, the interval or union of intervals it lies in), ("", "") where an answer is no such inequality."""
    if match := NOT_EQUAL.fullmatch(answer):
        return (match[1], exclude(match[2])) if is_variable(match[1]) and "=" not in match[2] else ("", "")
    if not RELATION.search(answer):
        return "", ""
    names, intervals = set(), []
    for part in OR.split(OUTSIDE.sub(r"\1 or ", answer)):
        name, bounds = read_bounds(part)
        names.add(name)
        intervals.append(bounds)
    if len(names) > 1 or "" in names:
        return "", ""
    return names.pop(), "\\cup".join(intervals)


def read_bounds(condition: str) -> tuple[str, str]:
    """ "2 \\le x < 5", "5 > x \\ge 2" or "x \\ge 2 and x < 5" → ("x", "[2,5)")."""
    name, low, high = "", "(-\\infty", "\\infty)"
    for chain in AND.split(condition):
        terms = [term.strip() for term in RELATION.split(chain)]
        signs = [match[0] for match in RELATION.finditer(chain)]
        upward = [sign[0] == "<" or sign.startswith(("\\l",)) for sign in signs]
        if not signs or len(signs) > 2 or not all(terms) or len(set(upward)) > 1:
            return "", ""
        closed = [sign not in STRICT for sign in signs]
        if not upward[0]:
            terms, closed = terms[::-1], closed[::-1]
        place = 1 if len(signs) == 2 else 0 if is_variable(terms[0]) else 1
        if not is_variable(terms[place]) or name not in ("", terms[place]):
            return "", ""
        name = terms[place]
        if place == 1:
            low = f"{'[' if closed[0] else '('}{terms[0]}"
        if place == 0 or len(signs) == 2:
            high = f"{terms[-1]}{']' if closed[-1] else ')'}"
    interval = f"{low},{high}".replace("[-\\infty", "(-\\infty").replace("\\infty]", "\\infty)")
    return name, interval


def is_variable(term: str) -> bool:
    term = term.strip()
    return VARIABLE.fullmatch(term) is not None and term not in ("\\pi", "e", "\\infty")


def write_sequences(gold: str, answer: str) -> tuple[str, str]:
    """Dots, which math-verify drops, become an element of a tuple: "1, 2, \\ldots" → "(1,2,\\text{dots})"."""
    if not (DOTS.search(gold) or DOTS.search(answer)) or not ("," in gold or "," in answer):
        return gold, answer
    return write_dots(gold), write_dots(answer)


def write_dots(answer: str) -> str:
    parts = [part for part in re.split(r"\s*,\s*", DOTS.sub(r",\\text{dots},", answer)) if part]
    plain = re.sub(r",(?=\s*(?:\\right)?\s*\\?[)\]}])", "", ",".join(parts))
    return f"({plain})" if "," in plain and not plain.startswith(("(", "[", "\\{")) else plain
