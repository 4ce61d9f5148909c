"""Sample a teacher or a student: base samples, answer-guided samples, and the extra samples of the equal-cost control.

Reads problems (and grades, where the choice of problems depends on them); writes traces with token ids, log-probs and
entropies. A sample depends on (seed, teacher seed, purpose, problem, index) only, never on batches or shards.

    heal sample base --config config/config.yaml --teacher default --problems problems/train.parquet --out FILE
    heal sample guided --help
    heal sample extra --help
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Guided, Sampling
from heal.grading.grader import Grader
from heal.method.base import compute_pass_rates
from heal.method.gear import select_treated_problems
from heal.pipeline.import_traces import make_trace_measurer, read_traces
from heal.pipeline.requests import NO_ROOM, RequestLog
from heal.pipeline.runner import (
    SKIPPED,
    TOKEN_KINDS,
    BatchWorker,
    ModelCommand,
    describe_usage,
    locate_shard,
    take_shard,
)
from heal.pipeline.verdict import build_trace_row, get_question, judge_trace
from heal.records import Row, Usage, derive_seed
from heal.trace_files import EXTRA_BLOCK

if TYPE_CHECKING:
    from heal.engines.base import Engine

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""


MARGIN = 1.1
"""Of the last batch of extra samples: cells sampled over those that the budget is expected to buy."""


class SampleCommand(ModelCommand):
    """What the three kinds of samples share."""

    purpose: ClassVar[str]
    """Part of every sample's seed."""

    problems: Path
    """The problems file."""
    sampling: Annotated[Sampling, Section("sampling")] = Sampling()
    """Samples per problem, and decoding."""

    @property
    def seed_parts(self) -> tuple[int, int, str]:
        """What a sample's seed depends on, next to problem and index."""
        return self.seed, self.teacher_seed, self.purpose

    def sample_problems(self, schema: str, problems: list[Row], make_worker: Callable[[Engine], BatchWorker]) -> None:
        """Samples this shard of the problems and writes `out`."""
        with self.start_engine(f"sample {self.purpose}") as (engine, facts):
            facts["seeds"] = list(self.seed_parts)
            self.run_shard(
                schema,
                problems,
                make_worker(engine),
                engine=engine,
                facts=facts,
                item_ids=[problem["problem_id"] for problem in problems],
                label=f"{self.purpose} samples",
            )


class SampleBase(SampleCommand):
    """Sample every problem, from nothing but the question. --student samples a student instead of a teacher.

    heal sample base --config config/config.yaml --teacher default --problems problems/train.parquet --out FILE
    heal sample base --model.path heal/worlds/mini/models/teacher --sampling.n 8 --problems FILE --out FILE
    """

    purpose = "base"
    traces: Path | None = None
    """A file of existing traces that are taken in place of samples (see heal import)."""
    instruction: Annotated[str, Section("problems.instruction")] = ""
    """Text after every question, as the problems have it; used with --traces."""

    def run(self) -> None:
        self.sample_problems("samples", records.read(self.problems, "problems"), self.make_worker)

    def make_worker(self, engine: Engine) -> BatchWorker:
        if self.traces:
            return make_trace_measurer(engine, read_traces(self.traces, self.instruction), str(self.traces))
        return make_sampler(engine, self.sampling, self.seed_parts, range(self.sampling.n), get_question)


class SampleGuided(SampleCommand):
    """Sample the problems of low pass rate with the answer in the question, and grade the samples.

    heal sample guided --config config/config.yaml --teacher default --problems FILE --grades FILE --out FILE
    """

    purpose = "guided"
    grades: Path
    """Grades of the base samples."""
    guided: Annotated[Guided, Section("guided")] = Guided()
    """Which problems, and how the answer is given."""
    leak_patterns: Annotated[list[str], Section("gear.leak_patterns")] = Gear().leak_patterns
    """A sample that matches one of these speaks of the hint and is rejected."""

    def run(self) -> None:
        rates = compute_pass_rates(records.read(self.grades, "grades"))
        problems = []
        for problem in records.read(self.problems, "problems"):
            if rates.get(problem["problem_id"], 0.0) < self.guided.pass_rate_below:
                problems.append(problem)
        self.sample_problems("guided", problems, self.make_worker)

    def make_worker(self, engine: Engine) -> BatchWorker:
        return make_guided_sampler(engine, self.sampling, self.guided, self.leak_patterns, self.seed_parts)


