"""The plan counts the jobs that the workflow would run."""

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
from tests.support.snakemake import plan_jobs

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
    jobs = plan_jobs(ROOT, *target, "--forceall", "--nolock", "--configfile", str(path))
    inputs = collect_inputs(read_run_config(path), **dict.fromkeys(target, True))
    counted = pd.DataFrame(plan_costs(inputs)).groupby("rule")["jobs"].sum().to_dict()
    assert counted == {rule: jobs[rule] for rule in RULES if rule in jobs}
    repairs = [path for path, file in list_made_files(inputs).items() if file.rule == REPAIRS.rule]
    experiment = inputs.experiment
    assert jobs["repair_traces"] == len(repairs) * experiment.sampling.shards * experiment.teacher_seeds
    assert REPAIRS.of(variant=DEFAULT_VARIANT).path in repairs
