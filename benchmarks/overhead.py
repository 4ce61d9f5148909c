"""Measure which share of a run's time is no work: starts of Python, imports, Snakemake itself, cores that wait.

Copies the project into a temporary folder and runs Snakemake there with PYTHONPROFILEIMPORTTIME, which makes every job
and the job server write to their logs how long each import took. Reads then Snakemake's metadata (when each job ran),
its benchmark files (seconds of jobs), the provenance (seconds inside commands) and those logs. Writes one row per
command and the sums to --out (csv), and prints them.

    python -m benchmarks.overhead --out results/reference/benchmarks/overhead.csv
    python -m benchmarks.overhead --folder . --run mini --cores 2      # a finished run of this folder, imports unknown
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from heal import records
from heal.cli import find_command
from heal.config.experiment import load
from heal.errors import HealError, exit_with_errors
from heal.provenance import build_ledger, record_run

VERSION = 1
"""Raise it when what is measured changes."""
ROOT = Path(__file__).parent.parent
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "site", "__pycache__", ".*_cache")
IMPORT = re.compile(rb"^import time: +(\d+) \|", re.MULTILINE)
"""A line of Python's import profile: microseconds of one module, without those that it imports."""


@dataclass(frozen=True)
class Job:
    """One job of a finished run."""

    command: str
    log: str
    began: float
    ended: float
    """Unix time, in seconds."""
    seconds: float
    """Of the job's processes."""
    import_s: float
    """Of imports, but those before the log was opened."""


@dataclass
class Part:
    """All jobs of one command, in seconds."""

    command: str
    jobs: int = 0
    seconds: float = 0.0
    command_s: float = 0.0
    """Inside commands, by their provenance: work, and imports where they are needed."""
    import_s: float = 0.0
    start_s: float = 0.0
    """Outside of work: everything outside commands, and no less than a bare start and all imports."""


@dataclass
class Overhead:
    """A run's core-seconds by what they went into."""

    cores: int
    seconds: float
    """From Snakemake's start to its end."""
    parts: list[Part] = field(default_factory=list)
    without_jobs_s: float = 0.0
    """No job ran: Snakemake reads the workflow, plans, and looks for the next jobs."""
    jobs_s: float = 0.0

    @property
    def start_s(self) -> float:
        return sum(part.start_s for part in self.parts)

    def list_shares(self) -> dict[str, float]:
        """What the core-seconds of the run went into, as shares of them."""
        total = self.cores * self.seconds
        without_jobs = self.cores * self.without_jobs_s
        return {
            "work": (self.jobs_s - self.start_s) / total,
            "starts and imports": self.start_s / total,
            "no job runs": without_jobs / total,
            "fewer jobs than cores": (total - without_jobs - self.jobs_s) / total,
        }

    def compute_share_outside_work(self) -> float:
        """Starts, imports and Snakemake, as a share of these and the work; cores that wait for jobs are neither."""
        outside = self.start_s + self.without_jobs_s
        return outside / (self.jobs_s + self.without_jobs_s)


def read_jobs(folder: Path, run: Path) -> list[Job]:
    """The jobs of a run, by Snakemake's metadata. folder: where it was started. run: results/<run>."""
    jobs: dict[str, Job] = {}
    for path in sorted((folder / ".snakemake/metadata").rglob("*")):
        if not path.is_file():
            continue
        record = json.loads(path.read_text("utf-8"))
        log = next(iter(record["log"]), "")
        if not log.startswith(f"{run}/logs/") or log in jobs:
            continue
        words = record["shellcmd"].split(" heal ")[1].split()
        times = folder / run / "benchmarks" / Path(log).relative_to(run / "logs").with_suffix(".tsv")
        if not times.exists():  # the job was killed
            continue
        with times.open(encoding="utf-8") as stream:
            seconds = float(next(csv.DictReader(stream, delimiter="\t"))["s"])
        import_s = read_import_seconds(folder / log)
        jobs[log] = Job(find_command(words[:2]), log, record["starttime"], record["endtime"], seconds, import_s)
    return sorted(jobs.values(), key=lambda job: job.began)


def read_import_seconds(log: Path) -> float:
    """Seconds of all imports that a log tells of."""
    return sum(map(int, IMPORT.findall(log.read_bytes()))) / 1e6


