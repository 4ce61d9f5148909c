"""Fingerprints of what every command writes on the smoke config: a change of bytes without a raised VERSION is caught.

Reads a finished smoke run and workflow/stage_hashes.json (per command: its VERSION and the fingerprint of its outputs).
Floats are compared by their sums, within 0.1 %; everything else is compared exactly. A processor with other vector
instructions may sample other tokens: on another `cpu_capability` than the recorded one, only commands that run no model
are compared. tests/workflow runs this check; after a VERSION was raised, record again:

    make stage-hashes                             # runs the smoke config and records
    python -m tools.stage_hashes results/smoke    # compares only
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from heal.cli import COMMANDS
from heal.errors import HealError, exit_with_errors
from heal.records import write_json
from heal.versions import RECORD, ROOT, find_source, read_version

RELATIVE_TOLERANCE = 1e-3
DECIMAL = re.compile(r"-?\d+\.\d+(?:[eE][+-]?\d+)?")
GIT_STATE = re.compile(r'"git": ?\{[^}]*\}')
"""A page names the commit it was made from; the record holds for every commit."""


@dataclass(frozen=True)
class Stage:
    """Output files of a command (glob patterns in the run's folder), and the commands whose outputs it reads."""

    outputs: tuple[str, ...]
    parents: tuple[str, ...] = ()
    runs_model: bool = False


TRACES = "traces/*/teacher_seed*"
STAGES = {
    "load-problems": Stage(("problems/*.parquet",)),
    "sample base": Stage((f"{TRACES}/shards/samples/*.parquet",), ("load-problems",), runs_model=True),
    "merge": Stage((f"{TRACES}/samples.parquet",), ("sample base",)),
    "grade": Stage((f"{TRACES}/grades.parquet",), ("merge",)),
    "sample guided": Stage(
        (f"{TRACES}/shards/guided/*.parquet", f"{TRACES}/shards/greedy/*.parquet"), ("grade",), runs_model=True
    ),
    "plan-cuts": Stage((f"{TRACES}/cuts/*.parquet",), ("grade",)),
    "repair": Stage((f"{TRACES}/shards/repairs/*/*.parquet",), ("plan-cuts",), runs_model=True),
    "score": Stage(
        (f"{TRACES}/shards/scores/*/*.parquet", f"{TRACES}/shards/guided_scores/*.parquet"),
        ("repair", "sample guided"),
        runs_model=True,
    ),
    "sample extra": Stage((f"{TRACES}/shards/extra/*/*/*.parquet",), ("score", "sample guided"), runs_model=True),
    "premise": Stage((f"{TRACES}/premise.json",), ("repair", "sample guided")),
    "build-curriculum": Stage(("curricula/**/curriculum.jsonl",), ("score", "sample guided", "sample extra")),
    "train": Stage(("students/**/loss.csv", "students/**/exposures.csv"), ("build-curriculum",), runs_model=True),
    "evaluate": Stage(("evals/**/answers.parquet",), ("train", "load-problems"), runs_model=True),
    "tabulate-comparison": Stage(("tables/main.csv", "tables/ablations.csv"), ("evaluate", "premise")),
    "tabulate-details": Stage(("tables/*_strata.csv", "tables/*_at_k.csv", "tables/*_ranks.csv"), ("evaluate",)),
    "tabulate-exposures": Stage(("tables/*_coverage.csv", "tables/*_exposures.csv"), ("train",)),
    "tabulate-paper": Stage(("tables/paper.csv",), ("evaluate", "premise")),
    "audit": Stage(("tables/*_audits/teacher_seed*/audits_*.csv",), ("score", "sample guided")),
    "combine-audits": Stage(("tables/*_audits/audits_*.csv",), ("audit",)),
    "plot-differences": Stage(("figures/*/differences.csv",), ("tabulate-comparison",)),
    "plot-accuracy": Stage(("figures/*/accuracy.csv",), ("evaluate",)),
    "plot-cost": Stage(("figures/*/cost.csv",), ("tabulate-comparison",)),
    "plot-loss": Stage(("figures/*/loss.csv",), ("train",)),
    "plot-ceiling": Stage(("figures/teacher_seed*/ceiling_*.csv",), ("grade",)),
    "plot-trace": Stage(("figures/teacher_seed*/trace_*.csv",), ("repair",)),
    "plot-positions": Stage(("figures/teacher_seed*/positions_*.csv",), ("repair",)),
    "plot-pure": Stage(("figures/teacher_seed*/pure_*.csv",), ("score",)),
    "plot-roc": Stage(("figures/roc.csv",), ("score",)),
    "report": Stage(("report/*.txt",), ("tabulate-comparison", "tabulate-details", "audit")),
    "view": Stage(("viewer/*.html",), ("score",)),
}
NOT_RECORDED = {
    "decontaminate": "the smoke config's problems are disjoint by construction",
    "check-decontamination": "the smoke config's problems are disjoint by construction",
    "unpack-model": "the smoke config uses no packaged model",
    "build-warmup-examples": "the smoke config warms no model up",
    "sample low-temperature": "no method of the smoke config needs it",
    "student-pass ranks": "no method of the smoke config needs it",
    "student-pass repair-ranks": "no method of the smoke config needs it",
    "student-pass continuations": "no method of the smoke config needs it",
    "gates": "needs a run of controls",
    "plot-exposures": "part of the study",
    "plot-cuts": "part of the study",
    "model-card": "names library versions and dates",
    "tabulate-costs": "holds seconds, which differ between runs",
    "plot-hours": "holds seconds, which differ between runs",
    "check-reference": "writes no file",
    "check-reproduction": "names the processor",
}


@dataclass(frozen=True)
class Fingerprint:
    """What a command wrote: number of files, hash of everything but floats, count and sums of the floats."""

    files: int
    text: str
    floats: int
    sum: float
    absolute_sum: float


def fingerprint_files(folder: Path, patterns: tuple[str, ...]) -> Fingerprint:
    """Raises HealError where no file matches."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    if not files:
        raise HealError(f"no {' or '.join(patterns)}", where=str(folder), fix="finish the smoke run first")
    digest, count, total, absolute = hashlib.sha256(), 0, 0.0, 0.0
    for file in files:
        digest.update(str(file.relative_to(folder)).encode())
        read = read_table if file.suffix == ".parquet" else read_text
        for text, floats in read(file):
            digest.update(text.encode())
            count += len(floats)
            total += float(np.sum(floats))
            absolute += float(np.sum(np.abs(floats)))
    return Fingerprint(len(files), digest.hexdigest()[:16], count, total, absolute)


def read_table(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(exact text, finite floats) of each column of a parquet file."""
    table = pq.read_table(file)
    for name in table.column_names:
        column = table[name].combine_chunks()
        values = column.flatten() if pa.types.is_list(column.type) else column
        if pa.types.is_floating(values.type):
            lengths = column.value_lengths().to_pylist() if pa.types.is_list(column.type) else [len(column)]
            floats = values.to_numpy(zero_copy_only=False).astype(float)
            yield f"{name} {lengths}", floats[np.isfinite(floats)]
        else:
            yield f"{name} {json.dumps(column.to_pylist(), default=str)}", np.zeros(0)


def read_text(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(text with decimals replaced and without the commit, the decimals)."""
    content = GIT_STATE.sub("", file.read_text(encoding="utf-8"))
    yield DECIMAL.sub("#", content), np.array([float(number) for number in DECIMAL.findall(content)])


def is_equal(recorded: Fingerprint, current: Fingerprint) -> bool:
    """Whether everything but floats is equal, and the floats' sums within the tolerance."""
    if (recorded.files, recorded.text, recorded.floats) != (current.files, current.text, current.floats):
        return False
    tolerance = RELATIVE_TOLERANCE * max(recorded.absolute_sum, 1.0)
    return math.isclose(recorded.sum, current.sum, rel_tol=0, abs_tol=tolerance) and math.isclose(
        recorded.absolute_sum, current.absolute_sum, rel_tol=0, abs_tol=tolerance
    )


def fingerprint_run(folder: Path) -> dict[str, Fingerprint]:
    """Command → fingerprint of its outputs in a finished smoke run."""
    return {command: fingerprint_files(folder, stage.outputs) for command, stage in STAGES.items()}


def get_cpu_capability() -> str:
    """The vector instructions that torch uses here, such as AVX2."""
    return torch.backends.cpu.get_cpu_capability()


def compare(record: dict[str, Any], current: dict[str, Fingerprint], root: Path = ROOT) -> list[str]:
    """One sentence per command whose outputs or VERSION are not as recorded; followers of a changed command excepted.

    record: the content of RECORD. current: the fingerprints of a finished run. root: the folder with the sources.
    """
    recorded = record["stages"]
    other_processor = record["cpu_capability"] != get_cpu_capability()
    changed = set()
    for command, fingerprint in current.items():
        if command not in recorded or not is_equal(Fingerprint(**recorded[command]["fingerprint"]), fingerprint):
            changed.add(command)
    problems = []
    for command in current:
        stage, module = STAGES[command], COMMANDS[command].module
        source, version = find_source(module, root).relative_to(root), read_version(module, root)
        if command not in recorded:
            problems.append(f"{source}: `heal {command}` is not recorded; record it: make stage-hashes")
        elif version > recorded[command]["version"]:
            problems.append(
                f"{source}: VERSION of `heal {command}` is {version}, recorded is {recorded[command]['version']}; "
                "record it: make stage-hashes"
            )
        elif command in changed and not changed.intersection(stage.parents):
            if other_processor and stage.runs_model:
                continue
            problems.append(
                f"{source}: `heal {command}` writes other bytes than recorded, and VERSION is still {version}; "
                f"undo the change, or raise VERSION to {recorded[command]['version'] + 1} and record it: "
                "make stage-hashes"
            )
    return problems


def build_record(current: dict[str, Fingerprint]) -> dict[str, Any]:
    """VERSION and fingerprint of every command, and the processor that computed them."""
    stages = {}
    for command, fingerprint in current.items():
        version = read_version(COMMANDS[command].module)
        stages[command] = {"version": version, "fingerprint": asdict(fingerprint)}
    return {"config": "tests/configs/smoke.yaml", "cpu_capability": get_cpu_capability(), "stages": stages}


def read_record() -> dict[str, Any]:
    """Raises HealError where nothing is recorded."""
    path = ROOT / RECORD
    if not path.exists():
        raise HealError("no such file", where=str(RECORD), fix="record it: make stage-hashes")
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the finished smoke run, results/smoke")
    parser.add_argument("--write", action="store_true", help="record instead of comparing")
    arguments = parser.parse_args()
    current = fingerprint_run(arguments.folder)
    if arguments.write:
        write_json(ROOT / RECORD, build_record(current))
        return
    problems = compare(read_record(), current)
    if problems:
        raise HealError("\n  ".join(problems), where=str(RECORD), fix="see above")
    print(f"{len(current)} commands write what {RECORD} records.")


if __name__ == "__main__":
    exit_with_errors(main)
