"""Sample a teacher or a student: base samples, and samples at a low temperature.

Reads problems; writes traces with token ids, log-probs and entropies. A sample depends on (seed, teacher seed, purpose,
problem, index) only, never on batches or shards.

    heal sample base --config config/config.yaml --teacher default --problems problems/train.parquet --out FILE
    heal sample low-temperature --help
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from heal import records
from heal.command import Section
from heal.config.experiment import LowTemperature, Sampling
from heal.config.models import TraceColumns
from heal.pipeline.import_traces import make_trace_measurer, read_traces
from heal.pipeline.requests import RequestLog
from heal.pipeline.runner import BatchWorker, ModelCommand, describe_usage
from heal.pipeline.verdict import build_trace_row, get_question
from heal.records import Row, Usage, derive_seed

if TYPE_CHECKING:
    from heal.engines.base import Engine

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""


class SampleCommand(ModelCommand):
    """What the kinds of samples share."""

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

    def sample_problems(self, make_worker: Callable[[Engine], BatchWorker]) -> None:
        """Samples this shard of the problems and writes `out`."""
        problems = records.read(self.problems, "problems")
        with self.start_engine(f"sample {self.purpose}") as (engine, facts):
            facts["seeds"] = list(self.seed_parts)
            usage = self.run_shard(
                "samples",
                problems,
                make_worker(engine),
                engine=engine,
                item_ids=[problem["problem_id"] for problem in problems],
                label=f"{self.purpose} samples",
            )
            facts |= describe_usage(usage)


class SampleBase(SampleCommand):
    """Sample every problem, from nothing but the question. --student samples a student instead of a teacher.

    heal sample base --config config/config.yaml --teacher default --problems problems/train.parquet --out FILE
    heal sample base --model.path heal/worlds/mini/models/teacher --sampling.n 8 --problems FILE --out FILE
    """

    purpose = "base"
    traces: Path | None = None
    """A file of existing traces that are taken in place of samples (see heal import)."""
    trace_columns: Annotated[TraceColumns, Section("teacher_models.{teacher}.trace_columns")] = TraceColumns()
    """Their columns, where they are not the usual ones."""
    instruction: Annotated[str, Section("problems.instruction")] = ""
    """Text after every question, as the problems have it; used with --traces."""

    def run(self) -> None:
        self.sample_problems(self.make_worker)

    def make_worker(self, engine: Engine) -> BatchWorker:
        if self.traces:
            traces = read_traces(self.traces, self.instruction, self.trace_columns)
            return make_trace_measurer(engine, traces, str(self.traces))
        return make_sampler(engine, self.sampling, self.seed_parts, range(self.sampling.n), get_question)


class SampleLowTemperature(SampleCommand):
    """Sample every problem once greedily and a few times at a low temperature.

    heal sample low-temperature --config config/config.yaml --teacher default --problems FILE --out FILE
    """

    purpose = "low_temperature"
    low_temperature: Annotated[LowTemperature, Section("low_temperature")] = LowTemperature()
    """How many, and the temperature."""

    def run(self) -> None:
        self.sample_problems(self.make_worker)

    def make_worker(self, engine: Engine) -> BatchWorker:
        return make_low_temperature_sampler(engine, self.sampling, self.low_temperature, self.seed_parts)


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


def make_low_temperature_sampler(
    engine: Engine, sampling: Sampling, low_temperature: LowTemperature, seed_parts: Sequence[object]
) -> BatchWorker:
    """A function that draws of each problem one greedy sample, index 0, and then those at the temperature."""
    temperatures = {range(1): 0.0, range(1, 1 + low_temperature.n): low_temperature.temperature}

    def sample_batch(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        rows: list[Row] = []
        usage: Counter[str] = Counter()
        for indices, temperature in temperatures.items():
            cells = [(problem, indices) for problem in batch]
            sampled, tokens = sample_cells(engine, sampling, seed_parts, cells, get_question, temperature=temperature)
            rows += sampled
            usage.update(tokens)
        places = {problem["problem_id"]: place for place, problem in enumerate(batch)}
        return sorted(rows, key=lambda row: (places[row["problem_id"]], row["index"])), dict(usage)

    return sample_batch


def sample_cells(
    engine: Engine,
    sampling: Sampling,
    seed_parts: Sequence[object],
    cells: Sequence[tuple[Row, Sequence[int]]],
    render_question: Callable[[Row], str],
    *,
    temperature: float | None = None,
) -> tuple[list[Row], Usage]:
    """Samples of (problem, sample indices) cells, in their order; a problem whose prompt leaves no room has none.

    temperature: instead of that of the sampling; 0 is greedy.
    """
    from heal.engines.base import Request
    from heal.engines.base import Sampling as Decoding

    purpose, log = str(seed_parts[-1]), RequestLog(engine)
    requests = []
    for problem, indices in cells:
        seeds = tuple(derive_seed(*seed_parts, problem["problem_id"], index) for index in indices)
        requests.append(Request(tuple(engine.tokenize_chat(render_question(problem))), seeds))
    rows = []
    if temperature is None:
        temperature = sampling.temperature
    decoding = Decoding(temperature, sampling.top_p, sampling.max_new_tokens)
    for (problem, indices), completions in zip(cells, log.generate(requests, decoding), strict=True):
        if completions is None:
            continue
        for index, completion in zip(indices, completions, strict=True):
            text = engine.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
            rows.append(build_trace_row(problem["problem_id"], purpose, index, text, completion))
    return rows, log.get_usage()
