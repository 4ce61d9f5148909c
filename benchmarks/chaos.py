"""Kill whole runs with SIGKILL at random moments, and see whether they end as a run that was left alone.

Runs the smoke config, or the rehearsal of a GPU preset, in a copy of the repository: once to its end, then in a process
group that is killed, started again, killed again. Each start does at least part of the work; where all of it is done
before the kills are, the outputs are compared and the run starts anew. Writes a row per kill: seconds after the start,
jobs that were running, processes that live 10 seconds later. Fails where one lives, where Snakemake fails on its own,
or where a table, figure, trace, answer or student differs from the undisturbed run's in a byte.

    python -m benchmarks.chaos --kills 20 --out results/reference/benchmarks/chaos_smoke.md
    python -m benchmarks.chaos --kills 10 --rehearse config/single_gpu.yaml \
        --out results/reference/benchmarks/chaos_single_gpu.md
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.growing_table import GrowingTable
from benchmarks.processes import LIMIT_S, VARIABLE, list_living, wait_until_gone
from tests.support.paths import SMOKE
from tests.support.snakemake import copy_repository, make_command, make_environment

COMPARED = (
    "tables/**/*",
    "figures/**/*",
    "traces/**/*.parquet",
    "curricula/**/curriculum.jsonl",
    "evals/**/answers.parquet",
    "students/**/*.csv",
    "students/**/*.safetensors",
)
SECONDS_WITHIN = re.compile(r"\.provenance\.json$|_costs\.|^hours\.")
"""Files that hold seconds or dates, which differ between runs."""
HEADER = ("kill", "seconds after the start", "jobs running", "processes", "gone after s", "left after 10 s")
STARTED = re.compile(r"^Job (\d+): (?:Teacher [^:]*: )?(.*?)(?: \(teacher.*\))?$", re.MULTILINE)
ENDED = re.compile(r"^Finished jobid: (\d+)", re.MULTILINE)


@dataclass
class Run:
    """A command that goes on where it was killed. results: the folder of its outputs, absolute."""

    folder: Path
    results: Path
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, log: Path, marker: str) -> subprocess.Popen[bytes]:
        """The command in a session of its own; its output goes to `log`."""
        with open(log, "w", encoding="utf-8") as stream:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=make_environment() | self.environment | {VARIABLE: marker},
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def forget(self) -> None:
        """Removes what the run wrote, and what Snakemake knows of it."""
        shutil.rmtree(self.results, ignore_errors=True)
        shutil.rmtree(self.folder / ".snakemake", ignore_errors=True)


def prepare_smoke_run(base: Path, cores: str) -> Run:
    folder = copy_repository(base)
    command = make_command("ablations", "viewer", "--configfile", SMOKE, cores=cores)
    return Run(folder, folder / "results/smoke", command)


def prepare_rehearsal(config: Path, base: Path, cores: str) -> Run:
    """Builds the stand-ins and the scaled config."""
    from heal.rehearsal.build import build
    from heal.rehearsal.rehearse import ENVIRONMENT

    rehearsal = build(config, base, int(cores))
    command = make_command("all", "--configfile", str(rehearsal.config), cores=cores)
    environment = ENVIRONMENT | {"PYTHONPATH": str(rehearsal.folder)}
    return Run(rehearsal.folder, rehearsal.folder / "results" / rehearsal.experiment.run, command, environment)


def read_outputs(results: Path) -> dict[str, bytes]:
    """Name → bytes of every output that must not depend on kills."""
    files = {file for pattern in COMPARED for file in results.glob(pattern) if file.is_file()}
    return {
        str(file.relative_to(results)): file.read_bytes()
        for file in sorted(files)
        if not SECONDS_WITHIN.search(file.name) and ".partial-" not in str(file)
    }


def list_differences(expected: dict[str, bytes], results: Path) -> list[str]:
    """Files that are missing, that are new, or that hold other bytes."""
    found = read_outputs(results)
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def list_running_jobs(log: str) -> list[str]:
    """What each job is that Snakemake's log has started and not ended, by its message, without the teacher."""
    ended = set(ENDED.findall(log))
    return [message for job, message in STARTED.findall(log) if job not in ended]


def run_to_end(run: Run, log: Path) -> float:
    """Runs until nothing is left to do; returns the seconds. Raises SystemExit with the log's end where it fails."""
    began = time.monotonic()
    process = run.start(log, "whole")
    if process.wait():
        raise SystemExit(f"the run failed after {time.monotonic() - began:.0f} s:\n{log.read_text()[-4000:]}")
    return time.monotonic() - began


@dataclass(frozen=True)
class Kill:
    """What a kill met, and what it left."""

    after_s: float
    jobs: list[str]
    processes: int
    gone_after_s: float
    left: list[int]


def kill_after(run: Run, seconds: float, log: Path, marker: str) -> Kill | None:
    """Starts the run and kills its process group after so many seconds; None where it ended by then."""
    process = run.start(log, marker)
    with suppress(subprocess.TimeoutExpired):
        if process.wait(seconds):
            raise SystemExit(f"the run failed on its own:\n{log.read_text()[-4000:]}")
        return None
    before = len(list_living(process.pid, marker))
    jobs = list_running_jobs(log.read_text(errors="replace"))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    gone_s = wait_until_gone(lambda: not list_living(process.pid, marker))
    return Kill(seconds, jobs, before, gone_s, list_living(process.pid, marker))


def break_run(run: Run, kills: int, longest_s: float, rng: random.Random, logs: Path, table: GrowingTable) -> None:
    """Kills a run so often, and lets it end. Raises SystemExit where a process, or another byte, is left."""
    print(f"undisturbed: {run_to_end(run, logs / 'undisturbed.log'):.0f} s", file=sys.stderr, flush=True)
    expected = read_outputs(run.results)
    if not expected:
        raise SystemExit(f"no file to compare below {run.results}")
    run.forget()
    number, ended = 0, 0
    while number < kills:
        kill = kill_after(run, rng.uniform(0, longest_s), logs / f"killed_{number}.log", f"kill {number}")
        if kill is None:
            ended += 1
            check_outputs(expected, run)
            run.forget()
            continue
        number += 1
        cells = (str(number), f"{kill.after_s:.1f}", "; ".join(kill.jobs) or "none", str(kill.processes))
        table.add((*cells, f"{kill.gone_after_s:.2f}", str(len(kill.left))))
        if kill.left:
            raise SystemExit(f"processes {kill.left} live {LIMIT_S:.0f} s after kill {number}")
    run_to_end(run, logs / "resumed.log")
    check_outputs(expected, run)
    print(f"{kills} kills, {ended + 1} runs to the end, {len(expected)} files alike", file=sys.stderr)


def check_outputs(expected: dict[str, bytes], run: Run) -> None:
    differences = list_differences(expected, run.results)
    if differences:
        raise SystemExit(
            f"{len(differences)} of {len(expected)} files differ after kills: {', '.join(differences[:20])}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", type=Path, metavar="CONFIG", help="rehearse this config instead of the smoke run")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, help="seconds after which a start is killed at the latest")
    parser.add_argument("--cores", default="2")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--out", type=Path, help="Markdown table to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        if arguments.rehearse:
            run = prepare_rehearsal(arguments.rehearse, base, arguments.cores)
        else:
            run = prepare_smoke_run(base, arguments.cores)
        longest_s = arguments.longest or (90.0 if arguments.rehearse else 25.0)
        table = GrowingTable(HEADER, arguments.out)
        break_run(run, arguments.kills, longest_s, random.Random(arguments.seed), base, table)


if __name__ == "__main__":
    main()
