"""Rehearse a config before a GPU is touched: its own workflow, from problems to report, with stand-in models.

Reads a config; writes results/rehearsal_<config>/: config.yaml (the scaled config), copy/ (the repository with data,
stand-ins and the run's results), summary.md and summary.json. Weights, data and size are replaced, nothing else: the
engine, the methods, the prompts and the tables are the config's own. Ends with a list of the stages, and fails where
one failed, or lacks content that it should have.

    heal rehearse --config config/single_gpu.yaml
    heal rehearse --config config/paper.yaml --ablations --cores 8
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from heal.command import Command
from heal.errors import HealError
from heal.records import write_json, write_text
from heal.rehearsal.build import Rehearsal, build
from heal.rehearsal.findings import Finding, find_failed_jobs, find_findings
from heal.rehearsal.summary import format_summary
from heal.stages import list_stages

DEFAULT_CONFIG = Path("config/config.yaml")
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
"""Environment of every job. vLLM: a cache of 1 GiB, as stand-ins need little and several engines run at once, so none
takes cores for itself; one process per engine instead of two, as starting the second takes as long as its work. malloc
keeps freed memory: a row of 151,936 logits is otherwise mapped, cleared and unmapped at every token."""


class Rehearse(Command):
    ablations: bool = False
    """Rehearse the ablations as well."""
    cores: int = 2
    """Cores that jobs may use at once."""
    out: Path | None = None
    """Folder to write; results/rehearsal_<config> by default. What is there is replaced."""

    def run(self) -> None:
        path = self.config or DEFAULT_CONFIG
        began = time.monotonic()
        out = (self.out or Path("results") / f"rehearsal_{path.stem}").absolute()
        rehearsal = build(path, out, self.cores)
        seconds_to_build = time.monotonic() - began
        findings = self.run_check(rehearsal, out)
        if not findings:
            findings = self.run_workflow(rehearsal, out) or find_findings(rehearsal)
        seconds = time.monotonic() - began
        stages = list_stages(rehearsal.folder / "results" / rehearsal.experiment.run)
        text = format_summary(path, rehearsal, stages, findings, seconds, seconds_to_build)
        write_text(out / "summary.md", text)
        facts = {"config": str(path), "factor": rehearsal.factor, "seconds": round(seconds, 1)}
        facts |= {"seconds_to_build": round(seconds_to_build, 1), "notes": rehearsal.notes}
        facts |= {"stages": [vars(stage) for stage in stages], "findings": [vars(finding) for finding in findings]}
        write_json(out / "summary.json", facts)
        print(text, flush=True)
        if findings:
            first = findings[0]
            raise HealError(
                f"the rehearsal failed in {len(findings)} places, first: {first}", where=str(path), fix=first.fix
            )

    def run_check(self, rehearsal: Rehearsal, out: Path) -> list[Finding]:
        """`heal check` of the scaled config, with stand-ins and data."""
        command = [sys.executable, "-m", "heal", "check", "--config", str(rehearsal.config)]
        log = out / "check.log"
        if run_logged(command, rehearsal.folder, log) == 0:
            return []
        return [Finding("check", "refuses the scaled config", str(log), "fix what the log names, in the config")]

    def run_workflow(self, rehearsal: Rehearsal, out: Path) -> list[Finding]:
        """The workflow's targets; the jobs that failed."""
        targets = ["all", *["ablations"] * self.ablations]
        command = [sys.executable, "-m", "snakemake", "--cores", str(self.cores), "--nocolor", "--keep-going"]
        choices = ["--configfile", str(rehearsal.config), "--", *targets]
        log = out / "workflow.log"
        if run_logged([*command, *choices], rehearsal.folder, log) == 0:
            second = out / "second_run.log"
            run_logged([*command, "--dry-run", *choices], rehearsal.folder, second)
            if "Nothing to be done" in second.read_text(encoding="utf-8"):
                return []
            fix = "its log names the files that are missing or that have changed"
            return [Finding("workflow", "a second run would do something again", str(second), fix)]
        return find_failed_jobs(log, rehearsal.folder) or [
            Finding("workflow", "Snakemake failed before any job", str(log), "read the log's last lines")
        ]


def run_logged(command: list[str], folder: Path, log: Path) -> int:
    """Exit status of a command in the working copy; its output goes to a file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | ENVIRONMENT | {"PATH": path, "PYTHONPATH": str(folder)}
    environment.pop("HEAL_CONFIG", None)
    print(f"{' '.join(command[2:5])} …, log: {log}", flush=True)
    with open(log, "w", encoding="utf-8") as stream:
        return subprocess.run(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT).returncode
