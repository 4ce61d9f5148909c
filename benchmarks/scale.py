"""Measure memory and time of every command that runs no model, at shares of the paper preset's size.

Writes synthetic traces (benchmarks/synthetic_run.py), runs each command on them as a process of its own, and writes a
table to --out (csv, and the same as md): peak memory, seconds, tokens per second.

    python -m benchmarks.scale --share 0.01 0.1 --out results/reference/benchmarks/scale.csv
    python -m benchmarks.scale --share 1 --keep --folder /scratch/scale   # 19 GB
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.synthetic_run import PRESET, ROOT, RUN, SHARDS, STUDENT, TEACHER, TRACES, Writer, write_config
from heal import records
from heal.provenance import record_run
from heal.registry import discover_methods

VERSION = 1
"""Raise it when the bytes of the output change for the same input, times and memory excepted."""


@dataclass(frozen=True)
class Measured:
    """One command at one size."""

    share: float
    """Of the preset's problems."""
    command: str
    reads: str
    """Whether it reads token columns: tokens, lengths (of token columns), or nothing of them."""
    million_tokens: float
    """Tokens of the traces in its input files."""
    seconds: float
    cpu_seconds: float
    """Of the process and its children; what other processes of the machine do changes it little."""
    million_tokens_per_cpu_s: float
    peak_mb: float
    """Peak resident memory of the process (VmHWM)."""


def list_commands() -> list[tuple[str, str, str, list[str]]]:
    """(name, what it reads of token columns, tables that it reads, arguments) of every command, in order."""
    traces, problems = TRACES, f"{RUN}/problems/train.parquet"
    inputs = ["--problems", problems, "--samples", f"{traces}/samples.parquet"]
    graded = [*inputs, "--grades", f"{traces}/grades.parquet"]
    hinted = ["--guided", f"{traces}/guided.parquet", "--repairs", f"{traces}/repairs/default.parquet"]
    parts = []
    for shard in range(SHARDS):
        parts += ["--parts", f"{traces}/shards/samples/{shard}.parquet"]
    merge = ["merge", "--table", "samples", *parts, "--out", f"{traces}/samples.parquet"]
    repaired = ["--problems", problems, "--repairs", f"{traces}/repairs/default.parquet"]
    scores = ["--scores", f"{traces}/scores/default.parquet"]
    trace = ["--teacher", TEACHER, "--samples", f"{traces}/samples.parquet", *repaired[2:]]
    commands = [
        ("merge", "tokens", "samples", merge),
        ("grade", "nothing", "samples", ["grade", *inputs, "--out", "out/grades.parquet"]),
        (
            "premise",
            "lengths",
            "samples guided repairs",
            ["premise", *graded, *hinted, "--out", f"{traces}/premise.json"],
        ),
        ("plan-cuts", "tokens", "samples", ["plan-cuts", "--teacher", TEACHER, *graded, "--out", "out/cuts.parquet"]),
    ]
    for name, method in sorted(discover_methods().items()):
        needed = [file.schema for file in method(method.Options()).needs() if file.schema in TOKEN_TABLES]
        reads = {"rsr": "tokens", "s1": "lengths", "mix_distillation": "lengths", "likely_repairs": "tokens"}.get(
            name, "nothing"
        )
        arguments = ["build-curriculum", "--method", name, "--student", STUDENT, "--problems", problems]
        arguments += ["--traces", traces, "--out", f"{RUN}/curricula/{name}.jsonl"]
        commands.append((f"build-curriculum {name}", reads, " ".join(needed), arguments))
    grades = ["--problems", problems, "--grades", f"{traces}/grades.parquet"]
    answers = ["--comparison", "main", "--out"]
    return [
        *commands,
        ("plot-ceiling", "nothing", "", ["plot-ceiling", *grades, "--out", "out/ceiling.svg"]),
        ("plot-trace", "one trace", "samples repairs", ["plot-trace", *trace, "--out", "out/trace.svg"]),
        ("plot-positions", "nothing", "repairs", ["plot-positions", *repaired, "--out", "out/positions.svg"]),
        ("plot-pure", "nothing", "repairs scores", ["plot-pure", *repaired, *scores, "--out", "out/pure.svg"]),
        ("view", "some traces", "samples repairs scores", ["view", "--teacher", TEACHER, "--out", "out/view.html"]),
        ("tabulate-comparison", "nothing", "answers", ["tabulate-comparison", *answers, "out/main.csv"]),
        ("tabulate-details", "nothing", "answers", ["tabulate-details", *answers, "out/main.csv"]),
    ]


