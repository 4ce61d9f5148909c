"""Measure what PURE needs to know of a trace, by the teacher, without any hint in context (ours: docs/method.md, PURE).

For each step: its surprise (NLL per token, three statistics), and the uncertainty about the gold answer that is left
after it, read as the probability of the gold answer after a cue, relative to the same before any step. On a long trace
uncertainty is read on a grid of steps, then ever closer to the crossing, until the first certain step is known.
Reads accepted repairs and correct base samples for calibration, or guided samples; writes one row per trace (schema
`scores`). A trace too long to be read with the cue and the gold answer has no row; its provenance counts it.

    heal score --config config/config.yaml --teacher default --problems problems/train.parquet \\
        --repairs repairs.parquet --samples samples.parquet --grades grades.parquet --out scores.parquet
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Pure, Scoring
from heal.errors import HealError
from heal.method.entropy import aggregate_steps
from heal.method.pure import section_crossing
from heal.method.steps import count_opening_tokens, find_statement, split
from heal.pipeline.requests import RequestLog
from heal.pipeline.runner import ModelCommand, decode_tokens, describe_usage
from heal.records import Row, Usage

if TYPE_CHECKING:
    from heal.engines.base import Branch, Engine

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

READINGS = ("product", "mean")
"""Readings of the gold answer's probability, as `pure.uncertainty`."""
NLL_COLUMNS = {"nll_mean": "mean", "nll_top20": "top20", "nll_max": "max"}


class Score(ModelCommand):
    problems: Path
    """The problems file."""
    repairs: Path | None = None
    """The repairs of one GEAR variant."""
    samples: Path | None = None
    """The teacher's base samples, for calibration."""
    grades: Path | None = None
    """Their grades."""
    guided: Path | None = None
    """Answer-guided samples."""
    scoring: Annotated[Scoring, Section("scoring")] = Scoring()
    """What is measured."""
    variant: str = "default"
    """GEAR variant by name."""
    min_step_tokens: Annotated[int, Section("gear_variants.{variant}.min_step_tokens")] = Gear().min_step_tokens
    """A shorter step joins the next one, as for GEAR."""
    certain_below: Annotated[float, Section("pure.certain_below")] = Pure().certain_below
    """Uncertainty whose crossing is located to the step."""

    def run(self) -> None:
        problems = {row["problem_id"]: row for row in records.read(self.problems, "problems")}
        correct: list[Row] = []
        if self.samples and self.grades:
            correct_ids = {row["trace_id"] for row in records.read(self.grades, "grades") if row["correct"]}
            correct = [row for row in records.read(self.samples, "samples") if row["trace_id"] in correct_ids]
        guided = records.read(self.guided, "guided") if self.guided else []
        repairs = records.read(self.repairs, "repairs") if self.repairs else []
        traces = select_traces(repairs, guided, correct, self.scoring.calibration_traces)
        with self.start_engine("score") as (engine, facts):
            scorer = Scorer(engine, problems, self.scoring, self.min_step_tokens, self.certain_below)
            usage = self.run_shard(
                "scores",
                traces,
                scorer.score_batch,
                engine=engine,
                item_ids=[trace["trace_id"] for _, trace in traces],
                label="traces scored",
            )
            facts |= describe_usage(usage)


def select_traces(
    repairs: Iterable[Row], guided: Iterable[Row], correct: Sequence[Row], calibration_traces: int
) -> list[tuple[str, Row]]:
    """(origin, row) of accepted repairs, accepted guided samples, and a correct sample of evenly chosen problems."""
    first_by_problem = {row["problem_id"]: row for row in reversed(correct)}
    own = sorted(first_by_problem.values(), key=lambda row: row["trace_id"])[:calibration_traces]
    traces = [("repair", row) for row in repairs if row["accepted"]]
    traces += [("guided", row) for row in guided if row["accepted"]]
    return traces + [("sample", row) for row in own]


