"""What the workflow plans for a study of several teachers and teacher seeds."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from heal.config.run_config import read_run_config
from heal.planning.costs import plan_costs
from heal.planning.inputs import collect_inputs
from tests.support.paths import ROOT
from tests.support.snakemake import run_snakemake

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The reduced configuration with two teachers and two teacher seeds."""
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    content = yaml.safe_load((ROOT / "tests/configs/smoke.yaml").read_text())
    content["teachers"]["confident"] = {"path": "heal/worlds/mini/models/teacher_confident"}
    path.write_text(yaml.safe_dump(content | {"run": "study_plan", "teacher_seeds": 2}))
    return path


def run_study(config: Path, *arguments: str) -> str:
    """Snakemake's output for the study of a config. Raises AssertionError where it fails."""
    arguments = ("study", "--configfile", str(config), "--nolock", *arguments)
    status, output = run_snakemake(ROOT, *arguments, cores="1")
    assert status == 0, output
    return output


def test_the_study_plans_every_teacher_and_teacher_seed(study):
    output = run_study(study, "--dry-run", "--forceall")
    stats = output.rpartition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
    cells, comparisons = 2 * 2, 2  # teachers × teacher seeds; main and ablations
    assert jobs["audit_traces"] == cells * comparisons and jobs["combine_audits"] == 2 * comparisons
    assert {jobs[f"plot_{name}"] for name in ("ceiling", "trace", "positions", "pure")} == {cells}
    assert {jobs[f"plot_{name}"] for name in ("accuracy", "cost", "loss")} == {comparisons}
    assert {jobs[f"plot_{name}"] for name in ("exposures", "cuts", "roc", "hours")} == {1}
    assert jobs["train_student"] == cells * 3  # methods; one job trains both seeds
    planned = plan_costs(collect_inputs(read_run_config(study), ablations=True))
    counted = pd.DataFrame(planned).groupby("rule")["jobs"].sum().to_dict()
    assert counted == {rule: jobs[rule] for rule in counted}


def test_the_study_s_files_name_teacher_and_teacher_seed(study):
    files = {line.partition("\t")[0] for line in run_study(study, "--summary").splitlines()}
    results = "results/study_plan"
    for teacher in ("default", "confident"):
        for seed in (0, 1):
            assert f"{results}/traces/{teacher}/teacher_seed{seed}/premise.json" in files
            assert f"{results}/tables/ablations_audits/teacher_seed{seed}/audits_{teacher}.csv" in files
            assert f"{results}/figures/teacher_seed{seed}/pure_{teacher}.svg" in files
        assert f"{results}/tables/ablations_audits/premises_{teacher}.csv" in files
    for name in ("ablations/cost", "ablations/exposures", "ablations/cuts", "roc"):
        assert {f"{results}/figures/{name}.{suffix}" for suffix in ("svg", "png", "csv")} <= files, name
