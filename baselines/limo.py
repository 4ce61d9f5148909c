"""LIMO-like selection: few problems, the hardest that the teacher solves at all, and of each the best-formed trace.

Ye et al. 2025, arXiv 2502.03387 ("Less is more for reasoning"). From tens of millions of problems those are kept that
a strong model solves in few of many attempts; their traces are scored by rules, and some 800 pairs make up the
training set: 817 pairs, 800 in a later version. From memory of its section on data: a problem stays where 1 to 3 of 32
attempts are right; the score weighs length (30 %), self-verification (20 %: "check", "verify"), exploration (25 %:
"perhaps", "might") and connectives (25 %: "therefore", "since"), the words counted per length of text.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import ClassVar

import numpy as np

from heal.config.options import Count, OptionGroup, Share
from heal.method.base import NOT_CHECKED, Example, Method, Traces, compute_pass_rates, take_distinct
from heal.records import Row
from heal.trace_files import GRADES, SAMPLES, TraceFile

LENGTH = 0.30  # its share of the score
COUNTED = (  # share of the score, and the words that are counted for it: beginning, and the whole word
    (0.20, {"check": re.compile(r"\bcheck\b"), "verif": re.compile(r"\bverif\w+")}),
    (0.25, {"perhaps": re.compile(r"\bperhaps\b"), "might": re.compile(r"\bmight\b")}),
    (0.25, {"therefore": re.compile(r"\btherefore\b"), "since": re.compile(r"\bsince\b")}),
)


class Options(OptionGroup):
    most_problems: Count = 817
    """Problems at most (as in the paper)."""
    share: Share = 0.2
    """The hardest share of the problems that the teacher solved (ours)."""


class Limo(Method):
    name = "limo"
    paper = "arXiv 2502.03387 (Ye et al., LIMO)"
    summary = "the best-formed trace of each of the few hardest problems that the teacher solved"
    differs = (
        "chosen from the run's problems by the teacher's own pass rate, not from millions by two models'; a share of "
        "the solved problems; the trace's score by the rules as remembered, each scaled by its largest value; the "
        "teacher alone writes; the run's optimizer steps, not 15 epochs"
    )
    sources: ClassVar = {
        "817 pairs, 800 in version 2": "public code: GAIR-NLP/LIMO at 2284c6a, README.md",
        "15 epochs": "public code: GAIR-NLP/LIMO at 2284c6a, train/examples/train_limo.yaml",
        "1 to 3 of 32 attempts are right": NOT_CHECKED,
        "score: length 30 %, self-verification 20 %, exploration 25 %, connectives 25 %": NOT_CHECKED,
    }
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        correct = traces.read_correct()
        rates = compute_pass_rates(traces.read(GRADES))
        rows = []
        for problem_rows in correct.values():
            rows += take_distinct(problem_rows, len(problem_rows))
        scores = {}
        for row, score in zip(rows, score_form(row["text"] for row in rows), strict=True):
            scores[row["trace_id"]] = score
        best: dict[str, Row] = {}
        for row in rows:
            problem_id = row["problem_id"]
            if problem_id not in best or scores[row["trace_id"]] > scores[best[problem_id]["trace_id"]]:
                best[problem_id] = row

        def rank(row: Row) -> tuple[float, float, str]:
            return rates[row["problem_id"]], -scores[row["trace_id"]], row["problem_id"]

        count = min(self.options.most_problems, math.ceil(self.options.share * len(best)))
        chosen = sorted(best.values(), key=rank)[:count]
        return (Example(row["problem_id"], row["text"].strip(), 1, "sample", row["trace_id"]) for row in chosen)


@cache
def make_word_table() -> np.ndarray:
    """Code point → whether it is part of a word, as regular expressions have it (\\w); bool."""
    return np.array([chr(code).isalnum() or chr(code) == "_" for code in range(sys.maxunicode + 1)])


def count_words(text: str) -> int:
    """Number of words: runs of word characters. Thousands of a text: without an object for each."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    in_word = make_word_table()[codes]
    return int(in_word[:1].sum() + (in_word[1:] & ~in_word[:-1]).sum())


def count_matches(text: str, patterns: dict[str, re.Pattern[str]]) -> int:
    """Number of matches of patterns in a lower-case text. patterns: by the letters that each match begins with."""
    count = 0
    for beginning, pattern in patterns.items():
        place = text.find(beginning)
        while place >= 0:
            count += pattern.match(text, place) is not None
            place = text.find(beginning, place + 1)
    return count


def score_form(texts: Iterable[str]) -> np.ndarray:
    """How well-formed each text is, from 0 to 1, relative to the others. Reads one text at a time."""
    rows = []
    for text in texts:
        lowered = text.lower()
        rows.append([count_words(text), *(count_matches(lowered, patterns) for _, patterns in COUNTED)])
    lengths, *columns = np.array(rows, dtype=float).reshape(len(rows), 1 + len(COUNTED)).T  # lengths in words
    parts = [(LENGTH, lengths)]
    for (weight, _), counts in zip(COUNTED, columns, strict=True):
        parts.append((weight, counts / np.maximum(lengths, 1)))
    total = np.zeros(len(rows))
    for weight, values in parts:
        total = total + weight * values / max(values.max(initial=0), 1e-12)
    return total
