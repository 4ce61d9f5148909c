"""Find the engines and open the one that a config names.

Reads nothing, writes nothing. Engines are the files of this package that define a subclass of Engine; importing this
module imports neither torch nor vllm.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from heal.discovery import check_name, discover_classes
from heal.engines import gpu_lease
from heal.engines.base import Engine

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import ModelSource

NO_ENGINES = (
    "batched_model",
    "decoding",
    "gpu_lease",
    "open",
    "reaper",
    "show_gpus",
    "vllm_start",
    "vllm_stream",
    "vllm_top_p",
)
"""Modules of this package that define no engine."""


@cache
def find_engines() -> dict[str, type[Engine]]:
    """name → class, of every engine. Raises HealError as `discover_classes`."""
    return discover_classes("heal.engines", Engine, skip=NO_ENGINES)


def list_backends() -> list[str]:
    """The names that `engine.backend` takes: the engines that load weights. An endpoint is chosen by the model."""
    return sorted(name for name, engine in find_engines().items() if engine.loads_weights)


def check_backend(name: str, where: str, field: str) -> None:
    """Raises HealError with the nearest name where no engine that loads weights has this name."""
    check_name(name, list_backends(), "engine", where=where, field=field)


def open_engine(model: ModelSource, options: EngineOptions, gpus: int) -> Engine:
    """The model, loaded into the configured engine, or the client of its endpoint.

    gpus: number of GPUs to lease, where there are any; a model that loads here waits for them. Raises HealError for an
    unknown backend and where the model cannot be loaded or reached.
    """
    if model.endpoint:
        return find_engines()["endpoint"].from_options(model, options, 0)
    check_backend(options.backend, where="config", field="engine.backend")
    leased = gpu_lease.lease(0 if options.device == "cpu" else gpus)
    gpu_lease.check_torch(leased)
    return find_engines()[options.backend].from_options(model, options, len(leased))
