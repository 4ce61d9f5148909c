"""Read the gold answer and an answer as a pair: a verdict where words or letters decide, else two formulas to compare.

Where an answer has several defensible readings, the form of the gold answer chooses: a gold letter asks for a choice,
a gold interval for an interval, digits in a base for these digits. docs/grading.md lists the rules.
"""

from __future__ import annotations

import re

from heal.grading.dressing import strip_dressing
from heal.grading.numbers import contains_euler, write_and_fraction, write_numbers
from heal.grading.shapes import write_alike, write_bases
from heal.grading.symbols import write_as_latex
from heal.grading.units import split_unit
from heal.grading.words import compare_choices, compare_times, compare_words

LIST = re.compile(r"[,;]|\band\b|\bor\b|\\pm")
ANY_UNIT = ("", "unit")


def read_pair(gold: str, answer: str) -> bool | tuple[str, str]:
    """True or False where no mathematics is needed, else both in the spelling that math-verify reads.

    >>> read_pair("x+1", "**1 + x cm.**")
    ('x+1', '1 + x')
    """
    gold, answer = clean(gold), clean(answer)
    if gold == answer:
        return True
    for compare in (compare_choices, compare_times, compare_words):
        verdict = compare(gold, answer)
        if verdict is not None:
            return verdict
    gold, answer = write_bases(gold, answer)
    if not LIST.search(gold):
        answer = write_and_fraction(answer)
    has_euler = contains_euler(gold) or contains_euler(answer)
    gold, gold_unit = split_unit(write_numbers(gold, has_euler=has_euler))
    answer, unit = split_unit(write_numbers(answer, has_euler=has_euler))
    if gold_unit != unit and gold_unit not in ANY_UNIT and unit not in ANY_UNIT:
        return False
    gold, answer = write_alike(gold, answer)
    return True if squeeze(gold) == squeeze(answer) else (gold, answer)


def squeeze(answer: str) -> str:
    """Without the blanks that do not separate two words or numbers."""
    return re.sub(r"(?<![A-Za-z\d])\s+|\s+(?![A-Za-z\d])", "", answer)


def clean(answer: str) -> str:
    """Without Unicode signs and dressing; unchanged where nothing would be left."""
    return strip_dressing(write_as_latex(answer)) or answer
