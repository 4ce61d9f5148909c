"""Remove units, currencies and ordinal endings behind a number; keep words that change its value ("3 million")."""

from __future__ import annotations

import re
from fractions import Fraction

UNITS = {
    **{"mm": "mm millimeter millimetre", "cm": "cm centimeter centimetre", "dm": "dm decimeter decimetre"},
    **{"m": "m meter metre mtr", "km": "km kilometer kilometre", "in": "in inch inche", "ft": "ft foot feet"},
    **{
        "yd": "yd yard",
        "mi": "mi mile",
        "nm": "nm nanometer",
        "mg": "mg milligram",
        "g": "g gram gm",
        "t": "tonne ton",
    },
    **{"kg": "kg kilogram", "lb": "lb pound", "oz": "oz ounce", "ms": "ms millisecond", "s": "s sec second"},
    **{"min": "min minute", "h": "h hr hour", "day": "day", "week": "week wk", "month": "month", "year": "year yr"},
    **{"L": "L l liter litre", "mL": "mL ml milliliter millilitre", "gal": "gal gallon", "$": "dollar USD usd buck"},
    **{"cent": "cent", "€": "euro EUR", "£": "GBP", "N": "N newton", "J": "J joule", "kJ": "kJ kilojoule"},
    **{"W": "W watt", "kW": "kW kilowatt", "V": "V volt", "A": "A amp ampere", "Hz": "Hz hertz", "Pa": "Pa pascal"},
    **{"Ω": r"ohm \Omega", "K": "K kelvin", "mol": "mol mole", "rad": "rad radian", "mph": "mph", "kmh": "kmh kmph"},
    **{"acre": "acre", "hectare": "ha hectare", "unit": "unit degree deg", "dozen": ""},
}
"""Unit → its spellings, without the plural's s. Words that are not here count as units too, without a name."""
NAMES = {spelling: name for name, spellings in UNITS.items() for spelling in spellings.split()}
PARTS = {("h", "min"): 60, ("min", "s"): 60, ("h", "s"): 3600, ("day", "h"): 24, ("week", "day"): 7, ("ft", "in"): 12}
PARTS |= {
    ("year", "month"): 12,
    ("lb", "oz"): 16,
    ("yd", "ft"): 3,
    ("$", "cent"): 100,
    ("m", "cm"): 100,
    ("km", "m"): 1000,
}
PARTS |= {("kg", "g"): 1000, ("L", "mL"): 1000, ("cm", "mm"): 10}
"""(unit, smaller unit) → how many of the smaller make one."""
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}

NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
GAP = r"(?:\s|\\[,;:! ]|~|\\q?quad(?![A-Za-z]))*"
ORDINAL = re.compile(rf"(\d){GAP}(?:\^\s*)?(?:\{{\s*)?(?:\\text\s*\{{\s*)?(?:st|nd|rd|th)(?:\s*\}}){{0,2}}(?![A-Za-z])")
TEXT_START = r"(?:\\text\s*\{\s*)?"
CURRENCY = re.compile(
    TEXT_START
    + r"(?:\\\$|\\(?:euro|pounds)(?![A-Za-z])|[€£¥₹₩₽￥]|\b(?:USD|US|EUR|GBP|Rs\.?)(?![A-Za-z]))(?:\s*\})?"
    + GAP
)
OTHER_SCRIPT = re.compile(rf"(?<=[\d}}]){GAP}{TEXT_START}[^\x00-\x7f]+\}}?$")
SCALE = re.compile(rf"({NUMBER}){GAP}{TEXT_START}({'|'.join(SCALES)})\b\s*")
QUANTITY = re.compile(
    rf"""
    (?P<value> .*?[\d}})] | .*\\pi | [A-Za-z](?={GAP}\\text) )
    {GAP}
    (?: \\text\s*\{{(?P<text>[^{{}}]*(?:\{{[^{{}}]*\}}[^{{}}]*)*)\}}
      | (?P<bare> \(?[A-Za-z][A-Za-z.]* (?:(?:[ ]|/|\s*\\cdot\s*)[A-Za-z.]+)* \)?)
      | (?P<sign> (?:[kMG]|\\text\s*\{{[kMG]\}})?\\Omega | \\mu\s*(?:\\text\s*\{{[A-Za-z]+\}}|[ACFHLVWgms]))
      | (?P<ratio> \\[dt]?frac\s*\{{\s*\\text\s*\{{[^{{}}]*\}}\s*\}}\s*\{{\s*\\text\s*\{{[^{{}}]*\}}\s*\}})
    )
    (?: {GAP}(?:\^\s*(?:\{{\s*-?[123]\s*\}}|-?[123]) | / | \\cdot(?![A-Za-z]) | \\text\s*\{{[^{{}}]*\}}) )*
    """,
    re.DOTALL | re.VERBOSE,
)
"""A value and what follows it: words in \\text, bare words, the signs of ohm and micro, or a \\frac of two \\text."""
COMPOUND = re.compile(
    rf"""
    ({NUMBER}){GAP}{TEXT_START}([A-Za-z]+)
    (?:\s*\}})? {GAP} {TEXT_START} (?:and\b|,)? \s*\}}? {GAP}
    ({NUMBER}){GAP}{TEXT_START}([A-Za-z]+)\s*\}}?
    """,
    re.VERBOSE,
)
PERCENT = re.compile(rf"(?<=[\d}}]){GAP}{TEXT_START}(?:per ?cent|percentage(?: points?)?|pct)\b\s*\}}?", re.IGNORECASE)
TEMPERATURE = re.compile(r"\^\\circ\s*(?:\\text\s*\{\s*)?([CFK]|Celsius|Fahrenheit)(?:\s*\})?$")
QUALIFIER = re.compile(
    r"\b(?:or|more|less|fewer|least|most|over|under|above|below|than|not|no|if|percent|pct|percentage|modulo|mod)\b",
    re.I,
)
FUNCTION = re.compile(
    r"\b(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|mod|max|min|gcd|lcm|choose|and|or|to|inf|infinity)\b"
)
FILLERS = {"of", "per", "sq", "square", "cubic", "cu", "a", "an", "the", "in", "p", "each", "men", "pie", "way", "ways"}
VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)


