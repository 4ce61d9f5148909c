"""Assumptions of a cost plan, and what it can look up: numbers of problems, benchmarks.

Reads local problem files, evals/tasks/*.yaml and sample files of finished runs. Every assumption is a number with its
source; `heal plan --assume KEY=VALUE` sets one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from heal import records, registry
from heal.config.data import Dataset
from heal.config.experiment import Experiment
from heal.data.load_problems import check_filters, passes_filters
from heal.data.read_rows import read_rows
from heal.errors import HealError, suggest
from heal.planning.gpus import find_gpu
from heal.run_layout import TRACES
from heal.trace_files import SAMPLES

POSITIVE = {
    "trace_tokens",
    "step_tokens",
    "use_reading",
    "use_training",
    "use_training_large",
    "use_bandwidth",
    "use_cpu",
    "tflops_cpu",
    "disk_gb_s",
}
"""Assumptions that cannot be 0."""
DEFAULT_MAX_TOKENS = 256
"""lm-eval's token limit for a task that sets none."""


@dataclass(frozen=True)
class Assumption:
    value: float
    source: str


@dataclass(frozen=True)
class Benchmark:
    split: str
    """The problems it asks."""
    repeats: int
    """Answers per problem."""
    max_tokens: int
    """Token limit of an answer."""


def list_assumptions(experiment: Experiment, gpu: str, results: Path | None = None) -> dict[str, Assumption]:
    """Every assumption by its key. results: folder of finished runs, to measure bytes per token in.

    Raises HealError for an unknown GPU type.
    """
    sheet, vllm = find_gpu(gpu), experiment.engine.backend == "vllm"
    from_sheet = f"{gpu}, data sheet" if gpu != "cpu" else "no GPU: all jobs run on the CPU"
    not_compressed = Assumption(20 if vllm else 16, "ours: a trace's fields at 4 bytes each, not compressed")
    return list_workload_assumptions(experiment) | {
        "use_reading": Assumption(0.4, "ours: share of the peak while prefilling and scoring"),
        "use_training": Assumption(0.17, "below 5B: prime-rl has 17-24 % for Qwen3-0.6B on an H100, 27 % for 4B on 8"),
        "use_training_large": Assumption(0.25, "from 5B: torchtitan has 33-39 % for 8B; here weights are float32"),
        "use_bandwidth": Assumption(0.6 if vllm else 0.25, "ours: share of the memory bandwidth while generating"),
        "step_s": Assumption(0.01 if vllm else 0.03, "ours: scheduling and sampling, per token of a whole batch"),
        "use_cpu": Assumption(0.3, "ours: share of tflops_cpu; of a 135M model on two threads, 220 tokens/s"),
        "start_s": Assumption(90 if vllm else 15, f"ours: until {experiment.engine.backend} has a job's model ready"),
        "tflops_16bit": Assumption(sheet.tflops_16bit, from_sheet),
        "tflops_32bit": Assumption(sheet.tflops_32bit, from_sheet),
        "memory_gb": Assumption(sheet.memory_gb, from_sheet),
        "bandwidth_gb_s": Assumption(sheet.bandwidth_gb_s, from_sheet),
        "tflops_cpu": Assumption(0.1, "ours: one thread, two AVX2 units of 8 lanes at 3 GHz"),
        "disk_gb_s": Assumption(1.0, "ours: writing checkpoints"),
        "cut_s_per_token": Assumption(1e-5, "measured on two CPU cores: 8.8 µs to decode a token, for the cuts"),
        "bytes_per_token": (measure_bytes_per_token(results) if results else None) or not_compressed,
    }


def list_workload_assumptions(experiment: Experiment) -> dict[str, Assumption]:
    """What a run's amounts of tokens rest on."""
    half_limit, half_search = experiment.sampling.max_new_tokens / 2, experiment.gear.search_fraction / 2
    return {
        "prompt_tokens": Assumption(150, "ours: a question in its chat template"),
        "trace_tokens": Assumption(half_limit, "ours: half of sampling.max_new_tokens"),
        "answer_share": Assumption(0.5, "ours: an answer's length as share of the benchmark's token limit"),
        "treated_share": Assumption(0.13, "problems for GEAR; reported: what Qwen3-32B leaves unsolved of AIME 2025"),
        "guided_share": Assumption(0.3, "ours: problems whose pass rate is below guided.pass_rate_below"),
        "repairable_share": Assumption(0.9, "ours: wrong traces that ended by themselves and have a breakpoint"),
        "kept_share": Assumption(
            half_search, "ours: a wrong trace's part before the cut, half of gear.search_fraction"
        ),
        "hint_tokens": Assumption(20, "ours"),
        "guided_accepted": Assumption(0.5, "ours: share of the answer-guided samples"),
        "repairs_accepted": Assumption(0.5, "ours: share of the repairs; these are scored"),
        "step_tokens": Assumption(50, "ours: a step's length, for the points at which scoring asks for the answer"),
        "point_tokens": Assumption(12, "ours: cue, gold answer and closing at such a point"),
    }


