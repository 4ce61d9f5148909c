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
OPENING_TOKENS = 8  # "<think>" and a line end have at most so many tokens in any tokenizer


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
    borders = [match.end() for match in BLANK_LINES.finditer(text, 0, scope)]
    steps: list[Step] = []
    start, offset = 0, 0
    words: list[str] = []
    for index, piece in enumerate(pieces):
        if 0 <= end_of_thinking < offset + max(1, len(piece)):  # a token with part of the tag is in no step
            break
        while piece and borders and borders[0] <= offset:  # an empty piece (the end token) opens no step
            borders.pop(0)
            if words and index - start >= min_step_tokens:
                steps.append(Step(start, index, "".join(words)))
                start, words = index, []
        words.append(piece)
        offset += len(piece)
    if words:
        steps.append(Step(start, start + len(words), "".join(words)))
    return steps


def opening_tokens(pieces: Sequence[str]) -> int:
    """How many of a trace's first tokens open its thinking block; 0 where none do."""
    openings = ("".join(pieces[:n]) for n in range(1, 1 + OPENING_TOKENS))
    return next((n for n, text in enumerate(openings, 1) if text == THINKING_STARTS), 0)


def with_opening(text: str) -> str:
    """A trace as a student learns it; one whose block was opened by the teacher's template begins inside the block."""
    opened = THINKING_STARTS.strip() in text or THINKING_ENDS not in text
    return text if opened else THINKING_STARTS + text


def split_text(text: str) -> list[str]:
    """The steps of a text without tokens, stripped."""
    return [part.strip() for part in BLANK_LINES.split(text) if part.strip()]


def states_answer(step: str) -> bool:
    """Whether a step is the answer statement (the final answer stands in a box)."""
    return "\\boxed" in step
