"""vLLM in the tests' own process, where a start takes seconds rather than half a minute.

tests/engines/test_reaper.py and tests/engines/test_endpoint.py start it in processes of its own, as users do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vllm import LLM


@contextmanager
def run_in_process() -> Iterator[None]:
    """Engines that are started within it run in this process, one at a time, and bind no thread to a core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        yield


def close(llm: LLM) -> None:
    """Ends an engine of this process, so that another can start."""
    from vllm.distributed import cleanup_dist_env_and_memory

    llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()
