"""Estimate the memory that a job needs: of its GPUs, and of the machine.

GPU memory of generation: weights, room for activations, and the KV cache. Of training: as heal.training.memory
estimates it, with activations computed again, which is what training does where storing them does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from heal.config.experiment import Engine
from heal.config.models import Train
from heal.planning.shapes import ModelShape, ModelSize
from heal.training import memory as training_memory
from heal.training.memory import DecoderShape

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "auto": 2}
ENGINE_BYTES = 4 * GIB
"""Of one GPU, for activations and compiled graphs of an engine (ours)."""
BASE_HOST_BYTES = 4 * GIB
"""Main memory of a process with torch, an engine and its streamed outputs (ours; CPU stages hold less)."""
CPU_STAGE_HOST_BYTES = 2 * GIB
"""Main memory of a stage without a model: it reads its files in parts."""
CHECKPOINT_BYTES_PER_PARAMETER = 12
"""Weights and AdamW's two moments, in float32."""
CHECKPOINTS = 3
"""Training keeps two, and has both while it writes the next."""


@dataclass(frozen=True)
class GenerationMemory:
    """Bytes per GPU, of each of `gpus` GPUs that share a model."""

    weights: float
    cache_per_token: float
    engine: float = ENGINE_BYTES

    def count_cached_tokens(self, gpu_bytes: float, utilization: float) -> float:
        """Tokens that fit in the KV cache; negative where the weights alone do not fit."""
        return (gpu_bytes * utilization - self.weights - self.engine) / self.cache_per_token


def estimate_generation_memory(size: ModelSize, shape: ModelShape, engine: Engine, gpus: int) -> GenerationMemory:
    """Memory of generation and scoring, spread over the GPUs by tensor parallelism."""
    value_bytes = BYTES[engine.dtype]
    return GenerationMemory(size.total * value_bytes / gpus, shape.cache_values_per_token * value_bytes / gpus)


def estimate_training_memory(size: ModelSize, shape: ModelShape, train: Train, gpus: int) -> float:
    """Bytes per GPU of training on the longest conversation; several GPUs share weights and optimizer (FSDP)."""
    tokens = max(train.max_length, train.micro_batch_tokens or 0)
    decoder = make_decoder_shape(size, shape)
    return training_memory.estimate_training_memory(decoder, train, tokens, gpus=gpus, recompute=True).total


def make_decoder_shape(size: ModelSize, shape: ModelShape) -> DecoderShape:
    """The shape that heal.training.memory estimates by; feed-forward layers take the parameters that are left.

    Embeddings count as tied: as separate ones they would leave fewer parameters to the layers.
    """
    attention = shape.width * (2 * shape.attention_width + 2 * shape.key_width)
    left = (size.total - shape.vocabulary * shape.width) / shape.layers - attention
    return DecoderShape(
        layers=round(shape.layers),
        hidden=round(shape.width),
        queries=round(shape.attention_width),
        keys=round(shape.key_width),
        feed_forward=max(round(shape.width), round(left / (3 * shape.width))),
        vocabulary=round(shape.vocabulary),
        tied=True,
    )


def estimate_training_host_memory(size: ModelSize, shape: ModelShape, train: Train, gpus: int) -> float:
    """Main memory of a training job. On GPUs each process first loads the model in float32."""
    processes = max(1, gpus)
    low = train.lora is not None and train.dtype == "bfloat16"
    loaded = processes * (size.total * (2 if low else 4) + BASE_HOST_BYTES)
    if gpus:
        return loaded
    tokens = train.micro_batch_tokens or train.batch_size * train.max_length
    whole = train.model_copy(update={"micro_batch_tokens": tokens})
    return BASE_HOST_BYTES + estimate_training_memory(size, shape, whole, 1)


def estimate_engine_host_memory(size: ModelSize, shape: ModelShape, engine: Engine, gpus: int, length: float) -> float:
    """Main memory of a job that generates or scores. length: tokens of a usual sequence, for the cache on a CPU."""
    if gpus:  # weights are read from mapped files; one process per GPU, and the one that started them
        return BASE_HOST_BYTES * (1 + gpus)
    memory = estimate_generation_memory(size, shape, engine, 1)
    return BASE_HOST_BYTES + memory.weights + engine.max_num_seqs * length * memory.cache_per_token


def estimate_checkpoint_bytes(size: ModelSize, train: Train) -> float:
    """Bytes of one checkpoint; with LoRA, adapters only, which are small."""
    return 0.0 if train.lora else size.total * CHECKPOINT_BYTES_PER_PARAMETER
