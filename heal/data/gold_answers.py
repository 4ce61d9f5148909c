r"""Take the gold answer from a column, in the forms in which data sets write it, and without what surrounds it.

A gold answer that no answer can equal makes its problem count as unsolved by every model, silently. So what is certain
is corrected here (`42.`, `$42$`, `€5`, `1e+16`, a `\frac` that JSON has read as a form feed). Then check_gold of
heal/grading/grader.py refuses what stands for a missing answer, or is no mathematics.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from heal.errors import HealError
from heal.grading.grader import extract_boxed, read_gsm8k_gold

INTEGER = re.compile(r"-?\d+")
CHANGE_ANSWER = "choose another `answer` form or column"

LOST_BACKSLASH = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
"""What JSON reads for a single backslash before a letter → that letter."""
COMMANDS = re.findall(
    r"\w+",
    "bar beta begin big binom bmod boldsymbol bot boxed bullet fbox flat floor forall frac nabla ne neg neq nexists ni "
    "nmid not notin nu rangle rceil rfloor rho right rightarrow rm tan tanh tau text textbf textit tfrac theta times "
    "to top triangle",
)
"""LaTeX commands that begin with one of those letters."""
MIN_PROSE_LETTERS = 3
"""Letters behind a line break or a tab that make a command of it in prose; fewer may be a word or a variable."""


def match_commands(*, prose: bool) -> re.Pattern[str]:
    """A pattern of the characters that were the backslash and first letter of a command."""
    choices = []
    for character, letter in LOST_BACKSLASH.items():
        rests = [name[1:] for name in COMMANDS if name.startswith(letter)]
        if prose and character in "\n\r\t":
            rests = [rest for rest in rests if len(rest) >= MIN_PROSE_LETTERS and rest != "exists"]
        choices.append(f"{character}(?=(?:{'|'.join(rests)})(?![A-Za-z]))")
    return re.compile("|".join(choices))


LOST, LOST_IN_PROSE = match_commands(prose=False), match_commands(prose=True)
NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?"
SCIENTIFIC = re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+")
DELIMITED = re.compile(r"\$\$?([^$]+?)\$?\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
FINAL_PERIOD = re.compile(r"(?<!\.)(?<!\.[A-Za-z])[.。]\s*(?=\$*$)")
MONEY = re.compile(rf"[€£¥₹]\s*({NUMBER})|({NUMBER})\s*[€£¥₹]")
UNIT_IN_PARENTHESES = re.compile(rf"({NUMBER}(?:[/:]\d+)?)\s+\([A-Za-z]{{2,}}(?:[ -][A-Za-z]+)*\)")
LETTERED_CHOICE = re.compile(r"\(([A-J])\)\s+\S.*|([A-J])[).:]\s+\S.*", re.DOTALL)
LAST_NUMBER = re.compile(rf"[^\d\\]*?({NUMBER})[^\d\\]*")


def extract_gold_answer(content: str, form: str) -> str:
    """The gold answer in a column's content. Raises HealError where the content has another form.

    form: plain | gsm8k | boxed | integer, as `Dataset.answer`.
    """
    return clean_gold(restore_commands(find_gold(content, form)))


def find_gold(content: str, form: str) -> str:
    """The part of a column's content that is the gold answer, as it is written there. Raises HealError without one."""
    if form == "gsm8k" or (form == "plain" and "####" in content):
        return read_after_hashes(content)
    if form == "boxed":
        gold = extract_boxed(content)
        if gold is None:
            raise HealError(f"no \\boxed{{}} in {content[-60:]!r}", fix=CHANGE_ANSWER)
        return gold
    if form == "integer":
        whole = content.strip().removesuffix(".0")  # a csv or parquet column with gaps has 33.0
        if not INTEGER.fullmatch(whole):
            raise HealError(f"{content!r:.60} is no whole number", fix=CHANGE_ANSWER)
        return str(int(whole))
    return content


def read_after_hashes(content: str) -> str:
    """GSM8K's answer, behind the last `####`; where those are headings, the only number of the last line."""
    gold = read_gsm8k_gold(content)
    if "\n" not in gold:
        return gold
    last_line = gold.splitlines()[-1]
    number = LAST_NUMBER.fullmatch(last_line)
    if number is None:
        problem = f"`####` marks headings here, and the last line is no answer: {last_line!r:.60}"
        raise HealError(problem, fix="give the final answer in a column of its own")
    return number[1]


def restore_commands(text: str, *, prose: bool = False) -> str:
    r"""The text with the backslashes that JSON has lost: a file with "\frac" instead of "\\frac" has a form feed there.

    prose: only what cannot be a line break or a tab before a word.
    """
    return (LOST_IN_PROSE if prose else LOST).sub(lambda match: "\\" + LOST_BACKSLASH[match[0]], text)


def write_number(value: float) -> str:
    """A number of JSON or parquet without exponent and without a fraction of 0: 1e+16, 27.0."""
    return format_decimal(repr(value)) if math.isfinite(value) else str(value)


def format_decimal(number: str) -> str:
    value = Decimal(number)
    return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"


def clean_gold(gold: str) -> str:
    """The gold answer without math delimiters, final period, currency sign, a unit in parentheses, a choice's text."""
    gold = FINAL_PERIOD.sub("", gold.strip())
    delimited = DELIMITED.fullmatch(gold)
    if delimited:
        gold = FINAL_PERIOD.sub("", delimited[delimited.lastindex or 0].strip())
    for pattern in (MONEY, UNIT_IN_PARENTHESES, LETTERED_CHOICE):
        match = pattern.fullmatch(gold)
        if match:
            gold = match[match.lastindex or 0]
    return format_decimal(gold) if SCIENTIFIC.fullmatch(gold) else gold
