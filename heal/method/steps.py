"""Text ↔ tokens ↔ steps: where the steps of a trace begin and end, in tokens (docs/method.md: ours).

A trace is split at blank lines; runs of them count once. A token belongs to the step in which it starts; the delimiter
belongs to the step before it. A step shorter than `min_step_tokens` joins the next one. With a thinking model only the
text inside the thinking block is split. Cuts are made on token ids, never by re-tokenizing text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
THINKING_STARTS = "<think>\n"
THINKING_ENDS = "</think>"
OPENING_TOKENS = 8  # maximum number of tokens of "<think>" and a line end in any tokenizer


@dataclass(frozen=True)
class Step:
    """Tokens start … end-1 of a trace, and their text with the delimiter."""

    start: int
    end: int
    text: str


def split(pieces: Sequence[str], min_step_tokens: int = 1) -> list[Step]:
    """The steps of a trace whose token i has the text `pieces[i]`; [] for an empty trace.

    Joined, the steps give back the text (of the thinking block, where there is one).
    """
    text = "".join(pieces)
    end_of_thinking = text.find(THINKING_ENDS)
    scope = len(text) if end_of_thinking < 0 else end_of_thinking
    boundaries = [match.end() for match in BLANK_LINES.finditer(text, 0, scope)]
    steps: list[Step] = []
    start = 0
    offset = 0
    words: list[str] = []
    for index, piece in enumerate(pieces):
        if 0 <= end_of_thinking < offset + max(1, len(piece)):  # a token with part of the tag is in no step
            break
        while piece and boundaries and boundaries[0] <= offset:  # an empty piece (the end token) opens no step
            boundaries.pop(0)
            if words and index - start >= min_step_tokens:
                steps.append(Step(start, index, "".join(words)))
                start, words = index, []
        words.append(piece)
        offset += len(piece)
    if words:
        steps.append(Step(start, start + len(words), "".join(words)))
    return steps


def count_opening_tokens(pieces: Sequence[str]) -> int:
    """Number of a trace's first tokens that open its thinking block; 0 where it opens none."""
    for count in range(1, 1 + OPENING_TOKENS):
        if "".join(pieces[:count]) == THINKING_STARTS:
            return count
    return 0


def add_opening(text: str) -> str:
    """A trace as a student learns it: with the opening of its thinking block, which the teacher's template may hold."""
    opened = THINKING_STARTS.strip() in text or THINKING_ENDS not in text
    return text if opened else THINKING_STARTS + text


def split_text(text: str) -> list[str]:
    """The steps of a text without tokens, stripped."""
    return [part.strip() for part in BLANK_LINES.split(text) if part.strip()]


def is_answer_statement(step: str) -> bool:
    """Whether a step is the answer statement (it has the final answer in a box)."""
    return "\\boxed" in step
