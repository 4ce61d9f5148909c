"""Measure what PURE needs to know of a trace, by the teacher, without any hint in context (ours: docs/method.md, PURE).

For each step: its surprise (NLL per token, three statistics), and the uncertainty about the gold answer that is left
after it, read as the probability of the gold answer after a cue, relative to the same before any step. Reads accepted
repairs (and guided samples, and correct base samples for calibration); writes one row per trace (schema `scores`).

    heal score --config config/config.yaml --teacher default --problems problems/train.parquet \\
        --repairs repairs.parquet --samples samples.parquet --grades grades.parquet --out scores.parquet
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Scoring
from heal.errors import HealError
from heal.method.entropy import aggregate_steps
from heal.method.steps import Step, count_opening_tokens, is_answer_statement, split
from heal.pipeline.runner import ModelCommand, count_tokens, count_tokens_since, decode_tokens
from heal.records import Row, Usage

if TYPE_CHECKING:
    from heal.engines.base import Branch, Engine

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

NLL_COLUMNS = {"nll_mean": "mean", "nll_top20": "top20", "nll_max": "max"}


class Score(ModelCommand):
    problems: Path
    """The problems file."""
    samples: Path
    """The teacher's base samples."""
    grades: Path
    """Their grades."""
    repairs: Path
    """The repairs of one GEAR variant."""
    guided: Path | None = None
    """Answer-guided samples, to score them too."""
    scoring: Annotated[Scoring, Section("scoring")] = Scoring()
    """What is measured."""
    variant: str = "default"
    """GEAR variant by name."""
    min_step_tokens: Annotated[int, Section("gear_variants.{variant}.min_step_tokens")] = Gear().min_step_tokens
    """A shorter step joins the next one, as for GEAR."""

    def run(self) -> None:
        problems = {row["problem_id"]: row for row in records.read(self.problems, "problems")}
        correct_ids = {row["trace_id"] for row in records.read(self.grades, "grades") if row["correct"]}
        correct = [row for row in records.read(self.samples, "samples") if row["trace_id"] in correct_ids]
        guided = records.read(self.guided, "guided") if self.guided else []
        repairs = records.read(self.repairs, "repairs")
        traces = select_traces(repairs, guided, correct, self.scoring.calibration_traces)
        for trace in traces:
            if not len(trace["token_ids"]):
                where = f"trace {trace['trace_id']}"
                raise HealError("the trace is empty", where=where, fix="remove it, or sample it again")
        with self.start_engine("score") as (engine, facts):
            facts["tokens"] = self.run_shard(
                "scores",
                traces,
                partial(score_and_count, engine, problems, self.scoring, self.min_step_tokens),
                engine=engine,
                item_ids=[trace["trace_id"] for trace in traces],
                label="traces scored",
            )


def select_traces(
    repairs: Iterable[Row], guided: Iterable[Row], correct: Sequence[Row], calibration_traces: int
) -> list[Row]:
    """Accepted repairs, accepted guided samples, and the first correct sample of evenly chosen problems."""
    first_by_problem = {row["problem_id"]: row for row in reversed(correct)}
    own = sorted(first_by_problem.values(), key=lambda row: row["trace_id"])[:calibration_traces]
    traces = [row | {"origin": "repair"} for row in repairs if row["accepted"]]
    traces += [row | {"origin": "guided"} for row in guided if row["accepted"]]
    return traces + [row | {"origin": "sample"} for row in own]


def score_and_count(
    engine: Engine, problems: dict[str, Row], scoring: Scoring, min_step_tokens: int, batch: Sequence[Row]
) -> tuple[list[Row], Usage]:
    """The scores of a batch of traces, and the tokens they took."""
    before = count_tokens(engine)
    rows = score_batch(engine, batch, problems, scoring, min_step_tokens)
    return rows, count_tokens_since(engine, before)


def score_batch(
    engine: Engine, traces: Sequence[Row], problems: dict[str, Row], scoring: Scoring, min_step_tokens: int
) -> list[Row]:
    """Scores of the traces in their order; two calls of the engine in all."""
    prompts = [list(engine.tokenize_chat(problems[trace["problem_id"]]["question"])) for trace in traces]
    requests = [(prompt, trace["token_ids"]) for prompt, trace in zip(prompts, traces, strict=True)]
    trace_scores = engine.score(requests)
    layouts = [TraceLayout(engine, trace, scoring, min_step_tokens) for trace in traces]
    trunks = []
    for prompt, trace, layout in zip(prompts, traces, layouts, strict=True):
        trunks.append(layout.build_trunk(engine, prompt, trace, problems[trace["problem_id"]]["answer"], scoring))
    rows = []
    answers = engine.score_branches(trunks)
    for trace, score, layout, answer in zip(traces, trace_scores, layouts, answers, strict=True):
        nll_T = -np.asarray(score.logprobs, dtype=np.float64)
        rows.append(layout.build_row(trace, nll_T, answer))
    return rows