def set_assumptions(
    assumptions: Mapping[str, Assumption], values: Mapping[str, float], source: str, other_keys: Collection[str] = ()
) -> dict[str, Assumption]:
    """The assumptions with some of them replaced. Raises HealError for an unknown key or an impossible value.

    other_keys: further keys that --assume takes, for the message.
    """
    merged = dict(assumptions)
    for key, value in values.items():
        if key not in assumptions:
            fix = suggest(key, [*assumptions, *other_keys])
            raise HealError(f"unknown assumption {key!r}", where="--assume", fix=fix)
        check_value(key, value)
        merged[key] = Assumption(value, source)
    return merged


def check_value(key: str, value: float) -> None:
    """Raises HealError for a value that an assumption cannot have."""
    is_share = key.startswith("use_") or key.endswith(("_share", "_accepted"))
    problem = f"{key} is {value:g}"
    if not 0 <= value < math.inf:
        raise HealError(problem, where="--assume", fix="give a number from 0")
    if is_share and value > 1:
        raise HealError(problem, where="--assume", fix="give a share from 0 to 1")
    if value == 0 and key in POSITIVE:
        raise HealError(problem, where="--assume", fix="give a number above 0")


def measure_bytes_per_token(results: Path) -> Assumption | None:
    """Measured on the base samples of the runs in a folder; None for a folder without any."""
    traces = TRACES.format(teacher="*", teacher_seed="*")
    files, tokens, size = 0, 0, 0
    for path in sorted(results.glob(f"*/{traces}/{SAMPLES.path}")):
        files += 1
        tokens += records.read_usage(path).get("generated", 0)
        size += path.stat().st_size
    if not tokens:
        return None
    return Assumption(round(size / tokens, 1), f"measured: {files} finished sample files under {results}/")


def count_problems(dataset: Dataset, split: str) -> int:
    """Problems of a split: `n`, or the rows of a local file. Raises HealError where neither is known."""
    limit = dataset.n
    if dataset.source == "mixture":
        total = 0
        for name, part in dataset.parts.items():
            # A part of unknown size counts as large as the whole may be.
            if part.n is None and limit is not None:
                part = part.model_copy(update={"n": limit + dataset.skip})
            total += count_problems(part, f"{split}, {name}")
        return bound(total - dataset.skip, limit)
    if dataset.source == "file" and dataset.path and Path(dataset.path).is_file():
        rows = read_rows(dataset.path)
        check_filters(rows, dataset, dataset.path)
        return bound(sum(passes_filters(row, dataset) for row in rows) - dataset.skip, limit)
    if limit is None:
        reason = "the file does not exist" if dataset.source == "file" else "it is on the hub, and `n` is not set"
        fix = f"set `n` or `limit`, or --assume problems.{split.partition(',')[0]}=500"
        problem = f"the number of problems in {dataset.path!r} is unknown: {reason}"
        raise HealError(problem, where=f"problems, {split}", fix=fix)
    return limit


def bound(count: int, limit: int | None) -> int:
    """The count, at least 0 and at most the limit."""
    return max(0, count if limit is None else min(count, limit))


def read_benchmarks(names: Iterable[str]) -> dict[str, Benchmark]:
    """Problems, repeats and token limit of each benchmark."""
    splits, tasks = registry.list_benchmarks(), registry.read_tasks()
    benchmarks = {}
    for name in names:
        generation = tasks[name].get("generation_kwargs") or {}
        max_tokens = generation.get("max_gen_toks", DEFAULT_MAX_TOKENS)
        benchmarks[name] = Benchmark(splits[name], tasks[name].get("repeats", 1), max_tokens)
    return benchmarks
