"""How vLLM is started, for sampling and for lm-eval alike: its variables, its arguments, its processes, its caches.

Importing this module does not import vllm.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heal.engines import gpu_lease, reaper
from heal.skip_sklearn import skip_sklearn

SLOTS = 64
"""Maximum number of models that are served from one machine's folder of links."""
_held: dict[str, gpu_lease.Lock] = {}  # path of a link → its lock, held until the process ends

FIXES = {  # words of vLLM's start-up errors → what the user can do
    "kv cache": "lower engine.max_length, raise engine.gpu_memory_utilization, or use more GPUs or a larger one",
    "free memory": "lower engine.gpu_memory_utilization, or free the GPU: another program holds its memory",
    "out of memory": "use more GPUs, a larger one, or a smaller model",
    "tensor parallel": "the model's attention heads must divide by the number of GPUs: use another number",
}


def set_variables() -> None:
    """What vLLM reads where it is imported and started."""
    # No usage report to anybody, no start-up banner. Spawned children hold no lock and no pipe of this process.
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # vLLM gives up after 10 minutes, which loading a large model from a shared disk and compiling it can take. It sees
    # at once when a process fails.
    os.environ.setdefault("VLLM_ENGINE_READY_TIMEOUT_S", "3600")
    # It is compiled with the nvcc that is installed, which may not fit; and it has no seed per request.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")


def prepare_vllm(gpus: int, max_num_seqs: int, max_length: int | None, gpu_memory_utilization: float) -> dict[str, Any]:
    """Arguments of vllm.LLM. Call it before vLLM is imported: it sets variables, and children end with this process."""
    reaper.guard_children()
    skip_sklearn()
    set_variables()
    if not gpus:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB; its own choice is most of the machine's memory
    # A request whose prompt is taken in parts has its generator rewound, which torch's CPU generators refuse.
    by_device: dict[str, Any] = {} if gpus else {"enable_chunked_prefill": False}
    return by_device | {
        "tensor_parallel_size": max(1, gpus),
        "max_model_len": max_length,
        "max_num_seqs": max_num_seqs,
        "gpu_memory_utilization": gpu_memory_utilization,
        "enable_prefix_caching": True,
        "enforce_eager": not gpus,  # compiling takes a CPU minutes and gains it nothing
        "generation_config": "vllm",  # no sampling settings but those of the request
        "load_format": "safetensors",
        "trust_remote_code": False,
        "seed": 0,
    }


def link_model(model: str, folder: Path | None = None) -> str:
    """A link to a model folder, from a fixed place that no other process uses; the name of a hub model as it is.

    vLLM compiles a model again where its path is a new one; students of one architecture, served from one path, share
    what was compiled. folder: for tests.
    """
    if not Path(model).is_dir():
        return model
    folder = folder or gpu_lease.make_lock_folder()
    for slot in range(SLOTS):
        link = folder / f"model-{slot}"
        if str(link) not in _held:
            lock = gpu_lease.Lock(folder / f"{link.name}.lock")
            if not lock.try_to_acquire():
                continue
            _held[str(link)] = lock
            fresh = folder / f"{link.name}.new"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(Path(model).resolve(), target_is_directory=True)
            fresh.replace(link)
            return str(link)
    return model


@contextmanager
def name_vllm_distribution() -> Iterator[None]:
    """Within it, the version of `vllm` is that of the build that is installed: lm-eval asks, and the CPU build's
    distribution is called `vllm-cpu`.
    """
    find_version = importlib.metadata.version

    def find_build(distribution_name: str) -> str:
        try:
            return find_version(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            return find_version(f"{distribution_name}-cpu") + "+cpu"

    importlib.metadata.version = find_build
    try:
        yield
    finally:
        importlib.metadata.version = find_version


def name_model_runner(config: Any) -> str:
    """Which of vLLM's model runners computes the model, of vLLM's whole config: scores may differ between them."""
    return "V2" if config.use_v2_model_runner and config.device_config.device_type == "cuda" else "V1"


def find_start_fix(error: Exception) -> str:
    """What a user can do about an error of vLLM's start."""
    for words, fix in FIXES.items():
        if words in str(error).lower():
            return fix
    return "see the log above"
