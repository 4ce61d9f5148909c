"""Sample problems of low pass rate with the answer in the question, and the problems that GEAR treats once greedily.

Reads problems and grades; writes two tables of graded traces (schema `guided`): the answer-guided samples, and one
greedy sample without any hint per treated problem, which only `heal premise` reads: a ceiling that greedy decoding
lifts is none. The greedy samples come first, as they are few; the output's provenance has the tokens of both tables. A
sample depends on (seed, teacher seed, purpose, problem, index) only, never on batches or shards.

    heal sample guided --config config/config.yaml --teacher default --problems FILE --grades FILE \\
        --greedy-out shards/greedy/0.parquet --out shards/guided/0.parquet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Guided, Sampling
from heal.grading.grader import Grader
from heal.method.base import compute_pass_rates
from heal.method.gear import select_treated_problems
from heal.pipeline.runner import BatchWorker, describe_usage
from heal.pipeline.sample import SampleCommand, sample_cells
from heal.pipeline.verdict import get_question, judge_trace
from heal.records import Row, Usage

if TYPE_CHECKING:
    from heal.engines.base import Engine

VERSION = 4
"""Raise it when the bytes of the output change for the same input."""


class SampleGuided(SampleCommand):
    purpose = "guided"
    grades: Path
    """Grades of the base samples."""
    guided: Annotated[Guided, Section("guided")] = Guided()
    """Which problems, and how the answer is given."""
    leak_patterns: Annotated[list[str], Section("gear.leak_patterns")] = Gear().leak_patterns
    """A sample that matches one of these speaks of the hint and is rejected."""
    max_pass_rate: Annotated[float, Section("gear.max_pass_rate")] = Gear().max_pass_rate
    """Problems that GEAR treats: pass rate at most this."""
    max_wrong_agreement: Annotated[float, Section("gear.max_wrong_agreement")] = Gear().max_wrong_agreement
    """Problems whose wrong answers agree more than this are skipped by GEAR."""
    greedy_out: Path
    """The parquet file to write the greedy samples to."""

    def run(self) -> None:
        grades = records.read(self.grades, "grades")
        rates = compute_pass_rates(grades)
        treated_ids = set(select_treated_problems(grades, self.max_pass_rate, self.max_wrong_agreement)[0])
        guided: list[Row] = []
        treated: list[Row] = []
        for problem in records.read(self.problems, "problems"):
            if rates.get(problem["problem_id"], 0.0) < self.guided.pass_rate_below:
                guided.append(problem)
            if problem["problem_id"] in treated_ids:
                treated.append(problem)
        with self.start_engine("sample guided") as (engine, facts):
            facts["seeds"] = list(self.seed_parts)
            greedy_sampler = make_greedy_sampler(engine, self.sampling, self.seed_parts[:2])
            guided_sampler = make_guided_sampler(
                engine, self.sampling, self.guided, self.leak_patterns, self.seed_parts
            )
            usages = []
            for problems, sampler, out, label in (
                (treated, greedy_sampler, self.greedy_out, "greedy samples"),
                (guided, guided_sampler, self.out, "guided samples"),
            ):
                problem_ids = [problem["problem_id"] for problem in problems]
                usages.append(
                    self.run_shard(
                        "guided", problems, sampler, engine=engine, item_ids=problem_ids, label=label, out=out
                    )
                )
            facts |= describe_usage(records.add_usage(usages))


def make_guided_sampler(
    engine: Engine, sampling: Sampling, guided: Guided, leak_patterns: Sequence[str], seed_parts: Sequence[object]
) -> BatchWorker:
    """A function that draws answer-guided samples (STaR's rationalization, arXiv 2203.14465) and judges them."""

    def render_guided_question(problem: Row) -> str:
        return guided.template.format(question=problem["question"], answer=problem["answer"])

    indices = range(guided.n or sampling.n)
    return make_judged_sampler(engine, sampling, seed_parts, indices, render_guided_question, leak_patterns)


def make_greedy_sampler(engine: Engine, sampling: Sampling, seeds: Sequence[object]) -> BatchWorker:
    """A function that draws one greedy sample of each problem and judges it; it saw no hint, so it leaks none."""
    return make_judged_sampler(engine, sampling, (*seeds, "greedy"), range(1), get_question, (), temperature=0.0)


def make_judged_sampler(
    engine: Engine,
    sampling: Sampling,
    seed_parts: Sequence[object],
    indices: Sequence[int],
    render_question: Callable[[Row], str],
    leak_patterns: Sequence[str],
    *,
    temperature: float | None = None,
) -> BatchWorker:
    """A function that draws samples `indices` of each problem of a batch and judges them (see `sample_cells`)."""

    def sample_and_judge(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        cells = [(problem, indices) for problem in batch]
        rows, usage = sample_cells(engine, sampling, seed_parts, cells, render_question, temperature=temperature)
        gold = {problem["problem_id"]: problem["answer"] for problem in batch}
        with Grader() as grader:
            for row in rows:
                answer = gold[row["problem_id"]]
                row |= judge_trace(row["text"], answer, row["finish_reason"], leak_patterns, grader)
        return rows, usage

    return sample_and_judge
