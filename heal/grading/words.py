"""Compare answers that are words, letters of a choice, or times of day: what math-verify would read as products.

Every function takes the gold answer first and decides only where the gold answer is of its kind; None otherwise.
"""

from __future__ import annotations

import re

LETTER = r"[A-Ja-j]"
TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
SPACE = re.compile(r"(?:\s|\\[,;:! ]|~|\\q?quad(?![A-Za-z]))+")
CHOICE_NAME = r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|statement|alternative)s?(?:\s+is)?\s*:?\s*)?"
ONE_CHOICE = re.compile(
    rf"""
    {CHOICE_NAME.replace(" ", "[ ]")}
    (?: [(\[]\s*({LETTER})\s*[)\]] | ({LETTER}) )
    (?: \s*                                            # C
      | \s*[.:)] (?:\s.*|\\.*)?                        # C) 24
      | (?<=[)\]]) \s* (?![\s+*/^=_!<>]).*             # (C) 24, not (C)+1
      | \s+-\s+ \(?(?:[-\d\\$]|[A-Za-z]{{2}}).*        # C - 24, not C - D
      | \s+[(\d$].*                                    # C 24, C (24)
      | \s*\\q?quad(?![A-Za-z]).+ )
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
SEVERAL_CHOICES = re.compile(
    rf"{CHOICE_NAME}[(\[]?\s*{LETTER}\s*[)\]]?(?:(?:\s*(?:,|;|&|and|or|\s)\s*)+[(\[]?\s*{LETTER}\s*[)\]]?)+", re.I
)
JOINED_CHOICES = re.compile(r"[A-J]{2,6}")
STATED_CHOICE = re.compile(
    r"\b(?:answer|option|choice)(?:\s+is|\s+should be|\s+must be)?\s*[:=]?\s*(?:option\s+|choice\s+)?"
    r"[*_$({\[]*(?:\\text(?:bf)?\{)?\(?([A-J])"
    r"(?![A-Za-z0-9^_'])(?!\s*(?:[+/=<>^]|\*\s*[\w(])|\s+-?[a-z]|\s*\\(?!\)|\]|text|q?quad))",
    re.IGNORECASE,
)
CHOICE_ALONE = re.compile(r"[\s*_$(\[{]*(?:\\text(?:bf)?\{)?\(?([A-J])\)?[\s*_$)\]}.]*")

YES_NO = {"yes", "no", "true", "false"}
CONTRADICTIONS = {
    "and",
    "or",
    "if",
    "only",
    "unless",
    "when",
    "except",
    "but",
    "not",
    "no",
    "yes",
    "true",
    "false",
    "answer",
}
SYNONYMS = {
    **dict.fromkeys(
        ("there is no solution", "there are no solution", "no solution exist", "none exist", "none"), "no solution"
    ),
    **dict.fromkeys((r"\emptyset", r"\{\}", "empty set", "the empty set"), "no solution"),
    **dict.fromkeys(("dne", "do not exist", "doe not exist", "limit doe not exist"), "does not exist"),
    **dict.fromkeys(
        (r"\mathbb{R}", r"\R", r"(-\infty,\infty)", "all real", "real number", "set of all real number"),
        "all real number",
    ),
    **dict.fromkeys(
        ("infinite", "infinitely many", "infinitely many solution", "infinite solution"), "infinitely many"
    ),
}
SMALL_WORDS = re.compile(
    r"^(?:(?:it|this|that|he|she|they|the (?:answer|statement|claim)) (?:is|are) )?(?:on |in )?(?:(?:a|an|the) )?"
)
PLAIN_WORDS = re.compile(r"[^\W\d_][^\W\d_'. -]*(?:[ ,;'.-]+(?:&|[^\W\d_]+))*[.]?", re.UNICODE)
VOWEL = re.compile(r"[aeiouyAEIOUY]|[^\x00-\x7f]")

TIME = re.compile(r"0?(\d{1,2})(?:\s*:\s*(\d{2}))?\s*([ap])\.?\s*m\.?", re.IGNORECASE)
CLOCK = re.compile(r"0?(\d{1,2})\s*:\s*(\d{2})")


def compare_choices(gold: str, answer: str) -> bool | None:
    """Letters of a multiple choice. None where either side names none: "A triangle" is not choice A.

    >>> compare_choices("C", "(C) 24")
    True
    """
    wanted = read_choices(gold)
    if not wanted:
        return None
    named = read_choices(answer)
    return named == wanted if named else None


def read_choices(answer: str) -> str:
    """The chosen letters in alphabetical order, "" where the answer names none: "B, D" → "BD", "C) 24 m" → "C"."""
    plain = TEXT.sub(r"\1", answer).replace("{", "").replace("}", "")
    plain = SPACE.sub(lambda match: " \\quad " if "quad" in match[0] else " ", plain).strip()
    if JOINED_CHOICES.fullmatch(plain):
        letters = set(plain)
        return "".join(sorted(letters)) if len(letters) == len(plain) else ""
    if SEVERAL_CHOICES.fullmatch(plain):
        words = re.sub(CHOICE_NAME, "", plain, count=1, flags=re.IGNORECASE)
        return "".join(sorted(set(re.findall(rf"\b{LETTER}\b", words)))).upper()
    match = ONE_CHOICE.fullmatch(plain)
    return (match[1] or match[2]).upper() if match else ""


def find_stated_choice(text: str) -> str | None:
    """The letter of the last "Answer: C" in a text, or of a last line that is nothing but a letter."""
    stated = STATED_CHOICE.findall(text)
    if stated:
        return stated[-1].upper()
    alone = CHOICE_ALONE.fullmatch(text.strip().rpartition("\n")[2])
    return alone[1] if alone else None


def compare_words(gold: str, answer: str) -> bool | None:
    """Names, "Yes", "no solution". Case, articles, a plural's s and, after Yes or No, an explanation do not count.

    >>> compare_words("\\\\text{no solution}", "No solutions.")
    True
    """
    wanted = fold_words(gold)
    if not wanted:
        return None
    named = fold_words(answer)
    if wanted == named and (len(wanted) > 1 or "\\text" in gold):
        return True
    if not is_word(gold, wanted):
        return None
    if wanted in YES_NO:
        first, *rest = re.split(r"[ ,;:.]+", TEXT.sub(r"\1", answer).strip().lower(), maxsplit=2)
        return first == wanted and not (rest and rest[0] in CONTRADICTIONS)
    parts = [sorted(split_names(words)) for words in (wanted, named)]
    return len(parts[0]) > 1 and parts[0] == parts[1]


def is_word(gold: str, folded: str) -> bool:
    """Whether a gold answer is words and not a product of variables: \\text{…}, or a bare word with a vowel."""
    if folded in YES_NO or folded in SYNONYMS.values():
        return not gold.startswith(("\\emptyset", "\\{", "\\mathbb", "\\R", "("))
    words = re.findall(r"[^\W\d_]+", gold.replace("\\text", ""))
    if not words or "\\" in gold.replace("\\text", ""):
        return False
    if "\\text" in gold:
        return max(map(len, words)) > 1
    return all(len(word) > 3 or word.istitle() and len(word) > 2 for word in words if VOWEL.search(word)) and any(
        VOWEL.search(word) and len(word) > 2 for word in words
    )


def fold_words(answer: str) -> str:
    """Lower case, without \\text, articles and plural endings; "" for anything that is not words."""
    if answer.replace(" ", "") in SYNONYMS:
        return SYNONYMS[answer.replace(" ", "")]
    plain = SPACE.sub(" ", TEXT.sub(r" \1 ", answer)).strip()
    plain = re.sub(r" (?=[,.])", "", plain)
    if not PLAIN_WORDS.fullmatch(plain):
        return ""
    folded = SMALL_WORDS.sub("", plain.lower().rstrip(".").strip())
    folded = " ".join(
        word if len(word) < 4 or word.endswith("ss") else word.removesuffix("s") for word in folded.split()
    )
    return SYNONYMS.get(folded, folded)


def split_names(words: str) -> list[str]:
    """ "ben, carla and tom" → ["ben", "carla", "tom"]"""
    return [part for part in re.split(r"\s*(?:[,;&]|\band\b)\s*", words) if part]


def compare_times(gold: str, answer: str) -> bool | None:
    """Times with a.m. or p.m. in the gold answer; an answer without them is compared by its hands.

    >>> compare_times("2:30 p.m.", "2:30 \\\\text{ PM}")
    True
    """
    wanted = TIME.fullmatch(SPACE.sub(" ", TEXT.sub(r"\1", gold)).strip())
    if wanted is None:
        return None
    plain = SPACE.sub(" ", TEXT.sub(r"\1", answer)).strip()
    named = TIME.fullmatch(plain)
    if named is None:
        clock = CLOCK.fullmatch(plain)
        if clock is None:
            return None if wanted[2] else plain == wanted[1]
        hour = int(clock[1])
        after_noon = int(wanted[1]) % 12 + (12 if wanted[3].lower() == "p" else 0)
        return clock[2] == (wanted[2] or "00") and hour in (int(wanted[1]), after_noon)
    return [int(wanted[1]), wanted[2] or "00", wanted[3].lower()] == [int(named[1]), named[2] or "00", named[3].lower()]
