"""A new baseline in the workflow: one file and three lines of config, and its mistakes are told before any job."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from heal import run_layout
from heal.cli import COMMANDS
from heal.config.run_config import read_run_config
from tests.support.paths import ROOT
from tests.support.snakemake import copy_repository, make_environment, plan_jobs, run_snakemake

pytestmark = pytest.mark.workflow


def copy_with_baseline(folder, **changes):
    """A copy of the repository with TEMPLATE.py as a new baseline and three lines of config."""
    repository = copy_repository(folder)
    content = (repository / "baselines/TEMPLATE.py").read_text().replace('name = "template"', 'name = "mine"')
    for old, new in changes.items():
        content = content.replace(old, new)
    (repository / "baselines/mine.py").write_text(content)
    smoke = (repository / "tests/configs/smoke.yaml").read_text()
    lines = "ablations:\n  my_name:\n    method: mine\n"
    head, _, tail = smoke.partition("ablations:\n")
    (repository / "config/mine.yaml").write_text(head + lines + tail)
    return repository


def test_a_new_baseline_is_one_file_and_three_lines(tmp_path):
    """As a new user would: found by itself, checked, tried by the tests without being listed, planned and tabulated."""
    repository = copy_with_baseline(tmp_path)
    run = lambda *words: subprocess.run(  # noqa: E731
        [sys.executable, "-m", *words],
        cwd=repository,
        env=make_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "mine: what `heal methods` says of it" in run("heal", "methods").stdout
    checked = run("heal", "check", "--fields-only", "--config", "config/mine.yaml")
    assert checked.returncode == 0 and "my_name" in checked.stdout, checked.stderr
    tried = run("pytest", "-n", "0", "tests/test_registry.py", "-k", "mine", "-p", "no:cacheprovider")
    assert tried.returncode == 0 and "2 passed" in tried.stdout, tried.stdout
    jobs = plan_jobs(repository, "ablations", "--configfile", "config/mine.yaml")
    before = plan_jobs(repository, "ablations", "--configfile", "tests/configs/smoke.yaml")
    for rule in ("build_curriculum", "train_student"):  # one job trains both seeds
        assert jobs[rule] == before[rule] + 1
    print_table = "from tools.docs.config import build_methods_table; print(build_methods_table())"
    table = subprocess.check_output(
        [sys.executable, "-c", print_table], cwd=repository, env=make_environment(), text=True
    )
    assert "| `mine` |" in table  # of baselines/README.md


def test_only_a_distilled_student_is_trained_with_its_teacher(tmp_path):
    """`heal train` reads a method's distillation, and its rule waits for the teacher's files where there is one."""
    run_config = read_run_config(ROOT / "config/mini_baselines.yaml")
    students = []
    for method in ("on_policy", "rsr"):
        flags = {"method": method, "student": "tiny", "teacher": "default"}
        options = COMMANDS["train"].load().changed_options(run_config, **flags)
        assert (options["distillation"] is not None) == (method == "on_policy")
        students.append(f"results/mini_baselines/{run_layout.STUDENT.format(**flags, teacher_seed=0, seed=0)}/loss.csv")
    repository = copy_repository(tmp_path)
    rules = repository / "workflow/rules/train.smk"
    rules.write_text(re.sub(r"(?m)^ +message:\n.*\n", "", rules.read_text()))  # a job with a message prints no input
    arguments = [*students, "--forceall", "--configfile", "config/mini_baselines.yaml"]
    status, output = run_snakemake(repository, "--dry-run", *arguments)
    assert status == 0, output
    inputs = re.findall(r"^rule train_student:\n    input: (.*)$", output, re.MULTILINE)
    assert len(inputs) == 2, output
    for line in inputs:
        assert ("heal/worlds/mini/models/teacher/" in line) == ("/on_policy/" in line), line


def test_a_broken_baseline_is_told_before_anything_runs(tmp_path):
    misspelled = 'TraceFile("sampels.parquet", "samples", "sample_base", "teacher", content="samples")'
    repository = copy_with_baseline(tmp_path, **{"return [SAMPLES, GRADES]": f"return [{misspelled}]"})
    status, output = run_snakemake(repository, "--dry-run", "--configfile", "config/mine.yaml")
    assert status != 0 and "Traceback" not in output
    for word in ("baselines/mine.py", "my_name", "no rule makes 'sampels.parquet'", "did you mean 'samples.parquet'?"):
        assert word in output, output
