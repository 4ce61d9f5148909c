"""Runs Snakemake on the repository or on a copy of it, and reads what it plans.

Each is a fork of a process that has imported Snakemake already: imports are half of a dry run.
"""

import multiprocessing
import os
import re
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.paths import ROOT

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["snakemake.cli", "pandas", "scipy.stats", "pydantic_settings", "snakemake_executor_plugin_slurm"]
)
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__", ".*_cache", ".hypothesis")


def make_command(*arguments, cores="all"):
    program = [sys.executable, "-m", "snakemake", "--cores", cores, "--nocolor", *arguments]
    return program


def make_environment(path=os.environ["PATH"]):
    """Stages run `python`, so the environment's own must come first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}", "PYTHONPATH": ""}


def run_snakemake(folder, *arguments, cores="all", **variables):
    """Status and output. variables: of the environment."""
    command = make_command(*arguments, cores=cores)
    with tempfile.NamedTemporaryFile("w+") as log:
        fork = FORKS.Process(target=call_snakemake, args=(folder, command, make_environment() | variables, log.name))
        fork.start()
        fork.join(900)
        if fork.exitcode is None:
            fork.kill()
        return fork.exitcode, log.read()


def call_snakemake(folder, command, environment, log):
    """Snakemake in this process, as `python -m` would run it in `folder`; no module of the suite is imported yet."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.chdir(folder)
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    _, _, module, *sys.argv[1:] = command
    runpy.run_module(module, run_name="__main__", alter_sys=True)


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
