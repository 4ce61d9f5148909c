"""What made the files of a run: command, commit, machine and package versions, as their provenance records them.

Reads *.provenance.json below a run's folder; writes nothing.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.results import read_json
from heal.hardware import format_hardware
from heal.provenance import SUFFIX

NO_CHECKOUT = "no git checkout"


@dataclass(frozen=True)
class Origin:
    """How one output was made."""

    command: str
    """The command line."""
    options_hash: str
    commit: str
    dirty: bool
    """Whether the working tree had uncommitted changes."""
    started: str
    seconds: float
    machine: str

    @property
    def short_command(self) -> str:
        """The command line without its flags."""
        return self.command.partition(" --")[0]


@dataclass(frozen=True)
class Environment:
    """What all outputs of a run were made with, each with the number of its outputs."""

    machines: list[tuple[str, int]]
    commits: list[tuple[str, bool, int]]
    """(commit, whether it had uncommitted changes, outputs)."""
    packages: list[tuple[str, str]]
    """(package, versions)."""


def get_provenance_path(output: Path) -> Path:
    return Path(f"{output}{SUFFIX}")


def read_origin(output: Path) -> Origin | None:
    """None for an output without provenance. Raises HealError for provenance that is not JSON."""
    file = get_provenance_path(output)
    if not file.exists():
        return None
    record = read_json(file)
    commit, dirty = get_commit(record)
    return Origin(
        command=shlex.join(record.get("argv", [])),
        options_hash=record.get("options_hash", ""),
        commit=commit,
        dirty=dirty,
        started=record.get("started", ""),
        seconds=float(record.get("seconds", 0.0)),
        machine=describe_machine(record),
    )


def get_commit(record: Mapping[str, Any]) -> tuple[str, bool]:
    """(commit, whether there were uncommitted changes); an empty commit outside a git checkout."""
    git = record.get("git", {})
    return git.get("commit") or "", bool(git.get("dirty"))


def describe_machine(record: Mapping[str, Any]) -> str:
    """Processor, cores and GPUs: those that the command used where its provenance names them, else their number."""
    machine = record.get("machine", {})
    gpus = format_hardware(dict(record)) if record.get("gpu") else machine.get("gpus", 0)
    processor = machine.get("processor", "unknown")
    if machine.get("cpu_flags"):
        processor += f" ({', '.join(machine['cpu_flags'])})"
    return f"{processor}, {machine.get('cores', '?')} cores, GPUs: {gpus}"


def read_environment(run: Path) -> Environment:
    """Machines, commits and package versions over all provenance of the run."""
    machines: Counter[str] = Counter()
    commits: Counter[tuple[str, bool]] = Counter()
    versions: dict[str, set[str]] = {}
    for file in sorted(run.rglob(f"*{SUFFIX}")):
        record = read_json(file)
        machines[describe_machine(record)] += 1
        commits[get_commit(record)] += 1
        for package, version in record.get("packages", {}).items():
            versions.setdefault(package, set()).add(version)
    return Environment(
        machines=sorted(machines.items()),
        commits=[(commit or NO_CHECKOUT, dirty, count) for (commit, dirty), count in sorted(commits.items())],
        packages=[(package, ", ".join(sorted(used))) for package, used in sorted(versions.items())],
    )


def read_experiment(run: Path) -> str:
    """The whole resolved experiment as JSON, from the provenance of the paper table; empty where that is missing."""
    file = get_provenance_path(run / "tables" / "paper.csv")
    if not file.exists():
        return ""
    experiment = read_json(file).get("options", {}).get("experiment", {})
    return json.dumps(experiment, indent=1, sort_keys=True) if experiment else ""


def read_heal_methods(table: Path) -> list[str]:
    """Names of a comparison's methods that are HEAL, from the provenance of its csv; [] where it records none."""
    file = get_provenance_path(table)
    view = read_json(file).get("options", {}).get("view", {}) if file.exists() else {}
    names = []
    for name, spec in view.get("methods", {}).items():
        if spec.get("method") == "heal":
            names.append(name)
    return names
