"""What a plan must assume, and what it can look up: shares and speeds, sizes of models, problems, benchmarks.

Reads model folders (safetensors headers only), local problem files, evals/tasks/*.yaml and finished runs' sample files.
Every assumption is a number with its source; `heal plan --assume KEY=VALUE` sets one (see heal.planning.costs).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from heal import records, registry
from heal.config import experiment as config
from heal.config.data import Dataset
from heal.data import load_problems as problems
from heal.errors import HealError

CARDS = {  # dense peak TFLOP/s at 16 and at 32 bits, as the makers' data sheets say; cpu: no card
    "H200": (989.0, 67.0),
    "H100": (989.0, 67.0),
    "A100": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
    "RTX4090": (165.0, 82.6),
    "cpu": (0.0, 0.0),
}
SIZE_IN_NAME = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
ACTIVE_IN_NAME = re.compile(r"-a(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Assumption:
    value: float
    source: str


@dataclass(frozen=True)
class Size:
    """Parameters of a model; active: those that one token passes through."""

    total: float
    active: float
    source: str


@dataclass(frozen=True)
class Benchmark:
    split: str
    repeats: int
    max_tokens: int


def defaults(experiment: config.Experiment, card: str, results: Path | None = None) -> dict[str, Assumption]:
    """Every assumption by its key. `results`: a folder of runs, to measure bytes per token in."""
    if card not in CARDS:
        fix = f"known: {', '.join(CARDS)}; for another: --card H100 --assume tflops_16bit=… tflops_32bit=…"
        raise HealError(f"unknown card {card!r}", where="--card", fix=fix)
    kind, vllm = experiment.engine.backend, experiment.engine.backend == "vllm"
    half, kept = experiment.sampling.max_new_tokens / 2, experiment.gear.search_fraction / 2
    sheet = f"{card}, data sheet" if card != "cpu" else "no card: all jobs run on the CPU"
    not_packed = Assumption(20 if vllm else 16, "ours: a trace's fields at 4 bytes each, not compressed")
    return {
        "prompt_tokens": Assumption(150, "ours: a question in its chat template"),
        "trace_tokens": Assumption(half, "ours: half of sampling.max_new_tokens"),
        "answer_share": Assumption(0.5, "ours: an answer's length as share of the benchmark's token limit"),
        "treated_share": Assumption(0.13, "problems for GEAR; reported: what Qwen3-32B leaves unsolved of AIME 2025"),
        "guided_share": Assumption(0.3, "ours: problems whose pass rate is below guided.pass_rate_below"),
        "repairable_share": Assumption(0.9, "ours: wrong traces that ended by themselves and have a breakpoint"),
        "kept_share": Assumption(kept, "ours: a wrong trace's part before the cut, half of gear.search_fraction"),
        "hint_tokens": Assumption(20, "ours"),
        "guided_accepted": Assumption(0.5, "ours: share of the answer-guided samples"),
        "repairs_accepted": Assumption(0.5, "ours: share of the repairs; these are scored"),
        "step_tokens": Assumption(50, "ours: a step's length, for the points at which scoring asks for the answer"),
        "point_tokens": Assumption(12, "ours: cue, gold answer and closing at such a point"),
        "use_reading": Assumption(0.4, "ours: share of the peak while prefilling and scoring"),
        "use_writing": Assumption(0.08 if vllm else 0.02, f"ours: share of the peak while {kind} generates"),
        "use_training": Assumption(0.3, "ours: share of the peak while training"),
        "use_cpu": Assumption(0.3, "ours: share of tflops_cpu; of a 135M model on two threads, 220 tokens/s"),
        "start_s": Assumption(90 if vllm else 15, f"ours: until {kind} has a job's model ready"),
        "tflops_16bit": Assumption(CARDS[card][0], sheet),
        "tflops_32bit": Assumption(CARDS[card][1], sheet),
        "tflops_cpu": Assumption(0.1, "ours: one thread, two AVX2 units of 8 lanes at 3 GHz"),
        "bytes_per_token": (bytes_per_token(results) if results else None) or not_packed,
    }


def override(
    assumed: Mapping[str, Assumption], given: Mapping[str, float], source: str, others: Sequence[str] = ()
) -> dict[str, Assumption]:
    """The assumptions with some of them set. Raises HealError for an unknown key or an impossible value.

    others: what else --assume takes, for the message.
    """
    for key, value in given.items():
        if key not in assumed:
            near = difflib.get_close_matches(key, [*assumed, *others], n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join([*assumed, *others])}"
            raise HealError(f"unknown assumption {key!r}", where="--assume", fix=fix)
        is_share = key.startswith("use_") or key.endswith(("_share", "_accepted"))
        if (is_share and value > 1) or (value == 0 and key in NOT_ZERO):
            fix = "give a share from 0 to 1" if is_share and value > 1 else "give a number above 0"
            raise HealError(f"{key} is {value:g}", where="--assume", fix=fix)
    return {**assumed, **{key: Assumption(value, source) for key, value in given.items()}}


NOT_ZERO = {"trace_tokens", "step_tokens", "use_reading", "use_writing", "use_training", "use_cpu", "tflops_cpu"}


def bytes_per_token(results: Path) -> Assumption | None:
    """Measured on the base samples of the runs in a folder; None where there are none."""
    found = sorted(results.glob("*/traces/*/draw*/samples.parquet"))
    written = sum(records.usage(path).get("generated", 0) for path in found)
    size = sum(path.stat().st_size for path in found)
    told = f"measured: samples of {len(found)} finished draws under {results}/"
    return Assumption(round(size / written, 1), told) if written else None


def size_of(model: config.Model, label: str, given: float | None = None) -> Size:
    """Parameters: as given, else as the folder's safetensors headers say, else as the name says (`32B`, `30B-A3B`).

    label: teachers.NAME or students.NAME. Raises HealError where nothing says it.
    """
    if model.endpoint:
        return Size(0, 0, "served elsewhere: its hours are not in the plan")
    last = Path(model.path).name
    named = in_units(SIZE_IN_NAME.search(last))
    if given is not None:
        count, source = given, "--assume"
    elif headers := sorted(Path(model.path).expanduser().glob("*.safetensors")):
        count, source = sum(map(header_parameters, headers)), "its safetensors"
    elif named:
        count, source = named, "its name"
    else:
        name = label.partition(".")[2]
        fix = f"give it: --assume params.{name}=8e9; or set `path` to a local folder with safetensors"
        found = f"neither a folder nor its name says how many parameters {model.path!r} has"
        raise HealError(found, where=f"{label}.path", fix=fix)
    return Size(count, in_units(ACTIVE_IN_NAME.search(last)) or count, source)


def in_units(found: re.Match[str] | None) -> float | None:
    """32B → 32e9, 135M → 135e6."""
    return float(found[1]) * {"m": 1e6, "b": 1e9}[found[2].lower()] if found else None


def header_parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone."""
    try:
        with safe_open(path, framework="numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        found = f"no safetensors header ({type(error).__name__})"
        raise HealError(found, where=str(path), fix="fetch the file again, or --assume params.NAME=8e9") from None


def problem_count(dataset: Dataset, split: str, limit: int | None = None) -> int:
    """Problems of a split: `n`, or the rows of a local file, shrunk by `limit`. Raises HealError where unknown."""
    count = dataset.n
    if dataset.source == "mixture":
        # Of a part of unknown size the whole takes as much as `n` allows.
        parts = [problem_count(part, f"{split}, {name}", count) for name, part in dataset.parts.items()]
        count = at_most(sum(parts) - dataset.skip, count)
    elif dataset.source == "file" and dataset.path and Path(dataset.path).is_file():
        rows = problems.chosen(problems.read_file(dataset.path), dataset, dataset.path)
        count = at_most(len(rows) - dataset.skip, count)
    if count is None and limit is None:
        place = "the file is not there" if dataset.source == "file" else "it is on the hub, and `n` is not set"
        fix = f"set `n` or `limit`, or --assume problems.{split.partition(',')[0]}=500"
        found = f"how many problems {dataset.path!r} has is unknown: {place}"
        raise HealError(found, where=f"problems, {split}", fix=fix)
    return at_most(*(number for number in (count, limit) if number is not None))


def at_most(count: int, bound: int | None = None) -> int:
    return max(0, count if bound is None else min(count, bound))


def benchmarks(names: Iterable[str]) -> dict[str, Benchmark]:
    """Which problems each benchmark asks, how often, and its token limit (256 where a task sets none, as lm-eval)."""
    splits, tasks = registry.benchmarks(), registry.tasks()
    return {
        name: Benchmark(
            splits[name],
            tasks[name].get("repeats", 1),
            (tasks[name].get("generation_kwargs") or {}).get("max_gen_toks", 256),
        )
        for name in names
    }


def parse(words: Sequence[str]) -> dict[str, float]:
    """`KEY=VALUE` words of a command line. Raises HealError for what is no such word or no number from 0."""
    given = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            given[key] = float(value)
        except ValueError:
            given[key] = math.nan
        if not (0 <= given[key] < math.inf):
            raise HealError(f"found {word!r}", where="--assume", fix="write KEY=VALUE, as in treated_share=0.3")
    return given
