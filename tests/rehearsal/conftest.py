"""One working copy of the single-GPU preset with untrained stand-ins, for the laws of what a rehearsal builds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from heal.rehearsal.build import Rehearsal


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips this folder's tests where the vocabulary is not installed."""
    if importlib.util.find_spec("dashscope") is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="the vocabulary is not installed: make rehearsal-env"))


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """config/single_gpu.yaml, built with stand-ins of no training step."""
    from heal.rehearsal import build, plans, stand_in

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stand_in, "STEPS", dict.fromkeys(stand_in.STEPS, 4))
        patch.setenv(plans.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        return build.build(Path("config/single_gpu.yaml"), tmp_path_factory.mktemp("rehearsal"))
