"""The plan counts the jobs that the workflow would run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from heal.config import experiment as config
from heal.planning import costs as plan
from heal.trace_files import files
from tests.support.paths import ROOT, SMOKE
from tests.support.planning import MINI

pytestmark = pytest.mark.workflow
RULES = ("base_samples", "guided_samples", "repairs", "trace_scores", "extra_samples", "student") + (
    *("evaluate_student", "evaluate_teacher", "evaluate_untrained"),
    *("student_samples", "student_ranks", "student_continuations"),
)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        *((path, target) for path in (MINI, ROOT / SMOKE) for target in ((), ("ablations",), ("comparisons",))),
        (ROOT / "config/mini_baselines.yaml", ("ablations",)),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "".join(value) or "main",
)
def test_the_plan_counts_the_jobs_that_the_workflow_would_run(path, target, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", "--nolock", "--dry-run", "--forceall"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        [*command, *target, "--configfile", str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    stats = (run.stdout + run.stderr).rpartition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
    settings = plan.settings(config.load(path), where=str(path), **dict.fromkeys(target, True))
    counted = pd.DataFrame(plan.plan(settings)).groupby("rule")["jobs"].sum().to_dict()
    assert counted == {rule: jobs[rule] for rule in RULES if rule in jobs}
    variants = {file for file in plan.trace_files(settings) if file.startswith("repairs/")}
    assert jobs["repairs"] == len(variants) * settings.experiment.sampling.shards
    assert files.repairs(settings.experiment.gear) in variants
