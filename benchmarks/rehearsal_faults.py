"""Put every fault of tests/rehearsal/faults back, one by one, and show that the rehearsal fails on it.

Rehearses a short config once without a fault, which must pass. Then each fault is put into a copy of that rehearsal,
the rules that it is about run again, and the rehearsal's findings are taken. Reads the working tree; writes a table
(fault, whether the rehearsal failed, where it saw it, seconds). Needs `make rehearsal-env`.

    python -m benchmarks.rehearsal_faults --out results/reference/benchmarks/rehearsal_faults.md
    python -m benchmarks.rehearsal_faults --only uncapped_requests
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.growing_table import GrowingTable
from heal.errors import HealError
from heal.rehearsal.build import Rehearsal, build
from heal.rehearsal.findings import Finding, find_failed_jobs, find_findings
from heal.rehearsal.rehearse import Rehearse, run_logged
from tests.rehearsal.faults import FAULTS, Fault

CONFIG = Path("tests/rehearsal/faults/short.yaml")
RULES = {
    "repair_traces": ["plan_cuts", "repair_traces"],
    "evaluate": ["evaluate_teacher", "evaluate_untrained"],
    "student_passes": ["sample_student"],
}
"""Stage of a finding → the rules that run again, where they have other names."""
SHARDED = ("sample_base", "repair_traces", "score_traces", "student_passes")
"""Stages whose shards are joined before anybody reads them."""


@dataclass(frozen=True)
class Outcome:
    """fault: its name; none for the run without one. stages: where the rehearsal saw something. problem: the first."""

    fault: str
    what: str
    stages: list[str]
    problem: str
    seconds: float


def describe(fault: Fault | None, findings: list[Finding], seconds: float) -> Outcome:
    stages = list(dict.fromkeys(finding.stage for finding in findings))
    name, what = (fault.name, fault.what) if fault else ("none", "the code as it is")
    return Outcome(name, what, stages, findings[0].problem if findings else "-", seconds)


def rehearse_with(fault: Fault, finished: Rehearsal, out: Path, cores: int) -> Outcome:
    """What the rehearsal finds with the fault, in a copy of the finished one below `out`."""
    began = time.monotonic()
    folder = Path(shutil.copytree(finished.folder, out / "copy", symlinks=True))
    rehearsal = replace(finished, folder=folder)
    fault.apply(folder)
    findings = Rehearse(cores=cores).run_check(rehearsal, out)
    if fault.stage and not findings:
        rules = RULES.get(fault.stage, [fault.stage])
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--nocolor", "--keep-going"]
        until = ["merge_shards"] if fault.stage in SHARDED else rules
        command += ["--configfile", str(rehearsal.config), "--config", "allow_resampling=true"]
        command += ["--forcerun", *rules, "--until", *until]
        log = out / "workflow.log"
        status = run_logged(command, folder, log)
        findings = find_failed_jobs(log, folder) if status else find_findings(rehearsal)
        if status and not findings:
            raise HealError("Snakemake failed without a failed job", where=str(log), fix=log.read_text()[-2000:])
    return describe(fault, findings, time.monotonic() - began)


def list_cells(outcome: Outcome) -> list[str]:
    verdict, seen = "fails" if outcome.stages else "passes", ", ".join(outcome.stages) or "-"
    return [outcome.fault, outcome.what, verdict, seen, outcome.problem, f"{outcome.seconds:.0f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of faults; all by default")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, help="the table to write")
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if not arguments.only or fault.name in arguments.only]
    outcomes = []
    table = GrowingTable(
        ["fault", "what goes wrong", "rehearsal", "seen at", "first finding", "seconds"], arguments.out
    )

    def report(outcome: Outcome) -> None:
        outcomes.append(outcome)
        table.add(list_cells(outcome))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began, command = time.monotonic(), Rehearse(cores=arguments.cores)
        finished = build(CONFIG, folder / "none", arguments.cores)
        findings = command.run_check(finished, folder / "none")
        findings = findings or command.run_workflow(finished, folder / "none") or find_findings(finished)
        report(describe(None, findings, time.monotonic() - began))
        for fault in [] if findings else faults:
            out = folder / fault.name
            out.mkdir()
            report(rehearse_with(fault, finished, out, arguments.cores))
            shutil.rmtree(out)
    missed = [outcome.fault for outcome in outcomes[1:] if not outcome.stages]
    if outcomes[0].stages or missed:
        print(f"without a fault: {outcomes[0].problem}; faults that the rehearsal does not see: {missed or 'none'}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
