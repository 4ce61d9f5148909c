"""lm-eval on vLLM against lm-eval on transformers: one model, the same questions, the same answers and scores.

Skipped where vLLM is not installed.
"""

from __future__ import annotations

import importlib.util
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest

from evals import run
from heal import records
from heal.config.data import Dataset
from heal.config.experiment import Engine
from heal.config.models import Model
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from tests.support.near_tie import count_equal_tokens

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
TEACHER = "heal/worlds/mini/models/teacher"
BENCHMARKS = ["mini_easy", "mini_hard_sampled"]


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("problems")
    for split, n in (("easy", 24), ("hard", 8)):
        records.write(folder / f"{split}.parquet", "problems", load(Dataset(source="mini", split=split, n=n), 0))
    return str(folder)


def list_engine_processes() -> set[int]:
    """Process ids of vLLM's processes below this one; a zombie holds no memory and counts as none."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "VLLM" in child.name() and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found


@pytest.fixture(scope="module")
def engines_of_others() -> set[int]:
    """What other tests of this process have left."""
    return list_engine_processes()


@pytest.fixture(scope="module")
def fast(problems: str, engines_of_others: set[int]) -> dict[str, Any]:
    return run.evaluate(Model(path=TEACHER), problems, BENCHMARKS, Engine(backend="vllm", max_num_seqs=64), 0)


@pytest.fixture(scope="module")
def exact(problems: str) -> dict[str, Any]:
    return run.evaluate(Model(path=TEACHER), problems, BENCHMARKS, Engine(max_num_seqs=64), 0)


def test_greedy_answers_and_their_score_are_those_of_transformers(fast, exact, problems) -> None:
    engine = TransformersEngine(TEACHER, device="cpu", threads=1)
    question = {row["problem_id"]: row["question"] for row in records.read(f"{problems}/easy.parquet", "problems")}
    (rows, results), (others, reference) = fast["mini_easy"], exact["mini_easy"]
    assert len(rows) == len(question) and [row["gold"] for row in rows] == [row["gold"] for row in others]
    for row, other in zip(rows, others, strict=True):
        ids, other_ids = (
            engine.tokenizer.encode(text, add_special_tokens=False) for text in (row["text"], other["text"])
        )
        if count_equal_tokens(ids, other_ids, engine, engine.tokenize_chat(question[row["problem_id"]])) == len(ids):
            assert row == other
    assert results["strict"] == reference["strict"] == results["lm_eval"]["strict"] > 0.9


def test_repeats_are_drawn_anew_and_all_kept(fast) -> None:
    rows, results = fast["mini_hard_sampled"]
    texts: dict[str, set[str]] = {}
    for row in rows:
        texts.setdefault(row["problem_id"], set()).add(row["text"])
    assert len(rows) == 4 * len(texts) == results["n_answers"] and all(len(each) > 1 for each in texts.values())


def test_results_differ_in_the_engine_that_they_name_only(fast, exact) -> None:
    for benchmark in BENCHMARKS:
        named, other = (dict(results[benchmark][1]["settings"]) for results in (fast, exact))
        assert named.pop("engine").split()[0] == "vllm" and named.pop("model_runner") == "V1"
        assert other.pop("engine").split()[0] == "transformers" and named == other


def test_another_evaluation_in_this_process_has_an_engine_of_its_own(fast, problems, engines_of_others) -> None:
    """As `heal evaluate` with several students: the same bytes, and no engine process of an earlier evaluation."""
    again = run.evaluate(Model(path=TEACHER), problems, BENCHMARKS, Engine(backend="vllm", max_num_seqs=64), 0)
    assert again == fast
    deadline = time.monotonic() + 10
    while list_engine_processes() - engines_of_others and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list_engine_processes() - engines_of_others
