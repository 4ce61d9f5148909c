"""Measure how long `make replicate` takes on a fresh clone, and how much memory its jobs need.

Clones the repository (its last commit) into a temporary folder; runs `make env`, `make replicate` and `make replicate`
again. Writes seconds, jobs and peak memory by the folder of their outputs, and the machine, to --out (json, and the
same as a table: md). --ablations adds `make ablations`, --comparisons `make comparisons`. --keep makes a reference
folder of the clone's results (python -m tools.reference).

    python -m benchmarks.replicate --out results/reference/benchmarks/replicate.json
    python -m benchmarks.replicate --ablations --comparisons --keep results/reference/mini
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.paired_rounds import write_page
from heal.provenance import describe_machine
from heal.stages import list_stages

ROOT = Path(__file__).parent.parent
RUN = "results/mini"
PYTHON_VARIABLES = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


def time_command(folder: Path, *command: str) -> float:
    """Seconds that a command takes in the folder, without this process's Python environment."""
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name not in PYTHON_VARIABLES}
    subprocess.run(command, cwd=folder, check=True, env=environment)
    return round(time.monotonic() - began, 1)


def measure(clone: Path, *, ablations: bool, comparisons: bool) -> dict[str, Any]:
    """Clones the repository and runs its targets; returns the record."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, check=True, capture_output=True, text=True)
    record: dict[str, Any] = {
        "commit": commit.stdout.strip(),
        "machine": describe_machine(),
        "environment_s": time_command(clone, "make", "env"),
        "workflow_s": time_command(clone, "make", "replicate"),
        "again_s": time_command(clone, "make", "replicate"),
        "jobs": {stage.name: vars(stage) for stage in list_stages(clone / RUN)},
    }
    if ablations:
        record["ablations_s"] = time_command(clone, "make", "ablations")
    if comparisons:
        record["comparisons_s"] = time_command(clone, "make", "comparisons")
    return record


def write_record(record: dict[str, Any], out: Path) -> None:
    """The record as json, and as a table of jobs, the longest first."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f"{json.dumps(record, indent=1)}\n", encoding="utf-8")
    cells = []
    for name, group in sorted(record["jobs"].items(), key=lambda item: -item[1]["seconds"]):
        cells.append(
            [
                name,
                f"{group['jobs']:.0f}",
                f"{group['seconds']:.1f}",
                f"{group['peak_mb']:.0f}" if group["peak_mb"] else "-",
            ]
        )
    total = [f"{sum(group[key] for group in record['jobs'].values()):.0f}" for key in ("jobs", "seconds")]
    cells.append(["all jobs", *total, f"{max(group['peak_mb'] for group in record['jobs'].values()):.0f}"])
    settings = {name.removesuffix("_s"): f"{value} s" for name, value in record.items() if name.endswith("_s")}
    note = f"Commit {record['commit']}. Seconds of jobs side by side add up to more than the workflow's."
    header = ["outputs", "jobs", "seconds", "peak memory (MB)"]
    write_page(out, "make replicate on a fresh clone", settings, header, cells, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results/reference/benchmarks/replicate.json")
    parser.add_argument("--ablations", action="store_true", help="time them too")
    parser.add_argument("--comparisons", action="store_true", help="time them too")
    parser.add_argument("--keep", type=Path, help="the reference folder to make of the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        record = measure(clone, ablations=arguments.ablations, comparisons=arguments.comparisons)
        if arguments.keep:
            out = str(arguments.keep.resolve())
            time_command(clone, ".venv/bin/python", "-m", "tools.reference", RUN, "--out", out)
    write_record(record, arguments.out)
    print(arguments.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
