"""LIMO-like selection: few problems, the hardest that the teacher solves at all, and of each the best-formed trace.

Ye et al. 2025, arXiv 2502.03387 ("Less is more for reasoning"). From tens of millions of problems those are kept that a
strong model solves in few of many attempts; their traces are scored by rules, and some 800 pairs make up the training
set. Known, from memory of its section on data: 817 pairs (800 in a later version); a problem stays where 1 to 3 of 32
attempts are right; the score weighs length (30 %), self-verification (20 %: "check", "verify"), exploration (25 %:
"perhaps", "might") and connectives (25 %: "therefore", "since"), the words counted per length of text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from heal.config.options import Count, OptionGroup, Share
from heal.method.base import Example, Method, Traces, compute_pass_rates, take_distinct
from heal.records import Row
from heal.trace_files import GRADES, SAMPLES, TraceFile

WORDS = re.compile(r"\w+")
LENGTH = 0.30  # its share of the score
COUNTED = (  # share of the score, and the words that are counted for it
    (0.20, re.compile(r"\b(check|verif\w+)\b", re.IGNORECASE)),
    (0.25, re.compile(r"\b(perhaps|might)\b", re.IGNORECASE)),
    (0.25, re.compile(r"\b(therefore|since)\b", re.IGNORECASE)),
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
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES]

    def build_curriculum(self, traces: Traces) -> list[Example]:
        correct = {problem: take_distinct(rows, len(rows)) for problem, rows in traces.read_correct().items()}
        rates = compute_pass_rates(traces.read(GRADES))
        rows = [row for found in correct.values() for row in found]
        score = dict(zip((row["trace_id"] for row in rows), form([row["text"] for row in rows]), strict=True))
        best: list[Row] = [max(found, key=lambda row: score[row["trace_id"]]) for found in correct.values()]
        best.sort(key=lambda row: (rates[row["problem_id"]], -score[row["trace_id"]], row["problem_id"]))
        few = best[: min(self.options.most_problems, math.ceil(self.options.share * len(best)))]
        return [Example(row["problem_id"], row["text"].strip(), 1, "sample", row["trace_id"]) for row in few]


def form(texts: Sequence[str]) -> np.ndarray:
    """How well-formed each text is, from 0 to 1, beside the others."""
    lengths = np.array([len(WORDS.findall(text)) for text in texts], dtype=float)  # words
    parts = [(LENGTH, lengths)]
    parts += [(w, np.array([len(p.findall(t)) for t in texts]) / np.maximum(lengths, 1)) for w, p in COUNTED]
    return sum((w * values / max(values.max(initial=0), 1e-12) for w, values in parts), np.zeros(len(texts)))
