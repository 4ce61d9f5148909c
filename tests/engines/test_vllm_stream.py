"""What vLLM lists per position is reduced as it comes, to the numbers that the whole list would give."""

from __future__ import annotations

import importlib.util
from itertools import chain

import numpy as np
import pytest

from heal.method.entropy import bound_entropies

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
TOP, VOCABULARY = 5, 50


def make_logprobs(positions: int) -> np.ndarray:
    """Log-probs of the token itself and of the TOP likeliest, float32 [positions, 1 + TOP]."""
    logits = np.random.default_rng(0).normal(size=(positions, VOCABULARY)) * 3
    logprobs = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    likeliest = -np.sort(-logprobs, axis=-1)[:, :TOP]
    return np.concatenate([logprobs[:, :1], likeliest], axis=1)


def feed(measures: object, table: np.ndarray) -> None:
    for position, row in enumerate(table.tolist()):
        measures.append_fast([0] * len(row), row, chain((position,), range(1, TOP + 1)), [None] * len(row))


@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from heal.engines import vllm_stream

    monkeypatch.setattr(vllm_stream, "BLOCK", block)
    table = make_logprobs(97)
    measures = vllm_stream.TokenMeasures(VOCABULARY)
    feed(measures, table)
    low, high = bound_entropies(table[:, 1:].astype(np.float64), VOCABULARY)
    for column, expected in zip(measures.read(), (table[:, 0], low, high, range(97)), strict=True):
        assert np.array_equal(column, np.array(expected, column.dtype))
    assert len(measures) == 97


def test_a_context_is_counted_and_not_kept() -> None:
    from heal.engines.vllm_stream import TokenMeasures

    measures = TokenMeasures(VOCABULARY, start=10)
    measures.append(None)
    table = make_logprobs(19)
    feed(measures, table)
    assert len(measures) == 20
    logprobs, _, _, ranks = measures.read()
    assert np.array_equal(logprobs, table[9:, 0]) and ranks.tolist() == list(range(9, 19))


def test_no_token_gives_empty_columns() -> None:
    from heal.engines.vllm_stream import TokenMeasures

    assert [len(column) for column in TokenMeasures(VOCABULARY).read()] == [0, 0, 0, 0]


def test_memory_per_token_is_bounded() -> None:
    import tracemalloc

    from heal.engines.vllm_stream import TokenMeasures

    table = make_logprobs(100)
    measures = TokenMeasures(VOCABULARY)
    feed(measures, table)
    tracemalloc.start()
    for _ in range(200):
        feed(measures, table)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown / 20_000 < 20  # 16 bytes, and the arrays' heads


class FakeEngine:
    """Ends the oldest open request at each step; keeps the largest number that was open."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.most = 0
        self.aborted: list[str] = []

    def add_request(self, name: str, prompt: object, parameters: object) -> str:
        self.open.append(name)
        self.most = max(self.most, len(self.open))
        return f"internal-{name}"

    def step(self) -> list[object]:
        from types import SimpleNamespace

        return [SimpleNamespace(finished=True, request_id=self.open.pop())]

    def abort_request(self, names: list[str], internal: bool) -> None:
        self.aborted += names


def make_llm(engine: FakeEngine) -> object:
    from itertools import count
    from types import SimpleNamespace

    return SimpleNamespace(llm_engine=engine, request_counter=count())


def test_a_bounded_number_of_requests_is_built_and_open() -> None:
    from heal.engines.vllm_stream import VllmRequest, stream_outputs

    built = []

    def build():
        for number in range(100):
            built.append(number)
            yield VllmRequest([number + 1], {"max_tokens": 1})

    engine = FakeEngine()
    seen = []
    for index, request, _ in stream_outputs(make_llm(engine), build(), 7):
        seen.append(index)
        assert request.prompt_ids == [index + 1]
        assert len(built) <= len(seen) + 7
    assert sorted(seen) == list(range(100)) and engine.most == 7


def test_what_is_open_when_the_caller_stops_is_aborted() -> None:
    from heal.engines.vllm_stream import VllmRequest, stream_outputs

    engine = FakeEngine()
    outputs = stream_outputs(make_llm(engine), (VllmRequest([1], {}) for _ in range(10)), 4)
    next(outputs)
    outputs.close()
    assert sorted(engine.aborted) == ["internal-0", "internal-1", "internal-2"]


def test_a_dead_engine_is_an_error_with_a_fix() -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    from heal.engines.vllm_stream import VllmRequest, stream_outputs
    from heal.errors import HealError

    engine = FakeEngine()

    def die() -> list[object]:
        raise EngineDeadError

    engine.step = die
    with pytest.raises(HealError, match="has died") as caught:
        next(stream_outputs(make_llm(engine), [VllmRequest([1], {})], 4))
    assert "run again" in caught.value.fix and engine.aborted == []
