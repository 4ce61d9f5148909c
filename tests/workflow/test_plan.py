"""The plan counts the jobs that the workflow would run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from heal.config.run_config import read_run_config
from heal.planning.costs import plan_costs
from heal.planning.inputs import collect_inputs
from heal.planning.tokens import list_made_files
from heal.trace_files import DEFAULT_VARIANT, REPAIRS
from tests.support.paths import ROOT, SMOKE
from tests.support.planning import MINI

pytestmark = pytest.mark.workflow
RULES = (
    *("sample_base", "sample_guided", "plan_cuts", "repair_traces", "score_traces", "score_guided"),
    "train_student",
    *("sample_low_temperature", "sample_extra"),
    *("evaluate_student", "evaluate_teacher", "evaluate_untrained"),
    *("sample_student", "rank_samples", "rank_repairs", "continue_samples"),
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
    inputs = collect_inputs(read_run_config(path), **dict.fromkeys(target, True))
    counted = pd.DataFrame(plan_costs(inputs)).groupby("rule")["jobs"].sum().to_dict()
    assert counted == {rule: jobs[rule] for rule in RULES if rule in jobs}
    repairs = [path for path, file in list_made_files(inputs).items() if file.rule == REPAIRS.rule]
    assert jobs["repair_traces"] == len(repairs) * inputs.experiment.sampling.shards
    assert REPAIRS.of(variant=DEFAULT_VARIANT).path in repairs
