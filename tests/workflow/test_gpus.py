"""Jobs with a model ask for GPUs, and for no more than there are."""

import re

import pytest
import yaml

from tests.support.paths import ROOT, SMOKE
from tests.support.snakemake import run_snakemake

pytestmark = pytest.mark.workflow
MODEL_COMMANDS = ("sample ", "repair ", "score ", "train ", "evaluate ")


def plan_commands(config, **variables):
    arguments = ["ablations", "--configfile", str(config), "--forceall", "--dry-run", "--printshellcmds"]
    status, output = run_snakemake(ROOT, *arguments, **variables)
    assert status == 0, output
    return re.findall(r"^Shell command: HEAL_LOG=\S+ heal (.*)$", output, re.MULTILINE)


def test_every_job_with_a_model_asks_for_a_gpu_and_gets_no_more_than_there_are(tmp_path):
    content = yaml.safe_load((ROOT / SMOKE).read_text())
    content["teachers"]["default"]["gpus"] = 4
    content["students"]["tiny"]["gpus"] = 1
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    commands = plan_commands(tmp_path / "config.yaml", CUDA_VISIBLE_DEVICES="0,1")
    with_model = [line for line in commands if line.startswith(MODEL_COMMANDS)]
    assert len(with_model) > 10 and not any("--gpus" in line for line in commands if line not in with_model)
    for line in with_model:
        assert f"--gpus {1 if '--student ' in line else 2} " in line, line
    content["engine"]["device"] = "cpu"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    commands = plan_commands(tmp_path / "config.yaml", CUDA_VISIBLE_DEVICES="0,1")
    assert all("--gpus 0 " in line for line in commands if line.startswith(MODEL_COMMANDS))


@pytest.mark.parametrize(
    ("students", "teachers", "evaluated", "teacher_evaluated"),
    [({"gpus": 2}, {"gpus": 3}, 1, 3), ({"gpus": 3, "evaluation_gpus": 2}, {"gpus": 3, "evaluation_gpus": 1}, 2, 1)],
)
def test_an_evaluation_asks_for_gpus_of_its_own(students, teachers, evaluated, teacher_evaluated, tmp_path):
    content = yaml.safe_load((ROOT / SMOKE).read_text())
    content["teachers"]["default"] |= teachers
    content["students"]["tiny"] |= students
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    commands = plan_commands(tmp_path / "config.yaml", CUDA_VISIBLE_DEVICES="0,1,2")
    for line in commands:
        if line.startswith("train "):
            assert f"--gpus {students['gpus']} " in line, line
        if line.startswith("evaluate "):
            assert f"--gpus {evaluated if '--student ' in line else teacher_evaluated} " in line, line
    assert sum(line.startswith("evaluate ") for line in commands) > 3