@dataclass(frozen=True)
class Scorer:
    """Scores traces with one engine. certain_below: the uncertainty whose crossing is located to the step."""

    engine: Engine
    problems: Mapping[str, Row]
    scoring: Scoring
    min_step_tokens: int
    certain_below: float

    def score_batch(self, batch: Sequence[tuple[str, Row]]) -> tuple[list[Row], Usage]:
        """Scores of (origin, trace) pairs in their order, and what they took.

        A trace that does not fit the model together with the cue and the gold answer has no row, and is counted.
        Raises HealError for an empty trace.
        """
        log = RequestLog(self.engine)
        layouts = []
        for origin, trace in batch:
            layout = self.lay_out(origin, trace)
            longest = max(len(layout.token_ids), layout.ends[-1] + len(layout.cue) + len(layout.gold))
            if log.fits(layout.prompt, longest):
                layouts.append(layout)
        trace_scores = self.engine.score([(layout.prompt, layout.token_ids) for layout in layouts])
        self.measure_answers(layouts)
        rows = []
        for layout, score in zip(layouts, trace_scores, strict=True):
            rows.append(layout.build_row(-np.asarray(score.logprobs, dtype=np.float64)))
        return rows, log.get_usage()

    def lay_out(self, origin: str, trace: Row) -> TraceLayout:
        """The trace in tokens and steps, with what is asked after them."""
        tokenizer = self.engine.tokenizer
        token_ids = list(map(int, trace["token_ids"]))
        if not token_ids:
            where = f"trace {trace['trace_id']}"
            raise HealError("the trace is empty", where=where, fix="remove it, or sample it again")
        problem = self.problems[trace["problem_id"]]
        cue = tokenizer.encode(self.scoring.cue, add_special_tokens=False)
        closing = tokenizer.encode(self.scoring.closing, add_special_tokens=False)
        gold = tokenizer.encode(problem["answer"], add_special_tokens=False) + closing
        pieces = decode_tokens(self.engine, token_ids)
        return TraceLayout(
            origin=origin,
            trace_id=trace["trace_id"],
            problem_id=trace["problem_id"],
            prompt=list(self.engine.tokenize_chat(problem["question"])),
            token_ids=token_ids,
            cue=tuple(cue),
            gold=tuple(gold),
            pieces=pieces,
            min_step_tokens=self.min_step_tokens,
            max_points=self.scoring.max_points,
        )

    def measure_answers(self, layouts: Sequence[TraceLayout]) -> None:
        """Reads the gold answer's log-probs: before any step and on a grid of steps, then ever closer to the crossing.

        One call of the engine for the grid, and one per division of the crossings of all traces together.
        """
        asked = [(layout, [0, *layout.points]) for layout in layouts]
        while asked:
            answers = self.engine.score_branches([layout.build_trunk(points) for layout, points in asked])
            for (layout, points), logprobs in zip(asked, answers, strict=True):
                layout.answer_logprobs.update(zip(points, logprobs, strict=True))
            asked = []
            for layout in layouts:
                points = layout.choose_sections(self.certain_below)
                if points:
                    asked.append((layout, points))


class TraceLayout:
    """The steps of a trace, the step that states the answer, and the steps after which uncertainty is read.

    answer_logprobs: number of steps read → log-probs of the gold answer's tokens after them, as far as measured.
    """

    def __init__(
        self,
        *,
        origin: str,
        trace_id: str,
        problem_id: str,
        prompt: list[int],
        token_ids: list[int],
        cue: tuple[int, ...],
        gold: tuple[int, ...],
        pieces: Sequence[str],
        min_step_tokens: int,
        max_points: int,
    ) -> None:
        self.origin, self.trace_id, self.problem_id = origin, trace_id, problem_id
        self.prompt, self.token_ids, self.cue, self.gold = prompt, token_ids, cue, gold
        self.steps = split(pieces, min_step_tokens)
        self.statement = find_statement(self.steps, "".join(pieces))
        last = len(self.steps) if self.statement is None else self.statement - 1
        self.points = choose_points(last, max_points)
        self.ends = [count_opening_tokens(pieces), *(step.end for step in self.steps[:last])]
        self.answer_logprobs: dict[int, np.ndarray] = {}

    def build_trunk(self, points: Sequence[int]) -> tuple[list[int], list[Branch]]:
        """Prompt and trace, with one branch per number of steps: the cue, then the gold answer that is scored."""
        from heal.engines.base import Branch

        branches = [Branch(len(self.prompt) + self.ends[k], self.cue, self.gold) for k in points]
        return self.prompt + self.token_ids[: self.ends[max(points)]], branches

    def measure_uncertainty(self, reading: str) -> tuple[list[int], np.ndarray]:
        """(the steps measured so far, the uncertainty after each, relative to the one before any step)."""
        before, *points = sorted(self.answer_logprobs)
        values = [compute_uncertainty(self.answer_logprobs[k], reading) for k in points]
        return points, divide_by_first(values, compute_uncertainty(self.answer_logprobs[before], reading))

    def choose_sections(self, certain_below: float) -> list[int]:
        """Steps between the first measured certain step and the measured one before it, of either reading."""
        steps: set[int] = set()
        for reading in READINGS:
            points, uncertainty = self.measure_uncertainty(reading)
            steps.update(section_crossing(points, uncertainty, certain_below))
        return sorted(steps)

    def build_row(self, nll_T: np.ndarray) -> Row:
        """A row of the schema `scores`. nll_T: surprise of the trace's tokens in nats, shape [T]."""
        statement = self.statement
        row: Row = {
            "trace_id": self.trace_id,
            "problem_id": self.problem_id,
            "origin": self.origin,
            "steps": [step.text for step in self.steps],
            "statement": statement,
            "statement_nll": None if statement is None else float(nll_T[self.steps[statement - 1].start :].sum()),
        }
        for column, statistic in NLL_COLUMNS.items():
            row[column] = aggregate_steps(nll_T, self.steps, statistic)
        for reading in READINGS:
            points, uncertainty = self.measure_uncertainty(reading)
            row[f"uncertainty_{reading}"] = hold_between_points(uncertainty, points, len(self.steps), 1.0)
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
