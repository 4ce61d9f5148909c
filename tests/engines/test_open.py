"""Laws of opening an engine: engines are found, GPUs are leased only for models that load here, names are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from heal.config.experiment import Engine as EngineOptions
from heal.config.models import Endpoint, ModelSource
from heal.engines import gpu_lease
from heal.engines import open as opening
from heal.engines.base import Completion, Engine, Request, Sampling, Score, regroup
from heal.errors import HealError

MODEL = ModelSource(path="heal/worlds/mini/models/teacher")


class FakeEngine(Engine):
    """Remembers what it was opened with."""

    name = "fake"

    @classmethod
    def from_options(cls, model: ModelSource, options: EngineOptions, gpus: int) -> FakeEngine:
        return cls(None, {"model": model.path, "gpus": gpus}, 0)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        return []

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        return []


class FakeClient(FakeEngine):
    name = "endpoint"
    loads_weights = False


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of GPUs that were requested; one is free."""
    counts: list[int] = []

    def lease(count: int) -> list[str]:
        counts.append(count)
        return ["0"][:count]

    monkeypatch.setattr(gpu_lease, "lease", lease)
    monkeypatch.setattr(gpu_lease, "check_torch", lambda gpus: None)
    monkeypatch.setattr(opening, "find_engines", lambda: {"fake": FakeEngine, "endpoint": FakeClient})
    return counts


def test_engines_are_found_with_their_names() -> None:
    assert set(opening.find_engines()) == {"transformers", "vllm", "endpoint"}
    assert opening.list_backends() == ["transformers", "vllm"]


@pytest.mark.parametrize(("device", "requested", "leased"), [("auto", 3, 1), ("cpu", 0, 0)])
def test_a_model_that_loads_here_leases_its_gpus(requests: list[int], device: str, requested: int, leased: int) -> None:
    engine = opening.open_engine(MODEL, EngineOptions(backend="fake", device=device), 3)
    assert requests == [requested]
    assert engine.settings == {"model": MODEL.path, "gpus": leased}


def test_a_leased_gpu_that_torch_cannot_use_is_an_error(requests: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(gpus: list[str]) -> None:
        assert gpus == ["0"]
        raise HealError("torch finds 0 of 1 leased GPUs")

    monkeypatch.setattr(gpu_lease, "check_torch", refuse)
    with pytest.raises(HealError, match="leased GPUs"):
        opening.open_engine(MODEL, EngineOptions(backend="fake"), 1)


def test_an_endpoint_leases_none_whatever_the_backend(requests: list[int]) -> None:
    served = MODEL.model_copy(update={"endpoint": Endpoint(base_url="http://localhost/v1")})
    assert isinstance(opening.open_engine(served, EngineOptions(backend="fake"), 3), FakeClient)
    assert requests == []


@pytest.mark.parametrize(
    ("backend", "fix"), [("transformer", "did you mean 'transformers'?"), ("endpoint", "known: transformers, vllm")]
)
def test_an_unknown_backend_is_refused_before_anything_is_leased(backend: str, fix: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu_lease, "lease", lambda count: pytest.fail("leased"))
    with pytest.raises(HealError, match=f"engine.backend: unknown engine '{backend}'") as caught:
        opening.open_engine(MODEL, EngineOptions(backend=backend), 1)
    assert caught.value.fix == fix


def test_regroup_restores_the_sizes() -> None:
    assert regroup([1, 2, 3, 4], [2, 0, 1, 1]) == [[1, 2], [], [3], [4]]
