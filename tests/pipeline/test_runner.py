"""Batches of a job: shards joined are the whole, and a killed job resumes without counting twice."""

import os

import pytest

from heal.errors import HealError
from heal.pipeline.runner import run_batches, take_shard

PROBLEM = {"problem_id": "p", "question": "q", "answer": "1", "solution": None, "source": "s", "difficulty": "easy"}


def test_shards_joined_in_order_are_the_whole():
    items = list(range(17))
    for parts in (1, 2, 5, 20):
        assert [x for part in range(parts) for x in take_shard(items, f"{part}/{parts}")] == items
    for wrong in ("2/2", "x", "-1/2", "1"):
        with pytest.raises(HealError, match="--shard"):
            take_shard(items, wrong)


def run_in_batches(path, fail_at=None):
    done = []

    def work(batch):
        if fail_at is not None and batch[0] >= fail_at:
            raise KeyboardInterrupt
        done.append(list(batch))
        return [PROBLEM | {"problem_id": str(item)} for item in batch], {"generated": len(batch)}

    usage = run_batches(str(path), "problems", list(range(10)), 3, work, fingerprint="a", label="items")
    return done, usage


def test_a_killed_job_resumes_and_counts_nothing_twice(tmp_path):
    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    _, usage = run_in_batches(whole)
    with pytest.raises(KeyboardInterrupt):
        run_in_batches(resumed, fail_at=6)
    assert not resumed.exists()
    done, again = run_in_batches(resumed)
    assert done == [[6, 7, 8], [9]] and again == usage == {"generated": 10}
    assert resumed.read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["resumed.parquet", "whole.parquet"]
