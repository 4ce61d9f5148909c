"""Runs Snakemake on the repository or on a copy of it, and reads what it plans."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__", ".*_cache", ".hypothesis")


def make_command(*arguments, cores="all"):
    program = [sys.executable, "-m", "snakemake", "--cores", cores, "--nocolor", *arguments]
    return program


def make_environment(path=os.environ["PATH"]):
    """Stages run `python`, so the environment's own must come first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}", "PYTHONPATH": ""}


def run_snakemake(folder, *arguments, cores="all", **variables):
    program, variables = make_command(*arguments, cores=cores), make_environment() | variables
    run = subprocess.run(program, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)
    return run.returncode, run.stdout + run.stderr


def plan_jobs(folder, *arguments):
    """Rule → number of jobs that a dry run plans; {} where there is nothing to be done."""
    status, output = run_snakemake(folder, "--dry-run", *arguments)
    assert status == 0, output
    if "Nothing to be done" in output:
        return {}
    stats = output.rpartition("Job stats:")[2].partition("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE) if rule != "total"}


def copy_repository(folder):
    return Path(shutil.copytree(ROOT, folder / "copy", ignore=LEFT_OUT))


def read_rules():
    """Name → text of every rule with a shell command; a rule per group of training seeds, without them in its name."""
    rules = {}
    for path in sorted(ROOT.glob("workflow/rules/*.smk")):
        for part in re.split(r"^ *rule(?=[ \w]*:$)", path.read_text(), flags=re.MULTILINE)[1:]:
            name, _, text = part.partition(":")
            if re.search(r"^ +shell:$", text, re.MULTILINE):
                rules[name.strip() or re.search(r'name_rule\("(\w+)"', text)[1]] = text
    return rules