class TraceLayout:
    """The steps of a trace, the step that states the answer, and the steps after which uncertainty is read."""

    def __init__(self, engine: Engine, trace: Row, scoring: Scoring, min_step_tokens: int) -> None:
        texts = decode_tokens(engine, trace["token_ids"])
        self.opening = count_opening_tokens(texts)
        self.steps = split(texts, min_step_tokens)
        self.statement = find_statement(self.steps)
        last = len(self.steps) if self.statement is None else self.statement - 1
        self.points = choose_points(last, scoring.max_points)

    def build_trunk(
        self, engine: Engine, prompt: list[int], trace: Row, answer: str, scoring: Scoring
    ) -> tuple[list[int], list[Branch]]:
        """The prompt and trace, with one branch per point: the cue, then the gold answer that is scored."""
        from heal.engines.base import Branch

        cue = tuple(engine.tokenizer.encode(scoring.cue, add_special_tokens=False))
        closing = engine.tokenizer.encode(scoring.closing, add_special_tokens=False)
        gold = tuple(engine.tokenizer.encode(answer, add_special_tokens=False) + closing)
        ends = [self.opening] + [self.steps[k - 1].end for k in self.points]
        branches = [Branch(len(prompt) + end, cue, gold) for end in ends]
        return [*prompt, *map(int, trace["token_ids"][: ends[-1]])], branches

    def build_row(self, trace: Row, nll_T: np.ndarray, answer_logprobs: Sequence[np.ndarray]) -> Row:
        """A row of the schema `scores`. answer_logprobs: of the gold answer's tokens, before any step and per point."""
        statement = self.statement
        row = {
            "trace_id": trace["trace_id"],
            "problem_id": trace["problem_id"],
            "origin": trace["origin"],
            "steps": [step.text for step in self.steps],
            "statement": statement,
            "statement_nll": None if statement is None else float(nll_T[self.steps[statement - 1].start :].sum()),
        }
        for column, statistic in NLL_COLUMNS.items():
            row[column] = aggregate_steps(nll_T, self.steps, statistic)
        for reading in ("product", "mean"):
            before, *after = (compute_uncertainty(logprobs, reading) for logprobs in answer_logprobs)
            relative = divide_by_first(after, before)
            row[f"uncertainty_{reading}"] = hold_between_points(relative, self.points, len(self.steps), 1.0)
        return row


def compute_uncertainty(gold_logprobs: np.ndarray, reading: str) -> float:
    """1 − probability of the gold answer: product over its tokens, or their mean probability (ours)."""
    if reading == "mean":
        return float(1.0 - np.exp(gold_logprobs).mean())
    return float(-np.expm1(np.sum(gold_logprobs, dtype=np.float64)))


def divide_by_first(values_K: Sequence[float], first: float) -> np.ndarray:
    """u_k divided by u_0, shape [K]; 0 where the answer was certain from the start."""
    return np.asarray(values_K) / first if first > 0 else np.zeros(len(values_K))


def choose_points(steps: int, limit: int) -> list[int]:
    """At most `limit` step numbers from 1 to `steps`, evenly spaced, the last always."""
    if steps <= limit:
        return list(range(1, steps + 1))
    if limit == 1:
        return [steps]
    return sorted({round(1 + i * (steps - 1) / (limit - 1)) for i in range(limit)})


def hold_between_points(
    values: Sequence[float] | np.ndarray, points: Sequence[int], steps: int, before: float
) -> list[float]:
    """Values measured at some steps, held until the next point; `before` up to the first."""
    values_by_step = dict(zip(points, values, strict=True))
    held, current = [], before
    for k in range(1, steps + 1):
        current = values_by_step.get(k, current)
        held.append(current)
    return held


def find_statement(steps: Sequence[Step]) -> int | None:
    """The first step that states the answer, from 1; None where none does."""
    for k, step in enumerate(steps, 1):
        if is_answer_statement(step.text):
            return k
    return None
