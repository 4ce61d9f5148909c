"""Put every fault of tests/rehearsal/faults back, one by one, and show that the rehearsal fails on it.

Reads the working tree; writes a table (fault, whether the rehearsal failed, where it saw it, seconds). Each fault is a
rehearsal of its own in a copy of the repository; the first row has no fault and must pass. Needs `make rehearsal-env`.

    python -m benchmarks.rehearsal_faults --out results/reference/rehearsal/faults.md
    python -m benchmarks.rehearsal_faults --only uncapped_requests
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.rehearsal.faults import FAULTS, Fault, copy_repository

CONFIG = "tests/rehearsal/faults/short.yaml"


@dataclass(frozen=True)
class Outcome:
    """fault: its name; none for the run without one. stages: where the rehearsal saw something. error: its message."""

    fault: str
    what: str
    failed: bool
    stages: list[str]
    error: str
    seconds: float


def rehearse(fault: Fault | None, cores: int) -> Outcome:
    """The rehearsal of a copy with the fault."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_repository(Path(folder) / "repository")
        if fault:
            fault.apply(copy)
        out = Path(folder) / "rehearsal"
        command = [
            sys.executable,
            "-m",
            "heal",
            "rehearse",
            "--config",
            CONFIG,
            "--out",
            str(out),
            "--cores",
            str(cores),
        ]
        began = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(copy)}
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        seconds = time.monotonic() - began
        summary = out / "summary.json"
        findings = json.loads(summary.read_text())["findings"] if summary.is_file() else []
        stages = list(dict.fromkeys(finding["stage"] for finding in findings))
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    name, what = (fault.name, fault.what) if fault else ("none", "the code as it is")
    return Outcome(name, what, run.returncode != 0, stages, (errors or [""])[0], seconds)


def format_table(outcomes: list[Outcome]) -> str:
    lines = ["| fault | what goes wrong | rehearsal | seen at | seconds |", "|---|---|---|---|---:|"]
    for outcome in outcomes:
        seen = ", ".join(outcome.stages) or (outcome.error if outcome.failed else "-")
        verdict = "fails" if outcome.failed else "passes"
        lines.append(f"| {outcome.fault} | {outcome.what} | {verdict} | {seen} | {outcome.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of faults; all by default")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, help="the table to write")
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if not arguments.only or fault.name in arguments.only]
    outcomes = []
    for fault in (None, *faults):
        outcomes.append(rehearse(fault, arguments.cores))
        print(format_table(outcomes[-1:]).splitlines()[-1], flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(format_table(outcomes))
    missed = [outcome.fault for outcome in outcomes[1:] if not outcome.failed]
    if missed or outcomes[0].failed:
        print(f"not seen: {', '.join(missed) or 'none'}; without a fault: {outcomes[0].error or 'passes'}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
