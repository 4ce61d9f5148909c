"""The workflow makes problems from local files, keeps training apart from held-out ones, and notices edited files."""

import json

import pytest

from heal import records
from heal.config import experiment as config
from tests.support.paths import ROOT
from tests.support.snakemake import copy_repository, plan_jobs, run_snakemake

pytestmark = pytest.mark.workflow
LOCAL = "tests/configs/local_files.yaml"
TRAIN = "results/local_files/problems/train.parquet"


@pytest.fixture(scope="module")
def finished_copy(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("made"))
    status, output = run_snakemake(folder, "problems", "--configfile", LOCAL)
    assert status == 0, output[-4000:]
    return folder


def test_problems_come_from_local_files_and_are_decontaminated(finished_copy):
    folder = finished_copy / "results/local_files/problems"
    report = json.loads((folder / "decontamination.json").read_text())
    unfiltered, train = (records.read(folder / f"{name}.parquet", "problems") for name in ("unfiltered/train", "train"))
    gone = {problem["problem_id"] for problem in report["problems"]}
    assert [row for row in unfiltered if row["problem_id"] not in gone] == train
    assert report["removed_for"] == {"dev": 0, "gsm8k": 4, "math500": 0} and len(unfiltered) == len(train) + 4
    instruction = config.load(ROOT / LOCAL).problems.instruction
    for split in ("train", "dev", "gsm8k", "math500"):
        rows = records.read(folder / f"{split}.parquet", "problems")
        assert rows and all(row["question"].endswith(f"\n\n{instruction}") for row in rows)
    assert (folder / "train.parquet.provenance.json").exists()


def hold_out(folder, name, *questions):
    """A copy of the config with a further benchmark's problem set; returns its arguments."""
    rows = [json.dumps({"question": question, "answer": "1"}) + "\n" for question in questions]
    (folder / f"{name}.jsonl").write_text("".join(rows))
    config = (folder / LOCAL).read_text()
    assert "  test:\n" in config
    section = f"  test:\n    {name}: {{source: file, path: {name}.jsonl}}\n"
    (folder / f"{name}.yaml").write_text(config.replace("  test:\n", section))
    return ["problems", "--configfile", f"{name}.yaml"]


def test_a_further_benchmark_leaves_the_training_problems_as_they_are(finished_copy):
    train = finished_copy / TRAIN
    before = train.stat().st_mtime_ns
    arguments = hold_out(finished_copy, "disjoint", "Which of these is asked nowhere else?")
    assert plan_jobs(finished_copy, *arguments) == {"load_problems": 1, "check_decontamination": 1, "problems": 1}
    status, output = run_snakemake(finished_copy, *arguments)
    assert status == 0 and "has no held-out problem" in output, output[-4000:]
    assert train.stat().st_mtime_ns == before and plan_jobs(finished_copy, *arguments) == {}


def test_a_further_benchmark_that_overlaps_asks_before_the_training_problems_change(finished_copy):
    rows = records.read(finished_copy / TRAIN, "problems")
    arguments = hold_out(finished_copy, "overlapping", rows[0]["question"])
    status, output = run_snakemake(finished_copy, *arguments)
    assert status != 0 and "also held out (overlapping 1)" in output, output[-4000:]
    assert records.read(finished_copy / TRAIN, "problems") == rows
    status, output = run_snakemake(finished_copy, *arguments, "--config", "allow_resampling=true")
    assert status == 0, output[-4000:]
    assert records.read(finished_copy / TRAIN, "problems") == rows[1:] and plan_jobs(finished_copy, *arguments) == {}


def test_an_edited_data_file_makes_its_problems_again_and_no_others(finished_copy):
    assert plan_jobs(finished_copy, "problems", "--configfile", LOCAL) == {}
    path = finished_copy / "tests/files/gsm8k_test.jsonl"
    path.write_text(path.read_text() + '{"question": "One more?", "answer": "1"}\n')
    jobs = plan_jobs(finished_copy, "problems", "--configfile", LOCAL)
    assert jobs == {"load_problems": 1, "decontaminate_problems": 1, "check_decontamination": 1, "problems": 1}


def test_the_table_is_given_the_report_and_mini_has_none():
    plan = ["--dry-run", "--forceall", "--printshellcmds"]
    report = "--decontamination results/local_files/problems/decontamination.json"
    assert report in run_snakemake(ROOT, *plan, "--configfile", LOCAL)[1]
    status, output = run_snakemake(ROOT, *plan, "--configfile", "tests/configs/smoke.yaml")
    assert status == 0 and "--decontamination" not in output and "decontaminate_problems" not in output
