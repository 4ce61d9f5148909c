"""Assumptions of a cost plan, and what it can look up: model sizes, numbers of problems, benchmarks.

Reads model folders (safetensors headers only), local problem files, evals/tasks/*.yaml and sample files of finished
runs. Every assumption is a number with its source; `heal plan --assume KEY=VALUE` sets one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from heal import records, registry
from heal.config.data import Dataset
from heal.config.experiment import Experiment
from heal.config.models import Model
from heal.data.load_problems import check_filters, passes_filters, read_file
from heal.errors import HealError, suggest
from heal.run_layout import TRACES
from heal.trace_files import SAMPLES


@dataclass(frozen=True)
class Peak:
    """Dense peak TFLOP/s, as the maker's data sheet gives it."""

    at_16_bits: float
    at_32_bits: float


GPUS = {
    "H200": Peak(989.0, 67.0),
    "H100": Peak(989.0, 67.0),
    "A100": Peak(312.0, 19.5),
    "L40S": Peak(362.0, 91.6),
    "L4": Peak(121.0, 30.3),
    "RTX4090": Peak(165.0, 82.6),
    "cpu": Peak(0.0, 0.0),
}
"""GPU type → its peak; `cpu`: no GPU."""
SIZE_IN_NAME = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
ACTIVE_SIZE_IN_NAME = re.compile(r"-a(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
UNITS = {"m": 1e6, "b": 1e9}
POSITIVE = {"trace_tokens", "step_tokens", "use_reading", "use_writing", "use_training", "use_cpu", "tflops_cpu"}
"""Assumptions that cannot be 0."""
DEFAULT_MAX_TOKENS = 256
"""lm-eval's token limit for a task that sets none."""


@dataclass(frozen=True)
class Assumption:
    value: float
    source: str


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model."""

    total: float
    active: float
    """Parameters that one token passes through."""
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
    if gpu not in GPUS:
        fix = f"known: {', '.join(GPUS)}; for another: --gpu H100 --assume tflops_16bit=… --assume tflops_32bit=…"
        raise HealError(f"unknown GPU type {gpu!r}", where="--gpu", fix=fix)
    backend = experiment.engine.backend
    vllm = backend == "vllm"
    half_limit, half_search = experiment.sampling.max_new_tokens / 2, experiment.gear.search_fraction / 2
    sheet = f"{gpu}, data sheet" if gpu != "cpu" else "no GPU: all jobs run on the CPU"
    not_compressed = Assumption(20 if vllm else 16, "ours: a trace's fields at 4 bytes each, not compressed")
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
        "use_reading": Assumption(0.4, "ours: share of the peak while prefilling and scoring"),
        "use_writing": Assumption(0.08 if vllm else 0.02, f"ours: share of the peak while {backend} generates"),
        "use_training": Assumption(0.3, "ours: share of the peak while training"),
        "use_cpu": Assumption(0.3, "ours: share of tflops_cpu; of a 135M model on two threads, 220 tokens/s"),
        "start_s": Assumption(90 if vllm else 15, f"ours: until {backend} has a job's model ready"),
        "tflops_16bit": Assumption(GPUS[gpu].at_16_bits, sheet),
        "tflops_32bit": Assumption(GPUS[gpu].at_32_bits, sheet),
        "tflops_cpu": Assumption(0.1, "ours: one thread, two AVX2 units of 8 lanes at 3 GHz"),
        "bytes_per_token": (measure_bytes_per_token(results) if results else None) or not_compressed,
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


def find_model_size(model: Model, label: str, parameters: float | None = None) -> ModelSize:
    """The given parameters, else the folder's by its safetensors headers, else those in the name (`32B`, `30B-A3B`).

    label: teachers.NAME or students.NAME. Raises HealError where the size is unknown.
    """
    if model.endpoint:
        return ModelSize(0, 0, "served elsewhere: its hours are not in the plan")
    name = Path(model.path).name
    headers = sorted(Path(model.path).expanduser().glob("*.safetensors"))
    named = parse_size(SIZE_IN_NAME.search(name))
    if parameters is not None:
        total, source = parameters, "--assume"
    elif headers:
        total, source = sum(map(count_parameters, headers)), "its safetensors"
    elif named:
        total, source = named, "its name"
    else:
        fix = f"give it: --assume params.{label.partition('.')[2]}=8e9; or set `path` to a folder with safetensors"
        problem = f"neither a folder nor its name says how many parameters {model.path!r} has"
        raise HealError(problem, where=f"{label}.path", fix=fix)
    return ModelSize(total, parse_size(ACTIVE_SIZE_IN_NAME.search(name)) or total, source)


def parse_size(match: re.Match[str] | None) -> float | None:
    """32B → 32e9, 135M → 135e6; None without a match."""
    return float(match[1]) * UNITS[match[2].lower()] if match else None


def count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, from its header alone. Raises HealError for a damaged one."""
    count = 0
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no dict)
                count += math.prod(file.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        fix = "download the file again, or --assume params.NAME=8e9"
        raise HealError(f"no safetensors header ({type(error).__name__})", where=str(path), fix=fix) from None
    return count


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
        rows = read_file(dataset.path)
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