class SampleExtra(SampleCommand):
    """Sample as much further as the tokens buy that HEAL takes beyond the base samples.

    Each shard spends the share of the tokens that its share of the problems is.

    heal sample extra --config config/config.yaml --teacher default --problems FILE --grades FILE \\
        --match guided.parquet --match repairs/default.parquet --match scores/default.parquet --out FILE
    """

    purpose = "extra"
    grades: Path
    """Grades of the base samples."""
    match: list[Path]
    """Files whose tokens the extra samples may spend (once per file)."""
    allocation: Literal["uniform", "treated"] = "uniform"
    """Samples of every problem, or of those that GEAR treats."""
    variant: str = "default"
    """GEAR variant by name."""
    max_pass_rate: Annotated[float, Section("gear_variants.{variant}.max_pass_rate")] = Gear().max_pass_rate
    """Problems that GEAR treats: pass rate at most this."""
    max_wrong_agreement: Annotated[float, Section("gear_variants.{variant}.max_wrong_agreement")] = (
        Gear().max_wrong_agreement
    )
    """Problems whose wrong answers agree more than this are skipped by GEAR."""

    def run(self) -> None:
        problems = records.read(self.problems, "problems")
        if self.allocation == "treated":
            grades = records.read(self.grades, "grades")
            treated = set(select_treated_problems(grades, self.max_pass_rate, self.max_wrong_agreement)[0])
            problems = [problem for problem in problems if problem["problem_id"] in treated]
        budget = share_budget(self.match, len(problems), self.shard)
        with self.start_engine("sample extra") as (engine, facts):
            facts["seeds"] = list(self.seed_parts)
            fingerprint = self.describe_work(engine, [problem["problem_id"] for problem in problems])
            shard = list(take_shard(problems, self.shard))
            facts |= describe_usage(ExtraBudget(self, engine, shard, budget).spend(fingerprint))


