"""Rows and verdicts that sampling, repairs and student passes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heal.grading.grader import Grader
from heal.method.gear import has_leak
from heal.method.steps import is_thinking_cut_off
from heal.records import Row, hash_content

if TYPE_CHECKING:
    from heal.engines.base import Completion


def build_trace_row(problem_id: str, purpose: str, index: int, text: str, completion: Completion) -> Row:
    """A row of the schema `samples`. purpose: base | guided | greedy | extra | imported; part of the trace id."""
    token_ids = completion.token_ids.tolist()
    return {
        "trace_id": hash_content(purpose, problem_id, index, token_ids),
        "problem_id": problem_id,
        "index": index,
        "text": text,
        "token_ids": completion.token_ids,
        "logprobs": completion.logprobs,
        "entropies": completion.entropies,
        "entropies_upper": completion.entropies_upper,
        "finish_reason": completion.finish_reason,
    }


def get_question(problem: Row) -> str:
    """The user's turn of base and extra samples: nothing but the question."""
    return problem["question"]


def judge_trace(text: str, gold: str, finish_reason: str, leak_patterns: Sequence[str], grader: Grader) -> Row:
    """The verdict on a hinted trace: accepted where it ended by itself, verifies, and does not speak of the hint."""
    grade = grader.grade(text, gold)
    if finish_reason != "stop" or is_thinking_cut_off(text):
        reason = "truncated"
    elif not grade.correct:
        reason = grade.reason
    else:
        reason = "leak" if has_leak(text, leak_patterns) else ""
    return {"extracted": grade.extracted, "accepted": not reason, "reason": reason}
