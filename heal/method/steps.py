"""Text ↔ tokens ↔ steps: where the steps of a trace begin and end, in tokens (docs/method.md: ours).

A trace is split at blank lines; runs of them count once. The border is the last newline of the run: indentation and
the first word after it belong to the next step. A token belongs to the step in which it starts; where a token holds the
border and words after it, the two steps are one, since a cut behind it would keep those words. A step shorter than
`min_step_tokens` joins the next one. With a thinking model only the text inside the thinking block is split. Cuts are
made on token ids, never by re-tokenizing text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BLANK_LINES = re.compile(r"\n[ \t]*\n(?:\s*\n)?")
BOX_TOKENS = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
THINKING_STARTS = "<think>\n"
THINKING_ENDS = "</think>"
FIRST_TOKENS = 64  # of a trace, to look for the end of its first step
OPENING_TOKENS = 8  # maximum number of tokens of "<think>" and a line end in any tokenizer

GetTexts = Callable[[Sequence[int] | np.ndarray], Sequence[str]]
"""Token ids → the text of each token, as TokenTexts."""


@dataclass(frozen=True)
class Step:
    """Tokens start … end-1 of a trace, and their text with the delimiter."""

    start: int
    end: int
    text: str


class TokenTexts(dict[int, str]):
    """Token ids → the text of each; a token is decoded once. Special tokens have no text."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def __missing__(self, token: int) -> str:
        self[token] = self.tokenizer.decode([token], skip_special_tokens=True)
        return self[token]

    def __call__(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        ids = token_ids.tolist() if isinstance(token_ids, np.ndarray) else map(int, token_ids)
        return list(map(self.__getitem__, ids))


def split(pieces: Sequence[str], min_step_tokens: int = 1) -> list[Step]:
    """The steps of a trace whose token i has the text `pieces[i]`; [] for an empty trace.

    Joined, the steps give back the text (of the thinking block, where there is one).
    """
    text = "".join(pieces)
    ends_T = np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)))
    tag = text.find(THINKING_ENDS)
    scope, count = len(text), len(pieces)
    if tag >= 0:
        # A token with part of the tag is in no step; an empty one (a special token) before the tag is.
        scope = tag
        lengths_T = np.diff(ends_T, prepend=0)
        count = int(np.argmax(ends_T - lengths_T + np.maximum(lengths_T, 1) > tag))
    steps: list[Step] = []
    start, start_offset = 0, 0
    borders = [match.end() for match in BLANK_LINES.finditer(text, 0, scope)]
    lasts = np.searchsorted(ends_T, borders)  # of each border, the token that holds its newline
    for border, last, end_offset in zip(borders, lasts.tolist(), ends_T[lasts].tolist(), strict=True):
        end = last + 1
        while end < count and ends_T[end] == end_offset:  # an empty piece opens no step
            end += 1
        if end < count and end - start >= min_step_tokens and not text[border:end_offset].strip():
            steps.append(Step(start, end, text[start_offset:end_offset]))
            start, start_offset = end, end_offset
    if count > start:
        stop = int(ends_T[count - 1])
        steps.append(Step(start, count, text[start_offset:stop]))
    return steps


def find_first_step(
    token_ids: Sequence[int] | np.ndarray, get_texts: GetTexts, min_step_tokens: int = 1
) -> Step | None:
    """The first step of a trace, read no further than it takes to know where it ends; None for an empty trace."""
    count = FIRST_TOKENS
    while True:
        steps = split(get_texts(token_ids[:count]), min_step_tokens)
        if count >= len(token_ids) or (len(steps) > 1 and steps[1].text.strip()):
            return steps[0] if steps else None
        count *= 2


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


def is_thinking_cut_off(text: str) -> bool:
    """Whether a text opens a thinking block and never closes it: it was cut off before its answer."""
    return THINKING_STARTS.strip() in text and THINKING_ENDS not in text


def find_statement(steps: Sequence[Step], text: str) -> int | None:
    """The first step that states the final answer of the whole trace in a box, from 1; None where none does.

    text: the whole trace; its last box that is not empty holds the final answer. An empty box, a box with another
    content and a repeated instruction ("put the final answer into \\boxed{}") state nothing.
    """
    boxes = list_boxes(text)
    if not boxes:
        return None
    for k, step in enumerate(steps, 1):
        if boxes[-1] in list_boxes(step.text):
            return k
    return None


def list_boxes(text: str) -> list[str]:
    """Contents of the boxes that balance and are not empty, in the order in which they open.

    Without white space and a final period. Linear in the text's length; escaped braces do not count.
    """
    open_braces: list[int | None] = []  # the content's start for a box, None for another brace
    contents: dict[int, str] = {}
    first = text.find("\\boxed"), text.find("\\fbox")
    if max(first) < 0:
        return []
    for token in BOX_TOKENS.finditer(text, min(position for position in first if position >= 0)):
        symbol = token.group()
        if symbol[-1] == "{" and symbol != "\\{":
            open_braces.append(token.end() if len(symbol) > 1 else None)
        elif symbol == "}" and open_braces:
            start = open_braces.pop()
            if start is not None:
                contents[start] = "".join(text[start : token.start()].split()).rstrip(".")
    return [contents[start] for start in sorted(contents) if contents[start]]
