"""A preset in small: every length times one factor, so that their ratios stay, and few of everything that is counted.

Prompts and hints do not shrink, as they are text. So the factor is the smallest with which each of these still fits, as
it does in the preset: the longest prompt beside `max_new_tokens` within `max_length`, and a whole trace within
`max_new_tokens` and within the answers of every benchmark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal.config.experiment import Experiment
from heal.config.yaml_files import dump_yaml
from heal.errors import HealError
from heal.registry import read_tasks

COUNTS = {
    "sampling": {"n": 3, "shards": 1},
    "guided": {"n": 3},
    "low_temperature": {"n": 1},
    "gear": {"traces_per_problem": 2, "repairs_per_trace": 2},
    "scoring": {"max_points": 4, "calibration_traces": 4},
    "prefixes": {"cuts": 2, "traces_per_problem": 1, "continuations": 2},
    "train": {"batch_size": 4},
    "engine": {"problems_per_batch": 16, "max_num_seqs": 64},
}
"""Section → the most of what it counts."""
NUMBER_FORMAT = "float32"
"""Many CPUs have no instructions for bfloat16: a product with the whole vocabulary takes them ten times as long."""
REPEATS = 2
MAX_OPTIMIZER_STEPS = 3
EPOCHS = 0.5
ROOM = 1.15  # of a trace's tokens, for answers that are longer than the longest right one
GENERATION = re.compile(r"(?m)^(?P<head>\s*max_gen_toks:\s*)(?P<value>\d+)")
REPEAT = re.compile(r"(?m)^(?P<head>\s*(?:repeats|k):\s*)(?P<value>\d+)")


@dataclass(frozen=True)
class Needs:
    """Tokens that do not shrink: the longest prompt, hint and kept opening included, and the longest whole trace."""

    prompt: int
    trace: int


def choose_factor(experiment: Experiment, positions: Mapping[str, int], needs: Needs) -> float:
    """The factor of all lengths, at most 1. positions: model → its longest sequence in true size.

    Raises HealError where the preset's own lengths leave no room for a prompt.
    """
    new_tokens = experiment.sampling.max_new_tokens
    limits = {name: min(longest, experiment.engine.max_length or longest) for name, longest in positions.items()}
    answers = [task.max_tokens for task in list_benchmark_lengths(experiment.benchmarks)]
    generated = [new_tokens, *answers]
    factors = [needs.trace * ROOM / length for length in generated]
    for name, limit in limits.items():
        room = limit - max(generated)
        if room <= 0:
            raise HealError(
                f"{max(generated)} new tokens leave no room for a prompt within {limit}",
                where=name,
                fix="lower sampling.max_new_tokens, raise engine.max_length, or use another benchmark",
            )
        factors.append(needs.prompt / room)
    factors.append(needs.prompt / max(1, experiment.train.max_length - new_tokens))
    return min(1.0, math.ceil(max(factors) * 1000) / 1000)


@dataclass(frozen=True)
class BenchmarkLength:
    name: str
    max_tokens: int


def list_benchmark_lengths(benchmarks: Sequence[str]) -> list[BenchmarkLength]:
    """The longest answer of each benchmark, includes of its task file followed."""
    tasks = read_tasks()
    lengths = []
    for name in benchmarks:
        lengths.append(BenchmarkLength(name, int(tasks[name].get("generation_kwargs", {}).get("max_gen_toks", 256))))
    return lengths


def scale_length(length: int, factor: float) -> int:
    return max(1, round(length * factor))


def scale_config(content: dict[str, Any], experiment: Experiment, factor: float) -> None:
    """Scales the plain content of a config in place. experiment: the same, validated, with its defaults."""
    content.pop("limit", None)
    # A rehearsal goes on to its end: its findings say what a stage lacks.
    content |= {"teacher_seeds": 1, "training_seeds": 1, "stop": {"enabled": False}}
    for section, counts in COUNTS.items():
        for option, most in counts.items():
            value = getattr(getattr(experiment, section), option)
            content.setdefault(section, {})[option] = most if value is None else min(value, most)
    content["engine"] |= {"device": "cpu", "threads": 1, "dtype": NUMBER_FORMAT}
    if experiment.engine.max_length:
        content["engine"]["max_length"] = scale_length(experiment.engine.max_length, factor)
    content["sampling"]["max_new_tokens"] = scale_length(experiment.sampling.max_new_tokens, factor)
    scale_training(content.setdefault("train", {}), experiment.train.max_steps, experiment.train.max_length, factor)
    for comparison in content.get("comparisons", {}).values():
        changes = comparison.get("train", {})
        if changes.get("max_steps"):
            changes["max_steps"] = MAX_OPTIMIZER_STEPS
        if changes.get("epochs"):
            changes["epochs"] = EPOCHS
    for variant in content.get("gear_variants", {}).values():
        for option, most in COUNTS["gear"].items():
            if option in variant:
                variant[option] = min(variant[option], most)


def scale_training(train: dict[str, Any], max_steps: int | None, max_length: int, factor: float) -> None:
    """Scales a section `train`: few optimizer steps, or half an epoch where epochs decide; no tracker."""
    train |= {"max_length": scale_length(max_length, factor), "report_to": [], "dtype": NUMBER_FORMAT}
    if max_steps:
        train["max_steps"] = min(max_steps, MAX_OPTIMIZER_STEPS)
    train["epochs"] = EPOCHS


def scale_tasks(folder: Path, benchmarks: Sequence[str], factor: float) -> None:
    """Scales the answers' lengths and the repeats in a copy of the task files. Files that tasks include count too."""
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        text = GENERATION.sub(lambda m: m["head"] + str(scale_length(int(m["value"]), factor)), text)
        text = REPEAT.sub(lambda m: m["head"] + str(min(int(m["value"]), REPEATS)), text)
        path.write_text(text, encoding="utf-8")


def write_config(path: Path, content: Mapping[str, Any], note: str) -> None:
    """The scaled config as a file that a person can read. note: comment lines at its top."""
    lines = "".join(f"# {line}\n" for line in note.splitlines())
    text = dump_yaml(dict(content), width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines + text, encoding="utf-8")
