"""The tables between commands: every column with its type and its meaning, and whether a value may be missing.

Plain data. heal.records reads and writes tables of these schemas; docs/traces.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

text, integer, real, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
ids, values, texts = pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    type: pa.DataType
    meaning: str
    nullable: bool = False
    """Whether a value may be missing; a missing value of any other column is an error."""


PROBLEM_ID = Column(text, "the problem that the row is about")
FINISH_REASON = Column(text, "`stop`: ended by itself; `length`: cut off at the token limit")
EXTRACTED = Column(text, "the final answer that was read from the text; null where there is none", nullable=True)
STEP_ENTROPIES = Column(values, "nats, one per step of the source trace")
SURGES = Column(values, "nats, one per step of the source trace")
BREAKPOINT = Column(
    integer, "the breakpoint k*, a step's number from 1; null where the detector finds none", nullable=True
)
KEPT_STEPS = Column(integer, "number of steps of the source trace before the cut", nullable=True)
CUT_CERTAIN = Column(
    flag, "whether both bounds of the entropies cut at this place; null where entropies are exact", nullable=True
)

PROBLEM = {
    "problem_id": Column(text, "hash of the question"),
    "question": Column(text, "the question, with the run's instruction"),
    "answer": Column(text, "the gold answer"),
    "solution": Column(
        text, "a worked solution, its steps split by blank lines; null where there is none", nullable=True
    ),
    "source": Column(text, "the data set or world that the problem is from"),
    "difficulty": Column(text, "as the data set has it, or `unknown`"),
}
TRACE = {
    "trace_id": Column(text, "hash of the trace"),
    "problem_id": PROBLEM_ID,
    "index": Column(integer, "number of the sample among those of its problem, from 0"),
    "text": Column(text, "the trace: reasoning and final answer"),
    "token_ids": Column(ids, "as the teacher produced them, the end token included"),
    "logprobs": Column(values, "ln p of each token, from raw logits"),
    "entropies": Column(
        values, "nats, of each token, from raw logits; a lower bound where the engine saw only the likeliest tokens"
    ),
    "entropies_upper": Column(values, "the upper bound then; null where entropies are exact", nullable=True),
    "finish_reason": FINISH_REASON,
}
GRADE = {
    "trace_id": Column(text, "the graded trace"),
    "problem_id": PROBLEM_ID,
    "extracted": EXTRACTED,
    "correct": Column(flag, "whether the final answer is the gold answer"),
    "reason": Column(text, "why not; empty where it is correct"),
}
VERDICT = {
    "extracted": EXTRACTED,
    "accepted": Column(
        flag, "whether it ended by itself, is correct and leaks no hint; of repairs, the first of equal texts only"
    ),
    "reason": Column(text, "why not; empty where it is accepted"),
}
VERDICT_OF_ANSWER = {
    "problem_id": Column(text, "the question"),
    "repeat": Column(integer, "number of the answer among those to its question, from 0"),
    "gold": Column(text, "the gold answer"),
    "extracted": EXTRACTED,
    "strict": Column(flag, "whether the last \\boxed{} is right"),
    "flexible": Column(flag, "whether the last number or expression is right"),
    "reason": Column(text, "why not; empty where it is right"),
}
CUT = {
    "step_entropies": STEP_ENTROPIES,
    "surges": SURGES,
    "breakpoint": BREAKPOINT,
    "kept_steps": KEPT_STEPS,
    "cut_certain": CUT_CERTAIN,
}
"""Of the cut of a wrong trace: what it was found by, and where it is."""

SCHEMAS = {
    "problems": PROBLEM,
    "samples": TRACE,
    "grades": GRADE,
    "guided": TRACE | VERDICT,
    "cuts": {
        "source_id": Column(text, "the wrong trace that is cut"),
        "problem_id": PROBLEM_ID,
        "detector": Column(text, "the rule that found the breakpoint"),
        **CUT,
        "kept_ids": Column(ids, "tokens before the cut; at least the opening of a thinking block"),
    },
    "repairs": {
        "trace_id": Column(text, "hash of the repair; null where none was tried (see `reason`)", nullable=True),
        "problem_id": PROBLEM_ID,
        "source_id": Column(text, "the wrong trace that was cut"),
        "index": Column(integer, "number of the repair among those of its source trace, from 0"),
        "detector": Column(text, "the rule that found the breakpoint"),
        **CUT,
        "kept": Column(text, "the source trace before the cut"),
        "hint": Column(text, "the hint at the cut; never part of the training text", nullable=True),
        "continuation": Column(text, "what the teacher wrote after the hint"),
        "text": Column(text, "kept + continuation: the training text"),
        "token_ids": Column(ids, "of the text"),
        "logprobs": Column(values, "ln p of each token of the continuation, under the hint"),
        "entropies": Column(values, "nats, of each token of the continuation, under the hint"),
        "finish_reason": Column(text, f"{FINISH_REASON.meaning}; `none`: not tried"),
    }
    | VERDICT,
    "scores": {
        "trace_id": Column(text, "the scored trace"),
        "problem_id": PROBLEM_ID,
        "origin": Column(text, "`sample`, `guided` or `repair`"),
        "steps": Column(texts, "the steps' texts, the answer statement included"),
        "statement": Column(
            integer, "number of the step that states the answer, from 1; null where none does", nullable=True
        ),
        "nll_mean": Column(values, "mean negative log-likelihood of each step, nats per token, no hint in context"),
        "nll_top20": Column(values, "the same over the least likely fifth of each step's tokens"),
        "nll_max": Column(values, "the same of each step's least likely token"),
        "uncertainty_product": Column(
            values,
            "1 − product of the gold answer's token probabilities after each step, divided by that before any step",
        ),
        "uncertainty_mean": Column(values, "the same with their mean"),
        "statement_nll": Column(
            real,
            "negative log-likelihood, in nats, of the text from that step on; null without a statement",
            nullable=True,
        ),
    },
    "ranks": {
        "trace_id": Column(text, "a correct sample or accepted repair, as the student's tokenizer writes it"),
        "problem_id": PROBLEM_ID,
        "logprobs": Column(values, "ln p of each token under the student"),
        "ranks": Column(ids, "of each token among all, by probability under the student; the likeliest has 1"),
    },
    "continuations": {
        "trace_id": Column(text, "hash of the continuation"),
        "problem_id": PROBLEM_ID,
        "source_id": Column(text, "the teacher's correct sample that was cut"),
        "index": Column(integer, "number of the continuation among those from this cut, from 0"),
        "kept_steps": Column(integer, "number of steps of the source before the cut", nullable=True),
        "steps": Column(integer, "number of steps of the source"),
        "kept": Column(text, "the source before the cut"),
        "continuation": Column(text, "what the student wrote"),
        "text": Column(text, "kept + continuation"),
        "finish_reason": FINISH_REASON,
    }
    | VERDICT,
    "answers": VERDICT_OF_ANSWER
    | {
        "text": Column(text, "the answer"),
        "truncated": Column(flag, "whether it reached its token limit"),
        "n_tokens": Column(integer, "its length in tokens"),
    },
    "outcomes": {
        "teacher": Column(text, "empty for an untrained student"),
        "student": Column(text, "empty for the teacher itself"),
        "method": Column(text, "`teacher` and `untrained` where no student was trained"),
        "teacher_seed": Column(integer, "null for models that were not trained", nullable=True),
        "seed": Column(integer, "training seed; null for models that were not trained", nullable=True),
        "benchmark": Column(text, "the lm-eval task"),
        "engine": Column(text, "the engine that it was answered on; empty where nothing says so"),
    }
    | VERDICT_OF_ANSWER,
}
"""Name of a schema → its columns, in the order of the file."""
