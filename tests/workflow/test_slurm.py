"""The SLURM profile on a real SLURM of one node: to the tables, GPUs handed out, a canceled job goes on.

`make test-slurm` installs what it needs; plain pytest leaves it out.
"""

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.support.paths import SMOKE
from tests.support.slurm_node import read_output, start_slurm_node
from tests.support.snakemake import copy_repository, make_command, make_environment

pytestmark = pytest.mark.slurm
# sacct needs an accounting database; a site has one, and far less frequent questions.
TEST = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10"]
# The node's GPUs are other devices, which torch cannot use.
STAND_IN = """

def check_torch(gpus):
    assert len(gpus) <= 1
"""
TABLES = ["results/smoke/tables/main.csv", "results/smoke/tables/main_coverage.csv"]
MODEL_COMMANDS = {"sample base", "sample guided", "sample extra", "repair", "score", "train", "evaluate"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the repository after a run with SLURM in which one job was canceled, and the run's output."""
    folder = copy_repository(tmp_path_factory.mktemp("slurm"))
    config = folder / SMOKE
    content = yaml.safe_load(config.read_text())
    content["training_seeds"] = content["sampling"]["shards"] = 1
    # Small batches keep a sampling job at work long enough to be canceled between two of them.
    content["engine"]["problems_per_batch"] = 1
    config.write_text(yaml.safe_dump(content))
    with open(folder / "heal/engines/gpu_lease.py", "a") as lease:
        lease.write(STAND_IN)
    log = folder / "run.log"
    with start_slurm_node(tmp_path_factory.mktemp("node")) as slurm, open(log, "w") as stream:
        run = subprocess.Popen(
            make_command("--workflow-profile", "slurm", *TABLES, "--configfile", SMOKE, *TEST),
            cwd=folder,
            env=make_environment(slurm["PATH"]) | {"SLURM_CONF": slurm["SLURM_CONF"]},
            stdout=stream,
            stderr=stream,
        )
        try:
            canceled = cancel_one(folder, run, slurm, log)
            run.wait(1500)
        finally:
            run.terminate()
            run.wait()
        states = dict(
            line.split() for line in read_output(["squeue", "-h", "-t", "all", "-o", "%i %T"], slurm).splitlines()
        )
    assert run.returncode == 0, log.read_text()[-6000:]
    return folder, canceled, states


def cancel_one(folder, run, slurm, log):
    """Cancels a sampling job once it has kept a batch; its SLURM id."""
    shards = folder / "results/smoke/traces/default/teacher_seed0/shards/samples"
    until = time.monotonic() + 300
    while True:
        assert run.poll() is None and time.monotonic() < until, log.read_text()[-6000:]
        if list(shards.glob(".0.parquet.*/000000.parquet")):
            for line in read_output(["squeue", "-h", "-t", "running", "-o", "%i %k"], slurm).splitlines():
                job, _, comment = line.partition(" ")
                if comment == "rule_sample_base_wildcards_default_0_0":
                    read_output(["scancel", job], slurm)
                    return job
        time.sleep(0.05)


def test_the_run_reaches_the_tables_and_the_canceled_job_went_on(finished):
    folder, canceled, states = finished
    for name in ("main.csv", "main.md", "main.tex", "main_coverage.csv"):
        assert (folder / "results/smoke/tables" / name).stat().st_size, name
    assert [job for job, state in states.items() if state != "COMPLETED"] == [canceled]
    assert states[canceled] == "CANCELLED"
    log = (folder / "results/smoke/logs/samples/default.0.0.log").read_text()
    assert "resumed from an earlier attempt" in log


def test_every_job_with_a_model_had_one_gpu_of_its_own(finished):
    folder, _, _ = finished
    records = [json.loads(path.read_text()) for path in Path(folder / "results/smoke").rglob("*.provenance.json")]
    assert {record["command"] for record in records if record["gpu_seconds"]} == MODEL_COMMANDS
    for record in records:
        assert (record["gpu_seconds"] > 0) == (record["command"] in MODEL_COMMANDS), record["output"]