def split_unit(answer: str) -> tuple[str, str]:
    """(the answer without its unit, the unit's name or "").

    >>> split_unit("18\\\\,\\\\text{cm}^2")
    ('18', 'cm')
    """
    answer = PERCENT.sub(r"\\%", answer)
    currency = CURRENCY.search(answer)
    answer = CURRENCY.sub("", answer) if currency else answer
    answer = ORDINAL.sub(r"\1", add_parts(write_out_scale(OTHER_SCRIPT.sub("", answer))))
    if match := TEMPERATURE.search(answer):
        return answer[: match.start()] + "^\\circ", match[1][0]
    match = QUANTITY.fullmatch(answer)
    if match is None or not is_unit(match):
        return answer, "$" if currency and "$" in currency[0] else ""
    return match["value"], name_unit(match["text"] or match["bare"] or match["sign"] or match["ratio"])


def is_unit(match: re.Match[str]) -> bool:
    """Whether the words behind a value are a unit, not a factor, a function or a condition that changes the value."""
    value, text, bare = match["value"], match["text"], match["bare"]
    if match["sign"]:
        return value.lstrip("-").replace(".", "").isdigit()
    if match["ratio"]:
        return True
    words = re.findall(r"[^\W\d_]+", text if text is not None else bare)
    if not words or QUALIFIER.search(text or bare):
        return False
    if text is not None:
        return not value[-1:].isalpha() or value.endswith("\\pi") or name_unit(text) != ""
    is_glued = value + bare in match.string
    if all(name_unit(word) for word in words):
        return not is_glued or len(bare) > 1 or value.lstrip("-").replace(".", "").isdigit()
    if is_glued or FUNCTION.search(bare):
        return False
    return all(name_unit(word) or word in FILLERS or (len(word) > 3 and VOWEL.search(word)) for word in words)


def name_unit(words: str) -> str:
    """The unit's name, from the first word that has one; "" for others: "square feet" → "ft", "apples" → ""."""
    for word in re.findall(r"\\?[A-Za-z]+", words):
        for spelling in (word, word.removesuffix("s"), word.lower(), word.lower().removesuffix("s")):
            if spelling in NAMES:
                return NAMES[spelling]
    return ""


def write_out_scale(answer: str) -> str:
    """ "3 million" → "3000000", "2.5 dozen eggs" → "30 eggs" """

    def write(match: re.Match[str]) -> str:
        value = Fraction(match[1].replace(",", "")) * SCALES[match[2]]
        closed = match[0].count("{") > match[0].count("}")
        return f"{value if value.denominator == 1 else float(value)} " + ("\\text{" if closed else "")

    return SCALE.sub(write, answer)


def add_parts(answer: str) -> str:
    """A quantity in two units, in the larger one: "7 hours and 30 minutes" → "\\frac{15}{2} hours"."""
    match = COMPOUND.fullmatch(answer)
    if match is None:
        return answer
    larger, smaller = name_unit(match[2]), name_unit(match[4])
    if (larger, smaller) not in PARTS:
        return answer
    value = Fraction(match[1].replace(",", "")) + Fraction(match[3].replace(",", "")) / PARTS[larger, smaller]
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}} \\text{{{match[2]}}}"
