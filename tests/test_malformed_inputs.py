"""Malformed input of every kind that users hand over: refused with place and fix, or read; never a traceback.

A valid input is damaged at random: values of another type, keys that are missing or wrong, bytes that are cut off or
changed. The suite runs a few of each kind; make test-chaos runs 1,000 in all:

    HEAL_MALFORMED_INPUTS=1000 pytest tests/test_malformed_inputs.py
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heal import records, registry
from heal.config.data import Dataset
from heal.config.run_config import read_run_config
from heal.data import load_problems
from heal.data.existing_traces import read_traces
from heal.engines.base import Request, Sampling, load_tokenizer
from heal.engines.endpoint import EndpointEngine
from heal.errors import HealError
from heal.pipeline.curriculum import check_examples
from heal.pipeline.import_traces import encode_trace
from heal.pipeline.merge import Merge
from tests.support.misbehaving_server import Misbehaving, list_models, make_answer
from tests.support.paths import ROOT
from tests.support.trace_folder import make_problems, make_trace
from tests.support.user_models import make_tokenizing_engine

TEACHER = "heal/worlds/mini/models/teacher"
RELAXED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)
KINDS = 11
INPUTS = int(os.environ.get("HEAL_MALFORMED_INPUTS", "110"))
several = settings(
    max_examples=-(-INPUTS // KINDS), deadline=None, derandomize=True, database=None, suppress_health_check=RELAXED
)

WORDS = st.sampled_from(
    ["", " ", "x", "0", "-1", "1e400", "null", "true", "∞", "½", "\\boxed{", "{question}", "{answer", "../..", "é" * 40]
)
NUMBERS = st.one_of(st.integers(-3, 3), st.just(2**70), st.floats(), st.booleans(), st.none())
JUNK = st.recursive(
    st.one_of(WORDS, NUMBERS, st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=4,
)


def find_places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a content of mappings and lists."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from find_places(value, (*place, key))


@st.composite
def damage_content(draw: st.DrawFn, content: Any) -> Any:
    """The content with one to three values replaced, removed, or under another key."""
    damaged = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(list(find_places(damaged))))
        parent = damaged
        for part in path:
            parent = parent[part]
        way = draw(st.sampled_from(["replace", "remove", "rename"]))
        if way == "replace" or not isinstance(parent, dict):
            parent[key] = draw(JUNK)
        elif way == "remove":
            del parent[key]
        else:
            parent[draw(WORDS)] = parent.pop(key)
        if not damaged:
            break
    return damaged


@st.composite
def damage_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes cut off, or with a few of them changed."""
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content) - 1))]
    damaged = bytearray(content)
    for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        damaged[place] = draw(st.integers(0, 255))
    return bytes(damaged)


def refuse_or_accept(read: Callable[[], Any]) -> None:
    """An error of the suite's own kind, with its place and what to do about it, or none."""
    try:
        read()
    except HealError as error:
        assert error.where and error.fix and error.problem, repr(error)


@cache
def read_mini_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config/config.yaml").read_text())


ROWS = [{"question": f"What is {n}+{n}?", "answer": str(2 * n), "level": n} for n in range(3)]
TRACE_ROWS = [
    {"question": "1+1?", "answer": "2", "traces": ["1+1 = 2\n\n\\boxed{2}", "\\boxed{3}"]},
    {"messages": [{"role": "user", "content": "2+1?"}, {"role": "assistant", "content": "<think>a</think>3"}]},
    {"conversations": [{"from": "user", "value": "2+2?"}, {"from": "assistant", "value": "4"}]},
]
ANSWER = make_answer("a b", [-0.1, -0.2])[1]
BASELINE = """
from heal.method.base import Example, Method, NOT_CHECKED
from heal.config.options import OptionGroup
from heal.trace_files import SAMPLES, GRADES

class Options(OptionGroup):
    share: float = 0.5

class Mine(Method):
    name = "mine"
    paper = "none"
    summary = "a method"
    differs = "nothing"
    options: Options
    Options = Options

    def needs(self):
        return [SAMPLES, GRADES]

    def build_curriculum(self, traces):
        return []
"""


