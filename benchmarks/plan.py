"""Measure how long planning takes: Snakemake's DAG of about 1,000 jobs, and a cost plan of 100,000 problems.

`snakemake --dry-run` of the mini preset with more teacher seeds and training seeds, in a run folder that does not
exist; `heal plan` of the single-GPU preset whose training problems are a file. Each is a process of its own, several
times in turn.

    python -m benchmarks.plan --out results/reference/benchmarks/plan.csv
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from benchmarks.paired_rounds import compute_spread, write_page
from heal import records
from heal.provenance import record_run

VERSION = 1
"""Raise it when what is measured changes."""
ROOT = Path(__file__).parent.parent
RUN = "benchmark_of_planning"
TEACHER_SEEDS, TRAINING_SEEDS = 10, 9
"""With the four methods of the mini preset: 360 students, each trained and evaluated by jobs of its own."""
PROBLEMS = 100_000
DAG, PLAN = "DAG", "cost plan"
LIMITS_S = {DAG: 20.0, PLAN: 60.0}


@dataclass(frozen=True)
class Timed:
    """One run of a command. size: number of jobs, or of problems."""

    what: str
    round: int
    size: int
    seconds: float
    cpu_seconds: float


def write_dag_config(folder: Path) -> Path:
    changes = {
        "extends": str(ROOT / "config/config.yaml"),
        "run": RUN,
        "teacher_seeds": TEACHER_SEEDS,
        "training_seeds": TRAINING_SEEDS,
        "seeds_per_job": 1,
    }
    return write_yaml(folder / "dag.yaml", changes)


def write_plan_config(folder: Path) -> Path:
    problems = folder / "problems.jsonl"
    with problems.open("w", encoding="utf-8") as file:
        for number in range(PROBLEMS):
            print(json.dumps({"question": f"What is {number} + {number}?", "answer": str(2 * number)}), file=file)
    train = {"source": "file", "path": str(problems)}
    content = yaml.safe_load((ROOT / "config/single_gpu.yaml").read_text("utf-8"))
    content["problems"]["train"] = train
    return write_yaml(folder / "plan.yaml", content | {"run": RUN})


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run_command(arguments: list[str]) -> tuple[str, float, float]:
    """(output, seconds, CPU seconds) of a command of the project. Raises RuntimeError where it fails."""
    began, before = time.monotonic(), os.times()
    result = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    seconds, after = time.monotonic() - began, os.times()
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)}:\n{result.stdout[-1500:]}\n{result.stderr[-1500:]}")
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return result.stdout + result.stderr, seconds, cpu_seconds


def time_dag(config: Path) -> tuple[int, float, float]:
    """(jobs, seconds, CPU seconds) of a dry run."""
    arguments = ["snakemake", "--dry-run", "--quiet", "rules", "--configfile", str(config), "--cores", "1"]
    text, seconds, cpu_seconds = run_command(arguments)
    total = re.search(r"^total\s+(\d+)", text, re.MULTILINE)
    if total is None:
        raise RuntimeError(f"the dry run counts no jobs:\n{text[-1500:]}")
    return int(total[1]), seconds, cpu_seconds


def time_plan(config: Path) -> tuple[int, float, float]:
    """(problems, seconds, CPU seconds) of a cost plan."""
    _, seconds, cpu_seconds = run_command(["heal", "plan", "--config", str(config)])
    return PROBLEMS, seconds, cpu_seconds


def write_table(timed: list[Timed], rounds: int, out: Path) -> None:
    """The csv (one line per run), and medians over rounds as a Markdown table."""
    names = [field.name for field in fields(Timed)]
    lines = [",".join(names)]
    for row in timed:
        lines.append(",".join(str(getattr(row, name)) for name in names))
    records.write_text(out, "\n".join(lines) + "\n")
    cells = []
    for what, limit_s in LIMITS_S.items():
        group = [row for row in timed if row.what == what]
        if group:
            seconds = compute_spread([row.seconds for row in group])
            cpu_seconds = compute_spread([row.cpu_seconds for row in group])
            cells.append([what, str(group[0].size), str(seconds), str(cpu_seconds), f"{limit_s:.0f}"])
    header = ["what", "jobs or problems", "seconds", "CPU seconds", "limit in seconds"]
    write_page(out, "Planning", {"rounds": rounds}, header, cells, "Median (minimum–maximum) over rounds.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results/reference/benchmarks/plan.csv")
    arguments = parser.parse_args()
    timed: list[Timed] = []
    run_folder = ROOT / "results" / RUN
    with (
        record_run(arguments.out, "benchmarks/plan.py", VERSION, {"options": {"rounds": arguments.rounds}}),
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        commands: list[tuple[str, Callable[[Path], tuple[int, float, float]], Path]] = [
            (DAG, time_dag, write_dag_config(folder)),
            (PLAN, time_plan, write_plan_config(folder)),
        ]
        try:
            for number in range(arguments.rounds):
                for what, time_it, config in commands:
                    size, seconds, cpu_seconds = time_it(config)
                    timed.append(Timed(what, number, size, round(seconds, 2), round(cpu_seconds, 2)))
                    print(timed[-1], file=sys.stderr, flush=True)
        finally:
            shutil.rmtree(run_folder, ignore_errors=True)
        write_table(timed, arguments.rounds, arguments.out)


if __name__ == "__main__":
    main()
