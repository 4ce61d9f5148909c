"""Traces that somebody already has: the teacher measures them as if it had just written them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from heal import records
from heal.config.data import Dataset
from heal.config.experiment import Sampling as SamplingOptions
from heal.data import load_problems as problems
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.pipeline.import_traces import ImportTraces, make_trace_measurer, read_traces
from heal.pipeline.sample import make_sampler
from heal.pipeline.verdict import get_question

TEACHER = "heal/worlds/mini/models/teacher"


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine(TEACHER, device="cpu", threads=1)


def write_traces(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_own_samples_taken_back_in_have_the_values_they_were_sampled_with(engine, tmp_path: Path) -> None:
    problem_rows = problems.load(Dataset(source="mini", split="train", n=4), 0)
    sampling = SamplingOptions(n=3, max_new_tokens=160)
    sample_batch = make_sampler(engine, sampling, (0, 0, "base"), range(3), get_question)
    sampled = [row for row in sample_batch(problem_rows)[0] if row["finish_reason"] == "stop"]
    traces_by_question = {
        p["question"]: [r["text"] for r in sampled if r["problem_id"] == p["problem_id"]] for p in problem_rows
    }
    path = write_traces(
        tmp_path / "t.jsonl", [{"question": q, "answer": "1", "traces": t} for q, t in traces_by_question.items()]
    )
    rows, usage = make_trace_measurer(engine, read_traces(path), path)(problem_rows)
    records.write(tmp_path / "samples.parquet", "samples", rows, usage=usage)
    assert [row["token_ids"].tolist() for row in rows] == [row["token_ids"].tolist() for row in sampled]
    for one, other in zip(rows, sampled, strict=True):
        np.testing.assert_allclose(one["logprobs"], other["logprobs"], atol=1e-4)
        np.testing.assert_allclose(one["entropies"], other["entropies"], atol=1e-4)
    assert usage["generated"] == 0 and usage["scored"] == sum(len(row["token_ids"]) for row in rows)


def test_the_runs_instruction_stands_behind_every_question(tmp_path: Path) -> None:
    path = write_traces(tmp_path / "t.jsonl", [{"problem": "1+1?", "answer": "2", "trace": "2"}])
    assert read_traces(path, "Box it.") == {"1+1?\n\nBox it.": ["2"]}


def test_import_checks_traces_and_problems_and_prints_the_config(tmp_path: Path, capsys) -> None:
    path = write_traces(tmp_path / "t.jsonl", [{"question": "1+1?", "answer": "2", "traces": ["2", "3"]}])
    ImportTraces(file=path).run()
    assert "1 problems with 2 traces" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"answer": "1", "trace": "1"}, "row 2, field question"),
        ({"question": "q", "answer": "1"}, "row 2, field traces"),
        ({"question": "q", "answer": "1", "trace": " "}, "row 2, field traces"),
        ({"question": "q", "trace": "1"}, "row 2, field answer"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict, field: str) -> None:
    path = write_traces(tmp_path / "t.jsonl", [{"question": "1+1?", "answer": "2", "trace": "2"}, row])
    with pytest.raises(HealError, match=field):
        ImportTraces(file=path).run()


def test_a_problem_without_traces_and_words_that_the_tokenizer_does_not_know(engine, tmp_path: Path) -> None:
    (problem,) = problems.load(Dataset(source="mini", split="train", n=1), 0)
    with pytest.raises(HealError, match="no traces of a problem"):
        make_trace_measurer(engine, {"another": ["1"]}, "t.jsonl")([problem])
    with pytest.raises(HealError, match="changes the trace"):
        make_trace_measurer(engine, {problem["question"]: ["Donau­dampfschiff"]}, "t.jsonl")([problem])
