"""The list that a rehearsal ends with: every stage with its jobs, requests, tokens, skipped requests, time and memory.

Reads the provenance files of a run (what a command did) and Snakemake's benchmark files (time and peak memory of each
job, its children included).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from heal.provenance import SUFFIX

if TYPE_CHECKING:
    from heal.rehearsal.build import Rehearsal
    from heal.rehearsal.findings import Finding

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
        if name in stages or record.get("requests") or record.get("skipped"):
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


def format_counts(counts: dict[str, int]) -> str:
    """ "3 no_room, 1 too_long_to_score"; a dash where there is nothing."""
    return ", ".join(f"{value} {key}" for key, value in counts.items() if value) or "-"


def format_summary(
    path: Path,
    rehearsal: Rehearsal,
    stages: Sequence[Stage],
    findings: Sequence[Finding],
    seconds: float,
    seconds_to_build: float,
) -> str:
    """The list as Markdown: stages, what the rehearsal leaves out, and the findings."""
    lines = [f"# Rehearsal of {path}", "", f"Every length times {rehearsal.factor:g}. {seconds:.0f} s in all, "]
    lines[-1] += f"{seconds_to_build:.0f} s of them to build data and stand-ins."
    lines += ["", "| stage | jobs | requests | tokens | skipped | seconds | peak memory, MB |"]
    lines += ["|---|---:|---:|---|---|---:|---:|"]
    for stage in stages:
        cells = [
            stage.name,
            stage.jobs,
            stage.requests or "-",
            format_counts(stage.tokens),
            format_counts(stage.skipped),
        ]
        cells += [f"{stage.seconds:.0f}", f"{stage.peak_mb:.0f}" if stage.peak_mb else "-"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", *[f"* {note}" for note in rehearsal.notes]]
    if not findings:
        return "\n".join([*lines, "", "Every stage ran, and has the content that it should have.", ""])
    lines += ["", f"## {len(findings)} findings", ""]
    for finding in findings:
        lines += [f"* {finding}", f"  Fix: {finding.fix}"]
    return "\n".join([*lines, ""])