@several
@given(content=damage_content(read_mini_config()))
def test_a_config_with_wrong_values(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    refuse_or_accept(lambda: read_run_config(path).check())


@several
@given(content=damage_bytes((ROOT / "config/config.yaml").read_bytes()))
def test_a_config_with_wrong_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    refuse_or_accept(lambda: read_run_config(path).check())


def load(path: Path, **options: Any) -> None:
    dataset = Dataset.model_validate({"source": "file", "path": str(path)} | options)
    refuse_or_accept(lambda: load_problems.collect(dataset, 0))


@pytest.mark.parametrize("form", ["jsonl", "json"])
@several
@given(rows=damage_content(ROWS), data=st.data())
def test_problems_with_wrong_values(rows: Any, form: str, data: st.DataObject, tmp_path: Path) -> None:
    text = json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows))
    content = text.encode()
    if data.draw(st.booleans()) and content:
        content = data.draw(damage_bytes(content))
    path = tmp_path / f"problems.{form}"
    path.write_bytes(content)
    load(path)


@several
@given(content=st.data())
def test_problems_in_a_damaged_parquet_file(content: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "problems.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(content.draw(damage_bytes(path.read_bytes())))
    load(path, keep={"level": [1]})


@several
@given(rows=damage_content(TRACE_ROWS))
def test_traces_to_import(rows: Any, tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    engine = make_tokenizing_engine(load_tokenizer(TEACHER), TEACHER)

    def measure() -> None:
        for texts in read_traces(path).values():
            for text in texts:
                encode_trace(engine, text, f"{path}, row 1")

    refuse_or_accept(measure)


@several
@given(content=st.data())
def test_a_damaged_shard(content: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    records.write(path, "samples", [make_trace(problem, "t", "1") for problem in make_problems()[:2]])
    path.write_bytes(content.draw(damage_bytes(path.read_bytes())))
    merge = Merge(parts=[path], table="samples", out=tmp_path / "samples.parquet")
    refuse_or_accept(merge.run)


@several
@given(
    answer=damage_content(ANSWER),
    status=st.sampled_from([200, 200, 200, 404, 500]),
    owner=st.sampled_from(["vllm", "x"]),
)
def test_an_answer_of_an_endpoint(answer: Any, status: int, owner: str, server: Any) -> None:
    endpoint = server((status, answer), retries=0)
    Misbehaving.models = list_models(owner)
    engine = EndpointEngine(TEACHER, endpoint=endpoint)
    refuse_or_accept(lambda: engine.generate([Request((5, 6), (3,))], Sampling(max_new_tokens=9)))
    if owner == "vllm":
        refuse_or_accept(lambda: engine.score([((5, 6), (7, 8))]))


@several
@given(models=damage_content(list_models("vllm")[1]))
def test_a_list_of_models_of_an_endpoint(models: Any, server: Any) -> None:
    endpoint = server((200, ANSWER), retries=0)
    Misbehaving.models = (200, models)
    refuse_or_accept(lambda: EndpointEngine(TEACHER, endpoint=endpoint))


@several
@given(content=damage_bytes(BASELINE.encode()), number=st.integers(0, 10**9))
def test_a_baseline_s_file(content: bytes, number: int, tmp_path: Path) -> None:
    folder = tmp_path / f"of_mine_{number}"
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_bytes(content)
    refuse_or_accept(lambda: registry.discover_methods.__wrapped__(folder))


@several
@given(examples=JUNK)
def test_examples_of_a_baseline(examples: Any) -> None:
    refuse_or_accept(lambda: list(check_examples(examples, {"p": "?"}, "baselines/mine.py, method mine")))
