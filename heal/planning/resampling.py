"""Ask before samples that exist are made again, say why, and keep them aside.

The workflow describes its plan (`PlannedJob`) before the first job starts. Where a job would sample into a file that
exists, `check_resampling` stops the run and names what changed: an option, a VERSION or an input file, of that job or
of one whose files it reads. With `--config allow_resampling=true` the files move to results/replaced/<run>/<time>/
instead. What a job was told before is in the provenance next to its output, so a reason is a difference in content
where there is one, and Snakemake's own reason (a newer file) where there is none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heal.command import plain
from heal.errors import HealError
from heal.provenance import SUFFIX
from heal.trace_files import SAMPLED_SCHEMAS, TRACE_FILES

PERMISSION = "allow_resampling"
"""Key of `--config` that allows one call to make samples again."""
SAMPLING_RULES = tuple(
    dict.fromkeys(file.rule for file in TRACE_FILES if file.made_by != "cpu" and file.schema in SAMPLED_SCHEMAS)
)
"""The rules in which a model writes text, in the order of the pipeline."""
REPLACED = Path("results/replaced")
MOST_REASONS = 4
"""Reasons that a message lists per rule."""


@dataclass
class PlannedJob:
    """A job that Snakemake is about to run."""

    rule: str
    outputs: tuple[str, ...]
    """The files that it writes."""
    joined: tuple[str, ...] = ()
    """The files that its outputs are then joined into."""
    version: int | None = None
    """VERSION of its command's module today."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that its command reads today, as the provenance of its output records them."""
    reasons: tuple[str, ...] = ()
    """Snakemake's reasons, other than that an input file is made again."""
    causes: tuple[PlannedJob, ...] = ()
    """The jobs that make its input files again."""
    interrupted: bool = False
    """Whether the run was killed before it took note that the outputs are whole: it is the job that was going on."""

    def list_existing(self) -> list[str]:
        """The files of this job that exist: its own, and those that hold them."""
        return [path for path in (*self.outputs, *self.joined) if Path(path).exists()]


def pop_permission(overrides: dict[str, Any]) -> bool:
    """Whether --config allows samples to be made again; removes the key. Raises HealError for no truth value."""
    allowed = overrides.pop(PERMISSION, False)
    if not isinstance(allowed, bool):
        raise HealError(f"found {allowed!r}", where=f"--config {PERMISSION}", fix="give true, or leave it out")
    return allowed


def check_resampling(jobs: Iterable[PlannedJob], run: str, *, allowed: bool) -> str:
    """Moves the samples that would be made again aside; returns what was moved and why, "" for nothing.

    run: name of the run. Raises HealError, and moves nothing, where that is not allowed.
    """
    resampled = [job for job in jobs if job.rule in SAMPLING_RULES and not job.interrupted and job.list_existing()]
    if not resampled:
        return ""
    resampled.sort(key=lambda job: (SAMPLING_RULES.index(job.rule), job.outputs))
    files = list(dict.fromkeys(path for job in resampled for path in job.list_existing()))
    lines = describe(resampled)
    if not allowed:
        raise HealError(
            "\n".join([f"{count_files(files)} with samples would be made again:", *lines]),
            where=f"results/{run}",
            fix=f"""undo the change; or one of
    --touch, with the same arguments: takes what exists for current
    --config {PERMISSION}=true, with the same arguments: moves these files to {REPLACED / run}, and samples again
    snakemake problems, with the same config, where only problems are newer: what follows stays if no row changes""",
        )
    folder = REPLACED / run / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    for path in files:
        move_aside(path, run, folder)
    return "\n".join([f"{count_files(files)} with samples moved to {folder}, to be made again:", *lines])


def count_files(files: Sequence[str]) -> str:
    """1 file; 3 files."""
    return "1 file" if len(files) == 1 else f"{len(files)} files"


def move_aside(path: str, run: str, folder: Path) -> None:
    """Moves a file of the run, and its provenance, to the same place below `folder`."""
    for file in (Path(path), Path(f"{path}{SUFFIX}")):
        if file.exists():
            target = folder / os.path.relpath(file, f"results/{run}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, target)


def describe(jobs: Sequence[PlannedJob]) -> list[str]:
    """Per rule: its first file, the number of others, and the reasons of all of them."""
    by_rule: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    lines = []
    for rule, group in by_rule.items():
        files = list(dict.fromkeys(path for job in group for path in job.list_existing()))
        others = f" and {len(files) - 1} more" if len(files) > 1 else ""
        reasons = list(dict.fromkeys(reason for job in group for reason in explain(job)))
        if len(reasons) > MOST_REASONS:
            reasons[MOST_REASONS:] = [f"and {len(reasons) - MOST_REASONS} more"]
        lines.append(f"  {rule}: {files[0]}{others}, because {'; '.join(reasons) or 'Snakemake says so'}")
    return lines


def explain(job: PlannedJob) -> list[str]:
    """Why a job runs again: what changed for it, and for the jobs that make its input files again."""
    reasons = list_changes(job) or list(job.reasons)
    for cause in job.causes:
        reasons += explain(cause)
    return list(dict.fromkeys(reasons))


def list_changes(job: PlannedJob) -> list[str]:
    """What its command is told otherwise than when its output was made; [] where no provenance says so."""
    record = read_provenance(job.outputs)
    changes = []
    before = record.get("command_version")
    if job.version is not None and before is not None and before != job.version:
        changes.append(f"VERSION of `heal {record['command']}` was {before} and is {job.version}")
    recorded = record.get("options")
    if isinstance(recorded, dict):
        for name, value in plain(dict(job.options)).items():
            if name in recorded:
                changes += list_differences(name, recorded[name], value)
    return changes


def list_differences(name: str, before: Any, now: Any) -> list[str]:
    """The options that differ, by path; an option that a side lacks has its default there."""
    if before == now:
        return []
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [f"{name} was {format_value(before)} and is {format_value(now)}"]
    differences = []
    for key in dict.fromkeys([*before, *now]):
        differences += list_differences(f"{name}.{key}", before.get(key), now.get(key))
    return differences


def format_value(value: Any) -> str:
    return "its default" if value is None else json.dumps(value, ensure_ascii=False)


def read_provenance(outputs: Iterable[str]) -> dict[str, Any]:
    """The provenance of the first output that has one; {} without any."""
    for output in outputs:
        path = Path(f"{output}{SUFFIX}")
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
    return {}
