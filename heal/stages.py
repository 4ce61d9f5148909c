"""What every stage of a run did: its jobs, requests, tokens, skipped requests, time and memory, and what came out.

Reads the provenance files of a run (what a command did) and Snakemake's benchmark files (time and peak memory of each
job, its children included). `heal rehearse` ends with this list, the page of a run (`heal report`) has it, and the
workflow prints its sentences at the end, after a failure too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from heal.outcome import add_outcomes, format_cost, name_outcome, parse_outcome
from heal.provenance import SUFFIX

STAGES = {
    "load-problems": "problems",
    "decontaminate": "problems",
    "check-decontamination": "problems",
    "sample base": "samples",
    "sample guided": "guided",
    "sample low-temperature": "low_temperature",
    "sample extra": "extra",
    "grade": "grades",
    "plan-cuts": "cuts",
    "repair": "repairs",
    "score": "scores",
    "premise": "premise",
    "build-curriculum": "curricula",
    "train": "students",
    "evaluate": "evals",
}
"""Command → the folder of its jobs' benchmark files. A folder of another name is a stage of that name."""


@dataclass
class Stage:
    """All jobs of one stage."""

    name: str
    jobs: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    requests: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What its outputs are → the counts of all of them (`heal.outcome.Outcome`), their seconds and tokens."""


def list_stages(run: Path) -> list[Stage]:
    """The stages in the order in which their first job ended. run: the run's folder."""
    stages: dict[str, Stage] = {}
    for path in sorted((run / "benchmarks").rglob("*.tsv"), key=lambda path: path.stat().st_mtime):
        table = pd.read_csv(path, sep="\t")
        name = path.relative_to(run / "benchmarks").parts[0].removesuffix(".tsv")
        stage = stages.setdefault(name, Stage(name))
        stage.jobs += len(table)
        stage.seconds = round(stage.seconds + float(table["s"].sum()), 1)
    for path in sorted(run.rglob(f"*{SUFFIX}")):
        record = json.loads(path.read_text(encoding="utf-8"))
        name = find_stage_name(record)
        if name in stages or record.get("requests") or record.get("skipped") or record.get("outcome"):
            add_facts(stages.setdefault(name, Stage(name)), record)
    return list(stages.values())


def find_stage_name(record: dict[str, Any]) -> str:
    """The stage that a provenance file belongs to: some commands make several, each with a folder of its own."""
    command = str(record["command"])
    if command == "score" and "/guided_scores" in str(record["output"]):
        return "guided_scores"
    if command == "sample base" and "/students/" in str(record["output"]):
        return "student_samples"
    if command.startswith("student-pass "):
        return f"student_{command.split()[1]}"
    return STAGES.get(command, command)


def add_facts(stage: Stage, record: dict[str, Any]) -> None:
    """Adds requests, tokens, skipped requests and memory of one command to its stage."""
    stage.peak_mb = max(stage.peak_mb, record.get("peak_mb", 0.0))
    stage.requests += int(record.get("requests") or 0)
    for total, name in ((stage.tokens, "tokens"), (stage.skipped, "skipped")):
        values = record.get(name)
        for key, value in (values if isinstance(values, dict) else {}).items():
            total[key] = total.get(key, 0) + int(value)
    if record.get("outcome"):
        add_outcome(stage, record)


def add_outcome(stage: Stage, record: dict[str, Any]) -> None:
    """Adds what came out of one command to its stage."""
    name, outcome = name_outcome(record), parse_outcome(record["outcome"])
    seconds, made_tokens = float(record["seconds"]), record.get("tokens_per_s", 0.0) * record["seconds"]
    if earlier := stage.outcomes.get(name):
        outcome = add_outcomes([parse_outcome(earlier), outcome])
        seconds, made_tokens = seconds + earlier["seconds"], made_tokens + earlier["made_tokens"]
    stage.outcomes[name] = asdict(outcome) | {"seconds": seconds, "made_tokens": made_tokens}


def describe_stages(stages: Iterable[Stage]) -> list[str]:
    """One sentence for every kind of output, in the order of the stages; seconds are those of all its jobs together."""
    sentences = []
    for stage in stages:
        for name, counts in stage.outcomes.items():
            seconds = counts["seconds"]
            took = format_cost(seconds, counts["made_tokens"] / seconds if seconds else 0.0)
            sentences.append(f"{name}: {parse_outcome(counts).describe()}; {took}")
    return sentences


def format_counts(counts: dict[str, int]) -> str:
    """ "3 no_room, 1 too_long_to_score"; a dash where there is nothing."""
    return ", ".join(f"{value} {key}" for key, value in counts.items() if value) or "-"
