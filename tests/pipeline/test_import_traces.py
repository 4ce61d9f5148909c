"""Traces that somebody already has: the teacher measures them as if it had just written them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from heal import cli, records
from heal.config.data import Dataset
from heal.config.experiment import Sampling as SamplingOptions
from heal.config.models import TraceColumns
from heal.data import load_problems as problems
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.pipeline.import_traces import ImportTraces, encode_trace, make_trace_measurer, read_traces
from heal.pipeline.sample import make_sampler
from heal.pipeline.verdict import get_question
from tests.support.user_models import build_user_tokenizer, make_tokenizing_engine

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
        ({"question": "q", "answer": "1", "traces": ["1", None]}, "row 2, field traces"),
        ({"question": "1+1?", "answer": "3", "trace": "3"}, "row 2, field question: the same question as in row 1"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict, field: str) -> None:
    path = write_traces(tmp_path / "t.jsonl", [{"question": "1+1?", "answer": "2", "trace": "2"}, row])
    with pytest.raises(HealError, match=field):
        ImportTraces(file=path).run()


THINKS = "<think>\nOne.\n</think>\n\nSo 2."
CHAT = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": THINKS}]
MARKED = "<|begin_of_thought|>\n\nOne.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nSo 2.\n\n<|end_of_solution|>"
OPEN_THOUGHTS = [{"from": "user", "value": "1+1?"}, {"from": "assistant", "value": MARKED}]
SHAPES = {
    "own": {"question": "1+1?", "traces": [THINKS]},
    "messages": {"messages": CHAT},
    "open_thoughts": {"system": "Think.", "conversations": OPEN_THOUGHTS},
    "s1k": {"question": "1+1?", "thinking_trajectories": ["One."], "attempt": "So 2.", "solution": "2"},
    "s1k_1_1": {"question": "1+1?", "deepseek_thinking_trajectory": "One.", "deepseek_attempt": "So 2."},
    "limo": {"question": "1+1?", "solution": THINKS},
}


def write_shape(folder: Path, rows: list[dict], suffix: str) -> str:
    path = folder / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_published_shape_gives_the_same_trace(tmp_path: Path, capsys, shape: str, suffix: str) -> None:
    path = write_shape(tmp_path, [SHAPES[shape] | {"answer": "2"}], suffix)
    assert read_traces(path) == {"1+1?": [THINKS]}
    ImportTraces(file=path).run()
    assert "1 problems with 1 traces" in capsys.readouterr().out


def test_other_columns_are_named_and_the_config_says_so(tmp_path: Path, capsys) -> None:
    rows = [{"prompt": "1+1?", "reasoning": "One.", "response": "So 2.", "gold": "\\boxed{2}"}]
    path = write_shape(tmp_path, rows, ".jsonl")
    with pytest.raises(HealError, match=r"question, problem, messages(.|\n)*found: prompt, reasoning, response, gold"):
        read_traces(path)
    columns = ["--columns.question", "prompt", "--columns.trace", "response", "--columns.thinking", "reasoning"]
    cli.main(["import", path, *columns, "--answer-column", "gold", "--answer", "boxed"])
    printed = yaml.safe_load(capsys.readouterr().out.partition("In a config:\n")[2])
    dataset = Dataset.model_validate(printed["problems"]["train"])
    assert [(row["question"], row["answer"]) for row in problems.load(dataset, 0)] == [("1+1?", "2")]
    named = TraceColumns.model_validate(printed["teachers"]["name"]["trace_columns"])
    assert read_traces(path, columns=named) == {"1+1?": [THINKS]}


def test_rows_without_traces_name_the_accepted_columns_and_those_found(tmp_path: Path) -> None:
    path = write_shape(tmp_path, [{"problem": "1+1?", "answer": "2", "generations": ["2"]}], ".jsonl")
    with pytest.raises(HealError, match=r"traces, trace, messages(.|\n)*found: problem, answer, generations"):
        read_traces(path)


def test_a_question_may_stand_once_per_trace(tmp_path: Path, capsys) -> None:
    rows = [{"question": "1+1?", "answer": "2", "trace": trace} for trace in ("a 2", "b 2")]
    ImportTraces(file=write_traces(tmp_path / "t.jsonl", rows)).run()
    printed = yaml.safe_load(capsys.readouterr().out.partition("In a config:\n")[2])
    assert len(problems.load(Dataset.model_validate(printed["problems"]["train"]), 0)) == 1


def tokenize_traces(name: str, text: str) -> tuple[list[str], str]:
    """The trace's tokens, and its text without the end token."""
    engine = make_tokenizing_engine(build_user_tokenizer(name), name)
    ids = encode_trace(engine, text, "file, row 1")
    return engine.tokenizer.convert_ids_to_tokens(ids), engine.tokenizer.decode(ids[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "So 2.",
        "So 2.<|im_end|>",
        "So 2.<|im_end|>\n",
        "<|im_start|>assistant\nSo 2.",
        "So 2.<|im_end|><|im_start|>user\nx",
    ],
)
def test_a_trace_ends_at_its_end_token_and_begins_behind_the_header(text: str) -> None:
    tokens, decoded = tokenize_traces("qwen2_5", text)
    assert decoded == "So 2." and tokens.count("<|im_end|>") == 1 and tokens[-1] == "<|im_end|>"


def test_a_normal_form_of_unicode_changes_no_trace() -> None:
    assert tokenize_traces("nfc", "Poincare\u0301")[1] == "Poincar\u00e9"
    assert tokenize_traces("qwen2_5", "Poincare\u0301")[1] == "Poincare\u0301"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lower", "So X.", "changes the trace"),
        ("qwen2_5", "So \ud835", "file, row 1: half of a surrogate pair"),
        ("qwen2_5", "So <|im_start|> 2", "control token '<|im_start|>' inside the trace"),
    ],
)
def test_a_trace_that_cannot_be_tokens_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(HealError) as refused:
        tokenize_traces(name, text)
    assert message in str(refused.value)


def test_a_problem_without_traces_and_words_that_the_tokenizer_does_not_know(engine, tmp_path: Path) -> None:
    (problem,) = problems.load(Dataset(source="mini", split="train", n=1), 0)
    with pytest.raises(HealError, match="no traces of a problem"):
        make_trace_measurer(engine, {"another": ["1"]}, "t.jsonl")([problem])
    with pytest.raises(HealError, match="changes the trace"):
        make_trace_measurer(engine, {problem["question"]: ["Donau­dampfschiff"]}, "t.jsonl")([problem])