def measure_start() -> float:
    """Seconds until a command is handed to the job server: Python's start and imports; the least of three."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import heal.job_server"], cwd=ROOT, check=True)
        times.append(time.monotonic() - began)
    return min(times)


def find_idle_seconds(jobs: Sequence[Job], began: float, ended: float) -> float:
    """Seconds between two times in which no job ran."""
    idle, until = 0.0, began
    for job in jobs:
        idle += max(0.0, job.began - until)
        until = max(until, job.ended)
    return idle + max(0.0, ended - until)


def sum_parts(jobs: Sequence[Job], command_s: dict[str, float], start_s: float) -> list[Part]:
    """One part per command, the longest first. command_s: by command. start_s: of one bare start; 0 where unknown."""
    parts: dict[str, Part] = {}
    for job in jobs:
        part = parts.setdefault(job.command, Part(job.command, command_s=command_s.get(job.command, 0.0)))
        part.jobs += 1
        part.seconds += job.seconds
        part.import_s += job.import_s
    for part in parts.values():
        bare = part.jobs * start_s + part.import_s
        part.start_s = min(part.seconds, max(part.seconds - part.command_s, bare))
    return sorted(parts.values(), key=lambda part: -part.seconds)


def measure_overhead(folder: Path, run: Path, cores: int, span: tuple[float, float] | None, start_s: float) -> Overhead:
    """The overhead of a finished run. span: Snakemake's start and end; by default, those of its first and last job."""
    jobs = read_jobs(folder, run)
    if not jobs:
        fix = "give the folder that a finished run was started in, and the run's name"
        raise HealError("Snakemake knows of no job of it", where=str(folder / run), fix=fix)
    began, ended = span or (jobs[0].began, max(job.ended for job in jobs))
    ledger = build_ledger(folder / run)
    command_s = ledger.groupby("command")["seconds"].sum().to_dict()
    parts = sum_parts(jobs, command_s, start_s)
    server_log = folder / run / "logs/job_server.log"
    if server_log.exists():
        import_s = read_import_seconds(server_log)
        parts.append(Part("job server", 1, import_s, 0.0, import_s, import_s))
    idle = find_idle_seconds(jobs, began, ended)
    return Overhead(cores, ended - began, parts, idle, sum(part.seconds for part in parts))


def run_workflow(folder: Path, config: str, cores: int) -> tuple[float, float]:
    """Runs Snakemake on a copy of the project; returns when it began and ended, in Unix time."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1", "PYTHONPATH": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", config]
    began = time.time()
    with (folder / "terminal.log").open("w") as stream:
        ended = subprocess.run(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    if ended.returncode:
        raise RuntimeError(f"the run failed:\n{(folder / 'terminal.log').read_text()[-3000:]}")
    return began, time.time()


def format_overhead(overhead: Overhead) -> str:
    """The table and the shares, as text."""
    lines = [f"{'command':<28}{'jobs':>6}{'seconds':>10}{'in commands':>13}{'imports':>10}{'no work':>10}"]
    for part in overhead.parts:
        line = f"{part.command:<28}{part.jobs:>6}{part.seconds:>10.1f}{part.command_s:>13.1f}"
        lines.append(f"{line}{part.import_s:>10.1f}{part.start_s:>10.1f}")
    lines += ["", f"{overhead.seconds:.0f} s on {overhead.cores} cores. Of their core-seconds:"]
    for name, share in overhead.list_shares().items():
        lines.append(f"  {name:<24}{share:7.1%}")
    lines.append(f"Starts, imports and Snakemake: {overhead.compute_share_outside_work():.1%} of these and the work.")
    return "\n".join(lines)


def write_parts(overhead: Overhead, out: Path) -> None:
    """One row per command, and one for the time in which no job ran."""
    idle = Part("snakemake", 0, overhead.without_jobs_s, start_s=overhead.without_jobs_s)
    rows = [asdict(part) for part in [*overhead.parts, idle]]
    lines = [",".join(rows[0])]
    for row in rows:
        lines.append(",".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    records.write_text(out, "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config/config.yaml", help="what is run")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where a finished run was started; nothing is run then")
    parser.add_argument("--run", help="its name, with --folder")
    parser.add_argument("--out", type=Path, help="the table, csv")
    arguments = parser.parse_args()
    if arguments.folder:
        run = Path("results") / (arguments.run or load(arguments.config).run)
        overhead = measure_overhead(arguments.folder, run, arguments.cores, None, start_s=0.0)
        if arguments.out:
            write_parts(overhead, arguments.out)
        print(format_overhead(overhead))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, run = Path(temporary) / "copy", Path("results") / load(arguments.config).run
        facts = {"options": {"config": arguments.config, "cores": arguments.cores}}
        out = arguments.out or Path(temporary) / "overhead.csv"
        with record_run(out, "benchmarks.overhead", VERSION, facts):
            span = run_workflow(folder, arguments.config, arguments.cores)
            overhead = measure_overhead(folder, run, arguments.cores, span, measure_start())
            write_parts(overhead, out)
    print(format_overhead(overhead))


if __name__ == "__main__":
    exit_with_errors(main)