# Not the parent's wait4(): its maximum begins at the memory of the process that was forked.
RUN_AND_MEASURE = """
import atexit, os, sys
def write_peak(path=sys.argv.pop(1)):
    lines = open("/proc/self/status").read().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    open(path, "w").write(f"{peak} {sum(os.times()[:4])}")
atexit.register(write_peak)
sys.argv[0] = "heal"
from heal.cli import run
run()
"""
TOKEN_TABLES = ("samples", "guided", "repairs", "scores", "ranks", "continuations")


def run_command(folder: Path, config: Path, arguments: list[str]) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak memory in MB) of one command. Raises where it fails."""
    log, peak = folder / "log.txt", folder / "peak.txt"
    environment = os.environ | {"HEAL_CONFIG": str(config), "PYTHONPATH": str(ROOT)}
    environment.pop("HEAL_LOG", None)
    began = time.monotonic()
    with log.open("wb") as stream:
        command = [sys.executable, "-c", RUN_AND_MEASURE, str(peak), *arguments]
        code = subprocess.call(command, cwd=folder, env=environment, stdout=stream, stderr=stream)
    if code:
        raise RuntimeError(f"heal {' '.join(arguments)}:\n{log.read_text(errors='replace')[-3000:]}")
    peak_kb, cpu_seconds = map(float, peak.read_text().split())
    return time.monotonic() - began, cpu_seconds, peak_kb / 1024


def measure_size(folder: Path, share: float, select: Callable[[str], bool]) -> Iterator[Measured]:
    """Writes the traces of one size, where they are not there yet, and runs the commands on them."""
    counts = folder / "tokens.json"
    commands = [command for command in list_commands() if command[0] == "merge" or select(command[0])]
    if not counts.exists():
        began = time.monotonic()
        writer = Writer(folder, share)
        writer.write_tables(set(" ".join(command[2] for command in commands).split()))
        records.write_json(counts, writer.tokens)
        print(f"share {share:g}: traces written in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    tokens = json.loads(counts.read_text("utf-8"))
    config = write_config(folder)
    traces = folder / TRACES
    for name, reads, tables, arguments in commands:
        seconds, cpu_seconds, peak_mb = run_command(folder, config, arguments)
        if name == "merge":
            link_further_samples(traces)
        read = sum(tokens[table] for table in tables.split()) / 1e6
        times = round(seconds, 1), round(cpu_seconds, 1), round(read / cpu_seconds, 1)
        yield Measured(share, name, reads, round(read, 1), *times, round(peak_mb))


def link_further_samples(traces: Path) -> None:
    """The extra samples of `rs_matched` and those at a low temperature are the base samples under other names."""
    for target in ("extra/uniform/default", "low_temperature"):
        (traces / target).parent.mkdir(parents=True, exist_ok=True)
        for source, suffix in (("samples.parquet", ".parquet"), ("grades.parquet", ".grades.parquet")):
            link = traces / f"{target}{suffix}"
            link.unlink(missing_ok=True)
            os.link(traces / source, link)


def write_table(rows: list[Measured], out: Path) -> None:
    """The csv, and the same as a table to read."""
    names = [field.name for field in fields(Measured)]
    lines = [",".join(names)]
    marked = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        values = [str(getattr(row, name)) for name in names]
        lines.append(",".join(values))
        marked.append("| " + " | ".join(values) + " |")
    records.write_text(out, "\n".join(lines) + "\n")
    records.write_text(out.with_suffix(".md"), "\n".join(marked) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, nargs="+", default=[0.01, 0.1], help="shares of the preset's problems")
    parser.add_argument("--only", nargs="*", help="commands whose names start so, and what they read; all by default")
    parser.add_argument("--folder", type=Path, help="where the traces are written; a temporary folder by default")
    parser.add_argument("--keep", action="store_true", help="keep the traces, to measure again without writing them")
    parser.add_argument("--out", type=Path, default=ROOT / "results/reference/benchmarks/scale.csv")
    arguments = parser.parse_args()
    base = arguments.folder or Path(tempfile.mkdtemp(prefix="scale."))
    rows: list[Measured] = []

    def is_selected(name: str) -> bool:
        return not arguments.only or name.startswith(tuple(arguments.only))

    options = {"share": arguments.share, "only": arguments.only, "preset": str(PRESET.relative_to(ROOT))}
    with record_run(arguments.out, "benchmarks/scale.py", VERSION, {"options": options}):
        for share in arguments.share:
            folder = (base / f"{share:g}").resolve()
            (folder / "out").mkdir(parents=True, exist_ok=True)
            for row in measure_size(folder, share, is_selected):
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
                write_table(rows, arguments.out)
            if not arguments.keep:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
