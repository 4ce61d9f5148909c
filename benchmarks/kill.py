"""Kill every stage that uses vLLM with SIGKILL, at several moments, and see what is left of it.

Runs each stage on the mini models with vLLM's CPU build as the workflow does (log file, output on a pipe): once
undisturbed, then, for each moment, until it is killed, and again until it ends. Prints one row per stage and moment:
seconds until the last process of the job was gone and its pipe was closed, processes that live 10 seconds later,
whether the rerun went on with the finished batches, and whether it wrote the same bytes.

    python -m benchmarks.kill --moments 3 --out results/reference/benchmarks/kill.csv
    python -m benchmarks.kill --stages "sample base" repair --moments 1
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import LIMIT_S, VARIABLE, list_living, wait_until_gone

ROOT = Path(__file__).parent.parent
MODELS = {"teachers": {"default": "teacher"}, "students": {"tiny": "teacher"}}
"""The mini student's heads have a size that vLLM's CPU build does not compute."""
BATCH_DONE = " s to go"
"""In the log's line of a finished batch."""
CONFIG: dict[str, Any] = {
    "run": "kill",
    "problems": {
        "train": {"source": "mini", "split": "train", "n": 24},
        "dev": {"source": "mini", "split": "dev", "n": 4},
        "test": {
            "easy": {"source": "mini", "split": "easy", "n": 8},
            "hard": {"source": "mini", "split": "hard", "n": 12},
            "unseen": {"source": "mini", "split": "unseen", "n": 4},
        },
    },
    "benchmarks": ["mini_easy", "mini_hard_sampled"],
    "engine": {"backend": "vllm", "max_num_seqs": 32, "problems_per_batch": 2, "dtype": "float32"},
}
SHARED = ("--problems", "problems/train.parquet")
TEACHER = ("--teacher", "default", "--gpus", "0")
STUDENT = ("--student", "tiny", "--gpus", "0")
GRADES = ("--grades", "grades.parquet")
SAMPLES = ("--samples", "samples.parquet", *GRADES)


@dataclass(frozen=True)
class Stage:
    """One command: its name, its flags and its output. uses_vllm: whether it is killed."""

    command: str
    flags: tuple[str, ...]
    out: str
    uses_vllm: bool = True


STAGES = [
    Stage("load-problems", ("--split", "train"), "problems/train.parquet", uses_vllm=False),
    Stage("load-problems", ("--split", "easy"), "problems/easy.parquet", uses_vllm=False),
    Stage("load-problems", ("--split", "hard"), "problems/hard.parquet", uses_vllm=False),
    Stage("sample base", (*TEACHER, *SHARED), "samples.parquet"),
    Stage("grade", (*SHARED, "--samples", "samples.parquet"), "grades.parquet", uses_vllm=False),
    Stage("sample guided", (*TEACHER, *SHARED, *GRADES), "guided.parquet"),
    Stage("plan-cuts", ("--teacher", "default", *SHARED, *SAMPLES), "cuts.parquet", uses_vllm=False),
    Stage("repair", (*TEACHER, *SHARED, "--cuts", "cuts.parquet"), "repairs.parquet"),
    Stage("score", (*TEACHER, *SHARED, *SAMPLES, "--repairs", "repairs.parquet"), "scores.parquet"),
    Stage(
        "sample extra",
        (*TEACHER, *SHARED, *GRADES, "--match", "guided.parquet", "--match", "repairs.parquet", "--match")
        + ("scores.parquet", "--allocation", "uniform"),
        "extra.parquet",
    ),
    Stage("student-pass ranks", (*STUDENT, *SHARED, *SAMPLES), "ranks.parquet"),
    Stage("student-pass continuations", (*STUDENT, *SHARED, *SAMPLES), "continuations.parquet"),
    Stage("evaluate", (*STUDENT, "--problems", "problems"), "evals"),
]


def select_stages(commands: list[str]) -> list[Stage]:
    """These stages and those whose outputs they read, in order; all without any."""
    selected: list[Stage] = []
    wanted: set[str] = set()
    for stage in reversed(STAGES):
        is_read = any(stage.out == flag or stage.out.startswith(f"{flag}/") for flag in wanted)
        if not commands or stage.command in commands or is_read:
            selected.insert(0, stage)
            wanted.update(stage.flags)
    return selected


@dataclass
class Job:
    """A stage that runs. closed: set when nothing holds the pipe of its output any more."""

    process: subprocess.Popen[bytes]
    session: int
    marker: str
    closed: threading.Event


