"""A student's scores for the hub: only whole benchmarks that the hub knows, at the commit that was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from evals.answers import Answers
from evals.report.hub_results import render_hub_results
from heal.config.data import Dataset
from heal.registry import list_benchmarks, read_tasks

REVISION = "a" * 40
ON_HUB = {name: task["metadata"]["hub"] for name, task in read_tasks().items() if "hub" in task["metadata"]}


def make_answers(questions: int, right: int, repeats: int = 1, cut_off: int = 0) -> Answers:
    """Answers of which the first `right` are right in all repeats, and the last `cut_off` were cut off."""
    scores_Q = (np.arange(questions) < right).astype(float)
    truncated_Q = (np.arange(questions) >= questions - cut_off).astype(float)
    ids = tuple(map(str, range(questions)))
    scores_QR = np.repeat(scores_Q[:, None], repeats, axis=1)
    return Answers(Path("answers.parquet"), ids, ids, scores_QR, truncated_Q, votes_QR=(), rows=())


def make_dataset(benchmark: str) -> Dataset:
    return Dataset(source="hub", path=ON_HUB[benchmark]["dataset"], revision=REVISION, split="test")


def list_results(answers: dict[str, Answers], problem_sets: dict[str, Dataset]) -> list[dict]:
    return yaml.safe_load(render_hub_results(answers, problem_sets))


@pytest.mark.parametrize("benchmark", ON_HUB)
def test_a_whole_benchmark_has_an_entry_that_the_hub_can_read(benchmark):
    task, hub = read_tasks()[benchmark], ON_HUB[benchmark]
    answers = make_answers(hub["questions"], right=hub["questions"] // 3, repeats=task.get("repeats", 1))
    [result] = list_results({benchmark: answers}, {list_benchmarks()[benchmark]: make_dataset(benchmark)})
    [entry] = parse_eval_result_entries([result])
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == (hub["dataset"], hub["task"], REVISION)
    assert entry.value == pytest.approx(100 * answers.scores_Q.mean(), abs=0.005), "in percent"
    assert f"version {task['metadata']['version']}" in entry.notes and "0.0 % cut off" in entry.notes


def test_a_part_of_a_benchmark_and_other_questions_of_its_name_have_none():
    whole = make_answers(1319, right=100)
    local = Dataset(source="file", path="gsm8k.jsonl")
    other = make_dataset("gsm8k").model_copy(update={"path": "someone/gsm8k"})
    assert list_results({"gsm8k": whole}, {"gsm8k": make_dataset("gsm8k")})
    assert list_results({"gsm8k": make_answers(40, right=10)}, {"gsm8k": make_dataset("gsm8k")}) == []
    for problem_sets in ({"gsm8k": local}, {"gsm8k": other}, {}):
        assert list_results({"gsm8k": whole}, problem_sets) == []


def test_cut_off_answers_are_stated():
    answers = replace(make_answers(1319, right=100), truncated_Q=np.full(1319, 0.25))
    [result] = list_results({"gsm8k": answers}, {"gsm8k": make_dataset("gsm8k")})
    assert "25.0 % cut off" in result["notes"] and "greedy" in result["notes"]


def test_benchmarks_that_the_hub_does_not_know_have_none():
    assert {"mini_hard", "math500", "gsm_symbolic_weak"}.isdisjoint(ON_HUB)
    assert list_results({"mini_hard": make_answers(30, right=3)}, {}) == []
