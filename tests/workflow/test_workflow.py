"""The workflow: it plans each job once, and neither a kill nor other cores change what a job writes.

The runs happen in a copy of the repository, so that neither its files nor its results are touched.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yte

from heal.config.experiment import load
from tests.support.paths import ROOT, SMOKE
from tests.support.snakemake import make_command, make_environment, plan_jobs, read_rules, run_snakemake

pytestmark = pytest.mark.workflow


def read_tables(folder):
    """Name → bytes of every table and figure of the smoke run, but for costs and hours: seconds differ."""
    paths = [path for part in ("tables", "figures") for path in (folder / "results/smoke" / part).rglob("*")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.is_file() and not re.search(r"\.provenance\.json$|_costs\.|^hours\.", path.name)
    }


def list_separately_trained(experiment):
    """Comparison → its methods, where their students are trained otherwise than the main ones."""
    return {
        name: chosen.methods or list(experiment.methods)
        for name, chosen in experiment.comparisons.items()
        if chosen.train
    }


TARGETS = ("all", "problems", "traces", "curricula", "students", "scores", "tables", "ablations", "comparisons")
CONFIGS = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/configs/*.yaml")])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_config_plans_its_whole_comparison(config):
    experiment, arguments = load(config), ["--configfile", str(config), "--forceall"]
    each = len(experiment.teachers) * experiment.teacher_seeds * len(experiment.students)
    cards = each * len(experiment.methods)
    each *= experiment.training_seeds if experiment.seeds_per_job == 1 else 1
    assert experiment.seeds_per_job in (1, experiment.training_seeds)
    jobs = plan_jobs(ROOT, *TARGETS, *arguments)
    assert {*TARGETS, "sample_base", "repair_traces", "check_premise", "tabulate_comparison"} <= set(jobs)
    assert jobs["write_model_cards"] == cards
    trained_apart = sum(len(methods) for methods in list_separately_trained(experiment).values())
    every = len(experiment.methods) + len(experiment.ablations) + trained_apart
    assert jobs["train_student"] == jobs["evaluate_student"] == each * every


def test_the_default_target_trains_and_shows_the_main_methods_only():
    experiment = load(ROOT / SMOKE)
    jobs = plan_jobs(ROOT, "--configfile", SMOKE, "--forceall")
    assert jobs["train_student"] == jobs["evaluate_student"] == len(experiment.methods) and experiment.ablations
    assert {"plot_accuracy", "tabulate_comparison", "check_reproduction", "write_model_cards"} <= set(jobs)


def test_limit_shrinks_a_run_and_a_mistake_is_told_before_any_job():
    assert plan_jobs(ROOT, "problems", "--configfile", SMOKE, "--forceall", "--config", "limit=3")
    status, output = run_snakemake(ROOT, "--dry-run", "--configfile", SMOKE, "--config", "trainig_seeds=3")
    assert status != 0 and "trainig_seeds: unknown key" in output and "Traceback" not in output


def test_the_slurm_profile_plans_the_same_jobs_and_knows_every_rule_with_a_model():
    arguments = ["ablations", "--configfile", SMOKE, "--forceall"]
    assert plan_jobs(ROOT, "--workflow-profile", "slurm", *arguments) == plan_jobs(ROOT, *arguments)
    arguments = ["ablations", "--configfile", "config/paper.yaml", "--forceall"]
    paper = load(ROOT / "config/paper.yaml")
    students = len(paper.methods | paper.ablations) * len(paper.students) * paper.teacher_seeds * paper.training_seeds
    assert plan_jobs(ROOT, "--workflow-profile", "slurm", *arguments)["train_student"] == students
    profile = yte.process_yaml((ROOT / "profiles/slurm/profile.yaml").read_text(), require_use_yte=True)
    with_model = {name for name, text in read_rules().items() if re.search(r"^ +gpu=", text, re.MULTILINE)}
    assert set(profile["set-resources"]) == with_model


def test_a_finished_run_has_every_table_and_figure_and_shows_the_main_table(finished):
    contents = read_tables(finished)
    for name in (
        "tables/main.csv",
        "tables/main.md",
        "tables/main.tex",
        "tables/ablations.csv",
        "figures/main/accuracy.svg",
        "figures/main/cost.svg",
        "figures/main/loss.csv",
        "figures/teacher_seed0/positions_default.svg",
        "figures/roc.svg",
    ):
        assert contents[f"results/smoke/{name}"], name
    text = contents["results/smoke/tables/main.txt"].decode()
    assert all(word in text for word in ("heal", "rs_matched", "teacher", "untrained"))


def test_snakemake_s_own_report_has_the_answer_and_every_figure(finished):
    """With the assets that come with Snakemake: it needs no network."""
    answer = (finished / "results/smoke/report/main.txt").read_text()
    status, output = run_snakemake(finished, "ablations", "--configfile", SMOKE, "--report", "report.html")
    assert status == 0 and "downloading" not in output, output[-6000:]
    html = (finished / "report.html").read_text()
    assert answer.split("\n\n")[1].split(" (")[0] in html
    for name in (
        "accuracy.svg",
        "cost.svg",
        "ceiling_default.svg",
        "positions_default.svg",
        "main.csv",
        "ablations.html",
    ):
        assert name in html, name


def test_every_output_has_its_provenance(finished):
    traces = finished / "results/smoke/traces/default/teacher_seed0"
    for name in ("shards/samples/0", "shards/guided/1", "grades"):
        assert (traces / f"{name}.parquet.provenance.json").exists(), name


@pytest.fixture(scope="module")
def killed(smoke_run, tmp_path_factory):
    """A copy of the finished run, in which jobs are killed."""
    return Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("killed") / "copy"))


TRACES, STUDENTS = "traces/*/teacher_seed*/shards", "students/*/teacher_seed*/tiny/heal"


@pytest.mark.parametrize(
    ("outputs", "saved"),
    [
        ([f"{TRACES}/samples/0.parquet"], f"{TRACES}/samples/.0.*/000001.parquet"),
        ([f"{TRACES}/repairs/default/0.parquet"], f"{TRACES}/repairs/default/.0.*/000000.parquet"),
        (
            [f"{STUDENTS}/seed*/{name}" for name in ("loss.csv", "exposures.csv", "model/*.safetensors")],
            f"{STUDENTS}/.partial-*/checkpoint-*/complete.json",
        ),
    ],
    ids=["sample", "repair", "train"],
)
def test_a_killed_job_on_one_core_ends_with_the_same_files(killed, outputs, saved):
    """SIGKILL to Snakemake and its job once the job has saved a part; then once more to the end."""
    results = killed / "results/smoke"
    contents = {path: path.read_bytes() for pattern in outputs for path in results.glob(pattern)}
    targets = [str(path.relative_to(killed)) for path in contents if path.suffix != ".safetensors"]
    for target in targets:
        (killed / target).unlink()
    kill_when(lambda: list(results.glob(saved)), killed, targets)
    assert list(results.glob(saved)) and not any(path.exists() for path in contents)
    status, output = run_snakemake(killed, *targets, "--nolock", "--configfile", SMOKE, cores="1")
    assert status == 0 and "resume" in output, output[-6000:]
    assert not list(results.glob(saved))
    for path, content in contents.items():
        assert path.read_bytes() == content, path


def kill_when(ready, folder, targets):
    """Starts the run in a process group of its own and kills all of it once `ready()` holds."""
    log = folder / "killed.log"
    with open(log, "w") as stream:
        run = subprocess.Popen(
            make_command(*targets, "--nolock", "--configfile", SMOKE, cores="1"),
            cwd=folder,
            env=make_environment(),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        until = time.monotonic() + 300
        while not ready():
            assert run.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