def make_sampler(
    engine: Engine,
    sampling: Sampling,
    seed_parts: Sequence[object],
    indices: Sequence[int],
    render_question: Callable[[Row], str],
) -> BatchWorker:
    """A function that draws samples `indices` of each problem of a batch; render_question: problem → user turn."""

    def sample_batch(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        cells = [(problem, indices) for problem in batch]
        return sample_cells(engine, sampling, seed_parts, cells, render_question)

    return sample_batch


def sample_cells(
    engine: Engine,
    sampling: Sampling,
    seed_parts: Sequence[object],
    cells: Sequence[tuple[Row, Sequence[int]]],
    render_question: Callable[[Row], str],
) -> tuple[list[Row], Usage]:
    """Samples of (problem, sample indices) cells, in their order; a problem whose prompt leaves no room has none."""
    from heal.engines.base import Request
    from heal.engines.base import Sampling as Decoding

    purpose, log = str(seed_parts[-1]), RequestLog(engine)
    requests = []
    for problem, indices in cells:
        seeds = tuple(derive_seed(*seed_parts, problem["problem_id"], index) for index in indices)
        requests.append(Request(tuple(engine.tokenize_chat(render_question(problem))), seeds))
    rows = []
    decoding = Decoding(sampling.temperature, sampling.top_p, sampling.max_new_tokens)
    for (problem, indices), completions in zip(cells, log.generate(requests, decoding), strict=True):
        if completions is None:
            continue
        for index, completion in zip(indices, completions, strict=True):
            text = engine.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
            rows.append(build_trace_row(problem["problem_id"], purpose, index, text, completion))
    return rows, log.get_usage()


def make_guided_sampler(
    engine: Engine, sampling: Sampling, guided: Guided, leak_patterns: Sequence[str], seed_parts: Sequence[object]
) -> BatchWorker:
    """A function that draws answer-guided samples (STaR's rationalization, arXiv 2203.14465) and judges them."""

    def render_guided_question(problem: Row) -> str:
        return guided.template.format(question=problem["question"], answer=problem["answer"])

    indices = range(guided.n or sampling.n)
    sample_batch = make_sampler(engine, sampling, seed_parts, indices, render_guided_question)

    def sample_and_judge(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        rows, usage = sample_batch(batch)
        gold = {problem["problem_id"]: problem["answer"] for problem in batch}
        with Grader() as grader:
            for row in rows:
                answer = gold[row["problem_id"]]
                row |= judge_trace(row["text"], answer, row["finish_reason"], leak_patterns, grader)
        return rows, usage

    return sample_and_judge


def share_budget(matched: Sequence[Path], problems: int, shard: str) -> int:
    """Tokens that a shard may spend: of those of the matched files, its share of the problems; the parts add up."""
    budget = 0
    for path in matched:
        usage = records.read_usage(path)
        budget += sum(usage.get(kind, 0) for kind in TOKEN_KINDS)
    part = locate_shard(problems, shard)
    return budget * part.stop // problems - budget * part.start // problems if problems else 0


@dataclass
class ExtraBudget:
    """Extra samples in blocks of every problem, until the tokens are spent.

    A cell is one block of one problem. Cells are taken block by block, problem by problem; the samples that are kept
    are the first ones, in that order, whose tokens fit the budget. So neither batches nor a kill change the result.
    """

    options: SampleExtra
    engine: Engine
    problems: list[Row]
    budget: int
    """Tokens of the samples and of their prompts, once per cell."""

    def spend(self, fingerprint: object) -> Usage:
        """Writes the samples that fit the budget; returns their tokens, and the requests."""
        prompts = {row["problem_id"]: len(self.tokenize(row)) for row in self.problems}
        problems = [row for row in self.problems if self.engine.count_room(self.tokenize(row)) != 0]
        size = self.options.engine.problems_per_batch
        saved = records.Pieces(self.options.out, "samples", [fingerprint, self.budget, size])
        # As many sequences at once as in a batch of base samples.
        most_cells = max(1, size * self.options.sampling.n // EXTRA_BLOCK)
        number, spent, cells_done = 0, 0, 0
        while spent < self.budget and problems:
            if not saved.done(number):
                count = most_cells
                if cells_done:  # little more than what is left will buy, by the cost of the cells so far
                    count = min(count, math.ceil(MARGIN * (self.budget - spent) * cells_done / spent))
                cells = [self.get_cell(problems, cell) for cell in range(cells_done, cells_done + count)]
                self.sample_batch(saved, number, cells, prompts, self.budget - spent)
            usage = records.read_usage(saved.file(number))
            spent += usage["prefill"] + usage["generated"]
            cells_done += usage["cells"]
            number += 1
            print(f"extra samples: {spent}/{self.budget} tokens", file=sys.stderr, flush=True)
            if usage["exhausted"]:
                break
        total = saved.finish(number)
        skipped = len(self.problems) - len(problems)
        return total | ({f"{SKIPPED}{NO_ROOM}": skipped} if skipped else {})

    def tokenize(self, problem: Row) -> tuple[int, ...]:
        return tuple(self.engine.tokenize_chat(get_question(problem)))

    def get_cell(self, problems: Sequence[Row], number: int) -> tuple[Row, range]:
        """The problem and the sample indices of a cell."""
        block, place = divmod(number, len(problems))
        return problems[place], list_extra_indices(self.options.sampling.n, block)

    def sample_batch(
        self,
        saved: records.Pieces,
        number: int,
        cells: Sequence[tuple[Row, range]],
        prompts: Mapping[str, int],
        tokens_left: int,
    ) -> None:
        """Samples a batch of cells and saves the rows that fit. prompts: tokens by problem."""
        options = self.options
        rows, usage = sample_cells(self.engine, options.sampling, options.seed_parts, cells, get_question)
        affordable, cost = take_within_budget(rows, prompts, tokens_left)
        generated = 0
        for row in affordable:
            generated += len(row["token_ids"])
        kept_usage = {
            "prefill": cost - generated,
            "generated": generated,
            "requests": usage["requests"],
            "cells": len(cells),
            "exhausted": int(len(affordable) < len(rows)),
        }
        saved.add(number, affordable, kept_usage)


def list_extra_indices(first: int, block: int) -> range:
    """Sample indices of a block of extra samples, behind the base samples."""
    return range(first + block * EXTRA_BLOCK, first + (block + 1) * EXTRA_BLOCK)


def take_within_budget(rows: Sequence[Row], prompts: Mapping[str, int], budget: int) -> tuple[list[Row], int]:
    """(the first rows whose tokens fit the budget, what they cost); a prompt counts once per cell of consecutive rows.

    prompts: tokens by problem.
    """
    affordable: list[Row] = []
    spent, last_cell = 0, None
    for number, row in enumerate(rows):
        cell = number // EXTRA_BLOCK
        cost = len(row["token_ids"]) + (0 if cell == last_cell else prompts[row["problem_id"]])
        if spent + cost > budget:
            break
        spent, last_cell = spent + cost, cell
        affordable.append(row)
    return affordable, spent
