"""Rows and verdicts of traces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from heal.grading.grader import Grader
from heal.method.gear import leaks
from heal.records import Row, content_id

if TYPE_CHECKING:
    from heal.engines.base import Completion


def trace_row(problem_id: str, purpose: str, index: int, text: str, completion: Completion) -> Row:
    token_ids = completion.token_ids.tolist()
    return {
        "trace_id": content_id(purpose, problem_id, index, token_ids),
        "problem_id": problem_id,
        "index": index,
        "text": text,
        "token_ids": token_ids,
        "logprobs": completion.logprobs,
        "entropies": completion.entropies,
        "entropies_upper": completion.entropies_upper,
        "finish_reason": completion.finish_reason,
    }


def question(problem: Row) -> str:
    """How base and extra samples are asked: nothing but the question."""
    return problem["question"]


def pass_rates(grades: Sequence[Row]) -> dict[str, float]:
    """c/N over the base samples, by problem."""
    correct = defaultdict(list)
    for grade in grades:
        correct[grade["problem_id"]].append(grade["correct"])
    return {problem_id: float(np.mean(values)) for problem_id, values in correct.items()}


def verdict(text: str, gold: str, finish_reason: str, leak_patterns: Sequence[str], grader: Grader) -> Row:
    """A hinted trace may be learnt from where it ended by itself, verifies, and does not speak of the hint."""
    grade = grader.grade(text, gold)
    if finish_reason != "stop":
        reason = "truncated"
    elif not grade.correct:
        reason = grade.reason
    else:
        reason = "leak" if leaks(text, leak_patterns) else ""
    return {"extracted": grade.extracted, "accepted": not reason, "reason": reason}
