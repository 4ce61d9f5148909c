"""Samples that exist are made again only where that is allowed; the run says why, and keeps them aside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from heal.errors import HealError
from heal.planning.resampling import REPLACED, SAMPLING_RULES, PlannedJob, check_resampling, explain, pop_permission
from heal.provenance import SUFFIX
from heal.records import write_json, write_text
from heal.trace_files import TRACE_FILES

SHARD = "results/toy/traces/default/teacher_seed0/shards/samples/0.parquet"
MERGED = "results/toy/traces/default/teacher_seed0/samples.parquet"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_output(path: str, command: str = "sample base", version: int = 3, **options: Any) -> str:
    """A file with the provenance that its command writes."""
    write_text(path, path)
    write_json(f"{path}{SUFFIX}", {"command": command, "command_version": version, "options": options})
    return path


def plan(**changes: Any) -> PlannedJob:
    defaults: dict[str, Any] = {"rule": "sample_base", "outputs": (SHARD,), "version": 3}
    return PlannedJob(**defaults | changes)


def refuse(*jobs: PlannedJob) -> HealError:
    with pytest.raises(HealError) as error:
        check_resampling(jobs, "toy", allowed=False)
    return error.value


def test_samples_that_do_not_exist_need_no_permission() -> None:
    assert check_resampling([plan(), plan(rule="grade_traces")], "toy", allowed=False) == ""


def test_a_file_that_is_no_sample_is_made_again_without_asking() -> None:
    write_output("results/toy/traces/default/teacher_seed0/grades.parquet", "grade")
    job = plan(rule="grade_traces", outputs=("results/toy/traces/default/teacher_seed0/grades.parquet",))
    assert check_resampling([job], "toy", allowed=False) == ""


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"options": {"sampling": {"n": 8}}}, "sampling.n was 4 and is 8"),
        ({"options": {"sampling": {}}}, "sampling.n was 4 and is its default"),
        ({"options": {"sampling": {"n": 4, "top_p": 0.9}}}, "sampling.top_p was its default and is 0.9"),
        ({"options": {"sampling": {"n": 4}, "seed": 7}}, "seed was 0 and is 7"),
        ({"options": {"sampling": {"n": 4}}, "version": 4}, "VERSION of `heal sample base` was 3 and is 4"),
        ({"reasons": ("problems/train.parquet is newer",)}, "problems/train.parquet is newer"),
    ],
)
def test_the_refusal_says_what_changed_and_moves_nothing(now: dict[str, Any], reason: str) -> None:
    write_output(SHARD, sampling={"n": 4}, seed=0)
    error = refuse(plan(**now))
    assert f"sample_base: {SHARD}, because {reason}" in error.problem and "allow_resampling=true" in error.fix
    assert Path(SHARD).exists() and not REPLACED.exists()


def test_the_reason_is_followed_to_the_job_where_it_began() -> None:
    """Repairs are made again because cuts are, and these because an option of GEAR changed."""
    write_output(SHARD, gear={})
    write_output("cuts.parquet", "plan-cuts", 1, gear={})
    problems = plan(rule="load_problems", outputs=(), reasons=("train.jsonl is newer",))
    cuts = plan(
        rule="plan_cuts", outputs=("cuts.parquet",), version=1, options={"gear": {"rewind": 2}}, causes=(problems,)
    )
    repairs = plan(rule="repair_traces", causes=(cuts,), options={"gear": {}})
    assert explain(repairs) == ["gear.rewind was its default and is 2", "train.jsonl is newer"]
    assert "because gear.rewind was its default and is 2; train.jsonl is newer" in refuse(repairs).problem


def test_joined_shards_are_samples_too() -> None:
    """Who deleted the shards to save space has the samples in the joined file still."""
    write_output(MERGED, "merge", 1)
    assert MERGED in refuse(plan(joined=(MERGED,), reasons=(f"{SHARD} is missing",))).problem


def test_with_permission_the_files_and_their_provenance_are_kept_aside() -> None:
    for path in (SHARD, MERGED):
        write_output(path, sampling={"n": 4})
    job = plan(joined=(MERGED,), options={"sampling": {"n": 8}})
    message = check_resampling([job], "toy", allowed=True)
    (folder,) = (REPLACED / "toy").iterdir()
    assert str(folder) in message and "sampling.n was 4 and is 8" in message
    for path in (SHARD, MERGED):
        kept = folder / os.path.relpath(path, "results/toy")
        assert kept.read_text() == path and Path(f"{kept}{SUFFIX}").exists()
        assert not Path(path).exists() and not Path(f"{path}{SUFFIX}").exists()


def test_every_rule_in_which_a_model_writes_text_is_asked_about_and_no_other() -> None:
    measured = {"score_traces", "score_guided", "rank_samples", "rank_repairs"}
    with_model = {file.rule for file in TRACE_FILES if file.made_by != "cpu"}
    assert set(SAMPLING_RULES) == with_model - measured


@pytest.mark.parametrize(("given", "allowed"), [({}, False), ({"allow_resampling": True}, True)])
def test_the_permission_is_taken_from_the_command_line_and_leaves_no_option(given: dict, allowed: bool) -> None:
    overrides = {"limit": 3} | given
    assert pop_permission(overrides) is allowed and overrides == {"limit": 3}


def test_a_permission_that_is_no_truth_value_is_refused() -> None:

    with pytest.raises(HealError, match="perhaps"):
        pop_permission({"allow_resampling": "perhaps"})


def test_rules_are_listed_in_the_order_of_the_pipeline() -> None:
    write_output(SHARD)
    lines = refuse(plan(rule="repair_traces"), plan(rule="sample_base")).problem.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["sample_base", "repair_traces"]
