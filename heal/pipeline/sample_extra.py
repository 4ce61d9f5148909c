"""Sample as much further as HEAL's cost beyond the base samples buys: the extra samples of the equal-cost control.

Reads problems, grades, and the token counts of the files whose cost is matched; writes traces as `heal sample base`
does. Costs are priced tokens (heal.cost). A sample depends on (seed, teacher seed, purpose, problem, index) only; which
samples are kept depends on the shards, never on batches.

    heal sample extra --config config/config.yaml --teacher default --problems FILE --grades FILE \\
        --match guided.parquet --match repairs/default.parquet --match scores/default.parquet --out FILE
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from heal import records
from heal.command import Section
from heal.config.experiment import Cost, Gear
from heal.cost import price_tokens, price_usage
from heal.method.gear import select_treated_problems
from heal.pipeline.requests import NO_ROOM
from heal.pipeline.runner import SKIPPED, describe_usage, locate_shard, take_shard
from heal.pipeline.sample import SampleCommand, sample_cells
from heal.pipeline.verdict import get_question
from heal.records import Row, Usage
from heal.trace_files import EXTRA_BLOCK

if TYPE_CHECKING:
    from heal.engines.base import Engine

VERSION = 4
"""Raise it when the bytes of the output change for the same input."""

MARGIN = 1.1
"""Of the last batch of extra samples: cells sampled over those that the budget is expected to buy."""


class SampleExtra(SampleCommand):
    """Sample as much further as HEAL's cost beyond the base samples buys.

    Each shard spends the share of the cost that its share of the problems is.

    heal sample extra --config config/config.yaml --teacher default --problems FILE --grades FILE \\
        --match guided.parquet --match repairs/default.parquet --match scores/default.parquet --out FILE
    """

    purpose = "extra"
    grades: Path
    """Grades of the base samples."""
    match: list[Path]
    """Files whose cost the extra samples may spend (once per file)."""
    read_price: Annotated[float, Section("cost.read_price")] = Cost().read_price
    """Price of a token that is read, in generated tokens."""
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
        budget = share_budget(self.match, len(problems), self.shard, self.read_price)
        with self.start_engine("sample extra") as (engine, facts):
            facts["seeds"] = list(self.seed_parts)
            fingerprint = self.describe_work(engine, [problem["problem_id"] for problem in problems])
            shard = list(take_shard(problems, self.shard))
            facts |= describe_usage(ExtraBudget(self, engine, shard, budget).spend(fingerprint))


def share_budget(matched: Sequence[Path], problems: int, shard: str, read_price: float) -> float:
    """What a shard may spend, in generated tokens: of the cost of the matched files, its share of the problems."""
    budget = sum(price_usage(records.read_usage(path), read_price) for path in matched)
    return budget * len(locate_shard(problems, shard)) / problems if problems else 0.0


@dataclass
class ExtraBudget:
    """Extra samples in blocks of every problem, until the budget is spent.

    A cell is one block of one problem. Cells are taken block by block, problem by problem; the samples that are kept
    are the first ones, in that order, whose cost fits the budget. So neither batches nor a kill change the result.
    """

    options: SampleExtra
    engine: Engine
    problems: list[Row]
    budget: float
    """Cost of the samples, and of their prompts once per cell, in generated tokens."""

    def spend(self, fingerprint: object) -> Usage:
        """Writes the samples that fit the budget; returns their tokens, and the requests."""
        prompts = {row["problem_id"]: len(self.tokenize(row)) for row in self.problems}
        problems = [row for row in self.problems if self.engine.count_room(self.tokenize(row)) != 0]
        size = self.options.engine.problems_per_batch
        saved = records.Pieces(self.options.out, "samples", [fingerprint, self.budget, size])
        # As many sequences at once as in a batch of base samples.
        most_cells = max(1, size * self.options.sampling.n // EXTRA_BLOCK)
        number, spent, cells_done = 0, 0.0, 0
        while spent < self.budget and problems:
            if not saved.done(number):
                # Little more than what is left will buy, by the cost of the cells so far; first, what it buys at least.
                cost = spent / cells_done if cells_done else EXTRA_BLOCK * self.options.sampling.max_new_tokens
                count = min(most_cells, math.ceil(MARGIN * (self.budget - spent) / cost))
                cells = [self.get_cell(problems, cell) for cell in range(cells_done, cells_done + count)]
                self.sample_batch(saved, number, cells, prompts, self.budget - spent)
            usage = records.read_usage(saved.file(number))
            spent += price_usage(usage, self.options.read_price)
            cells_done += usage["cells"]
            number += 1
            print(f"extra samples: {spent:.0f}/{self.budget:.0f} priced tokens", file=sys.stderr, flush=True)
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
        budget_left: float,
    ) -> None:
        """Samples a batch of cells and saves the rows that fit. prompts: tokens by problem."""
        options = self.options
        rows, usage = sample_cells(self.engine, options.sampling, options.seed_parts, cells, get_question)
        affordable, prefill = take_within_budget(rows, prompts, budget_left, options.read_price)
        kept_usage = {
            "prefill": prefill,
            "generated": sum(len(row["token_ids"]) for row in affordable),
            "requests": usage["requests"],
            "cells": len(cells),
            "exhausted": int(len(affordable) < len(rows)),
        }
        saved.add(number, affordable, kept_usage)


def list_extra_indices(first: int, block: int) -> range:
    """Sample indices of a block of extra samples, behind the base samples."""
    return range(first + block * EXTRA_BLOCK, first + (block + 1) * EXTRA_BLOCK)


def take_within_budget(
    rows: Sequence[Row], prompts: Mapping[str, int], budget: float, read_price: float
) -> tuple[list[Row], int]:
    """(the first rows whose cost fits the budget, their prompt tokens); a prompt counts once per cell of EXTRA_BLOCK.

    prompts: tokens by problem.
    """
    affordable: list[Row] = []
    generated, prefill, last_cell = 0, 0, None
    for number, row in enumerate(rows):
        cell = number // EXTRA_BLOCK
        generated += len(row["token_ids"])
        with_prompt = prefill if cell == last_cell else prefill + prompts[row["problem_id"]]
        if price_tokens(generated, with_prompt, read_price) > budget:
            break
        prefill, last_cell = with_prompt, cell
        affordable.append(row)
    return affordable, prefill
