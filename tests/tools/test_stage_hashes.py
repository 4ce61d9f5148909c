"""The record of what every command writes: a change of bytes without a raised VERSION is named, and nothing else is."""

import dataclasses

import pytest

from heal.cli import COMMANDS
from heal.errors import HealError
from heal.versions import RECORD, check_versions, read_version
from tests.support.paths import ROOT
from tools import stage_hashes
from tools.stage_hashes import NOT_RECORDED, STAGES, Fingerprint, build_record, compare, fingerprint_files, is_equal

SAME = Fingerprint(files=1, text="0123", floats=10, sum=5.0, absolute_sum=8.0)
OTHER = dataclasses.replace(SAME, text="4567")


@pytest.fixture
def run():
    """Fingerprints of a run in which every command writes the same."""
    return dict.fromkeys(STAGES, SAME)


def test_a_run_like_the_recorded_one_has_no_problem(run):
    assert compare(build_record(run), run) == []


def test_a_changed_command_is_named_with_its_module_and_what_to_do(run):
    (problem,) = compare(build_record(run), run | {"score": OTHER})
    assert problem.startswith("heal/pipeline/score.py: `heal score`")
    assert f"VERSION to {read_version('heal.pipeline.score') + 1}" in problem


def test_followers_of_a_changed_command_are_not_named(run):
    later = {"score": OTHER, "sample extra": OTHER, "build-curriculum": OTHER, "train": OTHER, "view": OTHER}
    (problem,) = compare(build_record(run), run | later)
    assert "`heal score`" in problem


def test_float_noise_is_no_change_and_more_than_noise_is(run):
    record = build_record(run)
    noise = dataclasses.replace(SAME, sum=SAME.sum + 0.005, absolute_sum=SAME.absolute_sum - 0.005)
    assert compare(record, run | {"score": noise}) == []
    assert not is_equal(SAME, dataclasses.replace(SAME, sum=SAME.sum + 0.1))
    assert not is_equal(SAME, dataclasses.replace(SAME, floats=SAME.floats + 1))


def test_a_command_without_a_record_is_named(run):
    record = build_record(run)
    del record["stages"]["merge"]
    (problem,) = compare(record, run)
    assert "heal/pipeline/merge.py" in problem and "`heal merge` is not recorded" in problem
    assert "make stage-hashes" in problem


def test_a_raised_version_is_recorded_again(run):
    record = build_record(run)
    record["stages"]["score"]["version"] = 0
    for fingerprint in (SAME, OTHER):
        (problem,) = compare(record, run | {"score": fingerprint})
        assert "heal/pipeline/score.py: VERSION" in problem and "record it: make stage-hashes" in problem


def test_on_another_processor_only_commands_without_a_model_are_compared(run, monkeypatch):
    record = build_record(run)
    monkeypatch.setattr(stage_hashes, "get_cpu_capability", lambda: "another")
    assert compare(record, run | {"train": OTHER}) == []
    (problem,) = compare(record, run | {"train": OTHER, "load-problems": OTHER})
    assert "`heal load-problems`" in problem


def test_fingerprints_separate_decimals_from_everything_else(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,0.5\n2,-1.5\n")
    before = fingerprint_files(tmp_path, ("*.csv",))
    assert (before.floats, before.sum, before.absolute_sum) == (2, -1.0, 2.0)
    (tmp_path / "table.csv").write_text("a,b\n1,0.50001\n2,-1.5\n")
    assert is_equal(before, fingerprint_files(tmp_path, ("*.csv",)))
    (tmp_path / "table.csv").write_text("a,b\n3,0.5\n2,-1.5\n")
    assert not is_equal(before, fingerprint_files(tmp_path, ("*.csv",)))
    with pytest.raises(HealError, match="no \\*.parquet"):
        fingerprint_files(tmp_path, ("*.parquet",))


def test_every_command_of_the_workflow_is_recorded_or_says_why_not():
    called = set()
    for path in ROOT.glob("workflow/rules/*.smk"):
        for command in COMMANDS:
            if f'get_version("{command}")' in path.read_text():
                called.add(command)
    assert len(called) > 30 and called <= set(STAGES) | set(NOT_RECORDED)
    assert not set(STAGES) & set(NOT_RECORDED)
    assert set(stage_hashes.read_record()["stages"]) == set(STAGES)


def test_a_version_below_the_recorded_one_is_refused_with_file_and_fix(tmp_path):
    source, record = tmp_path / "heal/pipeline/score.py", tmp_path / RECORD
    for path in (source, record):
        path.parent.mkdir(parents=True)
    record.write_text('{"stages": {"score": {"version": 3}}}')
    source.write_text("VERSION = 2\n")
    with pytest.raises(HealError) as caught:
        check_versions({"score": "heal.pipeline.score"}, tmp_path)
    assert caught.value.where == "heal/pipeline/score.py"
    assert "VERSION is 2, below the recorded 3" in caught.value.problem
    assert caught.value.fix.startswith("set VERSION to at least 3")


def test_a_module_without_a_version_is_refused_with_file_and_fix(tmp_path):
    source, record = tmp_path / "heal/pipeline/merge.py", tmp_path / RECORD
    for path in (source, record):
        path.parent.mkdir(parents=True)
    record.write_text('{"stages": {"merge": {"version": 1}}}')
    source.write_text("version = 1\n")
    with pytest.raises(HealError) as caught:
        check_versions({"merge": "heal.pipeline.merge"}, tmp_path)
    assert caught.value.where == str(source) and "VERSION = 1" in caught.value.problem and caught.value.fix