def write_config(folder: Path) -> Path:
    """The run's config, with the mini models by their absolute paths."""
    content = yaml.safe_load((ROOT / "tests/configs/smoke.yaml").read_text()) | CONFIG
    content["sampling"] |= {"shards": 1}
    for role, models in MODELS.items():
        content[role] = {}
        for name, model in models.items():
            content[role][name] = {"path": str(ROOT / "heal/worlds/mini/models" / model)}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def start_stage(stage: Stage, folder: Path, log: Path) -> Job:
    """Starts a stage as a workflow job is started: its output on a pipe, its log in a file."""
    marker = f"{stage.command}-{time.monotonic()}"
    environment = os.environ | {"HEAL_LOG": str(log), VARIABLE: marker, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "heal", *stage.command.split(), "--config", str(folder / "config.yaml")]
    process = subprocess.Popen(
        [*command, *stage.flags, "--out", stage.out],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    closed = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        while process.stdout.read(2**16):
            pass
        closed.set()

    threading.Thread(target=read, daemon=True).start()
    return Job(process, process.pid, marker, closed)


def list_left(job: Job) -> list[int]:
    """Living processes of a job."""
    return list_living(job.session, job.marker)


def hash_output(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder but its provenance."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and "provenance" not in file.name:
            digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return digest.hexdigest()


def remove_output(path: Path) -> None:
    """Removes what a stage wrote, its finished batches included."""
    subprocess.run(["rm", "-rf", str(path), *map(str, path.parent.glob(f"{path.name}.*"))], check=True)
    subprocess.run(["rm", "-rf", *map(str, path.parent.glob(f".{path.name}*"))], check=True)


def run_whole(stage: Stage, folder: Path) -> float:
    """Runs a stage to its end; returns its seconds."""
    began = time.monotonic()
    log = folder / "whole.log"
    job = start_stage(stage, folder, log)
    if job.process.wait():
        raise SystemExit(f"{stage.command} failed:\n{log.read_text()[-3000:]}")
    return time.monotonic() - began


def wait_for_moment(job: Job, log: Path, moment_s: float | None) -> float:
    """Waits so many seconds, or (None) for the first finished batch, or for the end; returns the seconds waited."""
    began = time.monotonic()
    while job.process.poll() is None:
        if moment_s is None and log.exists() and BATCH_DONE in log.read_text(errors="replace"):
            break
        if moment_s is not None and time.monotonic() - began > moment_s:
            break
        time.sleep(0.02)
    return time.monotonic() - began


def kill_stage(stage: Stage, folder: Path, moment_s: float | None, expected: str) -> dict[str, Any]:
    """Kills a stage after so many seconds, or after its first batch (None), and runs it again; one row of the table."""
    log = folder / "killed.log"
    log.unlink(missing_ok=True)
    job = start_stage(stage, folder, log)
    waited_s = wait_for_moment(job, log, moment_s)
    ended_before = job.process.poll() is not None
    before = len(list_left(job))
    with suppress(ProcessLookupError):
        job.process.kill()
    job.process.wait()
    gone_s = wait_until_gone(lambda: job.closed.is_set() and not list_left(job))
    time.sleep(max(0.0, LIMIT_S - gone_s))
    row = {
        "stage": stage.command,
        "moment": "first batch" if moment_s is None else "random",
        "killed_after_s": round(waited_s, 1),
        "ended_before": ended_before,
        "processes": before,
        "gone_after_s": round(gone_s, 2),
        "left_after_10_s": len(list_left(job)),
        "job_ended": job.closed.is_set(),
    }
    run_whole(stage, folder)
    row["resumed"] = "resumed" in (folder / "whole.log").read_text()
    row["same_bytes"] = hash_output(folder / stage.out) == expected
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=3, help="random moments per stage, besides the first batch")
    parser.add_argument("--stages", nargs="+", help="commands to kill; all by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--out", type=Path, help="CSV file to write")
    arguments = parser.parse_args()
    numbers = random.Random(arguments.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder)
        for stage in select_stages(arguments.stages or []):
            seconds = run_whole(stage, folder)
            print(f"{stage.command}: {seconds:.1f} s", file=sys.stderr, flush=True)
            if not stage.uses_vllm or (arguments.stages and stage.command not in arguments.stages):
                continue
            expected = hash_output(folder / stage.out)
            moments: list[float | None] = []
            for number in range(arguments.moments):
                # One moment in each part of the run, so that start and work are both hit.
                moments.append(seconds * (number + numbers.random()) / arguments.moments)
            if stage.command != "evaluate":  # it has no batches
                moments.append(None)
            for moment in moments:
                remove_output(folder / stage.out)
                rows.append(kill_stage(stage, folder, moment, expected))
                print(rows[-1], file=sys.stderr, flush=True)
                if arguments.out:
                    write_rows(arguments.out, rows)
    write_rows(Path("/dev/stdout"), rows)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
