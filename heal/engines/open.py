"""The engine that a config names, opened."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from heal.config import experiment as config
from heal.config.options import validate
from heal.engines import gpu_lease
from heal.pipeline.runner import parsed, read_options

if TYPE_CHECKING:
    from heal.engines.base import Engine


def model_of(arguments: argparse.Namespace) -> config.Model:
    """The model that --model, --revision, --template-options and --endpoint name. Raises HealError as `validate`."""
    given = {
        "path": arguments.model,
        "revision": arguments.revision,
        "template_options": parsed(arguments.template_options, "--template-options"),
        "endpoint": parsed(getattr(arguments, "endpoint", None) or "null", "--endpoint"),
    }
    return validate(config.Model, given, where="--model")


def open_engine(arguments: argparse.Namespace) -> Engine:
    """The teacher, loaded into the configured engine, or at its endpoint."""
    options, model = read_options(config.Engine, arguments.engine, "--engine"), model_of(arguments)
    common: dict[str, Any] = {"revision": model.revision, "template_options": model.template_options}
    listed: dict[str, Any] = {"top_logprobs": options.top_logprobs, "max_length": options.max_length}
    if model.endpoint:
        from heal.engines.endpoint import EndpointEngine

        return EndpointEngine(model.path, endpoint=model.endpoint, **common, **listed)
    gpu_lease.lease(0 if options.device == "cpu" else arguments.gpus)
    common |= {"dtype": options.dtype}
    if options.backend == "vllm":
        import torch

        from heal.engines.vllm import VllmEngine

        share, gpus = options.gpu_memory_utilization, torch.cuda.device_count()
        return VllmEngine(
            model.path, gpus=gpus, max_num_seqs=options.max_num_seqs, gpu_memory_utilization=share, **common, **listed
        )
    from transformers.utils.logging import disable_progress_bar

    from heal.engines.transformers import TransformersEngine

    disable_progress_bar()  # the stage's own lines say how far it is
    return TransformersEngine(
        model.path, device=options.device, batch_size=options.max_num_seqs, threads=options.threads, **common
    )
