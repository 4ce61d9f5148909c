"""Estimate how long jobs take.

Reading and training: FLOPs, 2 per parameter and token read, 6 per token trained on (Kaplan et al. 2020, arXiv
2001.08361), and those of attention, at an assumed share of the GPU's peak. Writing: decoding steps, each as long as the
memory needs to deliver the weights and the cache of all sequences of a batch, or as its FLOPs take, and a constant time
for scheduling. As many sequences run together as the cache has room for. Idle time is included where it is known: the
engine's start, the ends of batches, in which the longest sequences run alone, and the writing of checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from heal.config.models import Model, Train
from heal.planning.gpus import GB
from heal.planning.inputs import PlanInputs, list_models
from heal.planning.memory import BYTES, estimate_checkpoint_bytes, estimate_generation_memory
from heal.planning.tokens import Tokens, read_tokens, write_tokens

FLOPS_PER_TOKEN, FLOPS_PER_TRAINED_TOKEN = 2, 6
"""Per parameter."""
PASSES_OF_TRAINING = 3
"""Forward and backward pass, in forward passes: what training takes of attention's FLOPs."""
LARGE_MODEL = 5e9
"""Parameters from which `use_training_large` holds."""


@dataclass(frozen=True)
class Work:
    """All jobs of one rule with one model. label: teachers.NAME or students.NAME."""

    label: str
    jobs: int
    tokens: Tokens
    gpus: int
    """Of one job; 0: CPU."""
    train: Train | None = None
    """How it trains; None: it generates or scores."""


def count_job_gpus(inputs: PlanInputs, label: str, *, evaluates: bool = False) -> int:
    """GPUs of a job with this model. evaluates: whether it answers benchmarks."""
    experiment, model = inputs.experiment, list_models(inputs.experiment)[label]
    if model.endpoint or experiment.engine.device == "cpu" or not inputs["tflops_16bit"]:
        return 0
    return count_evaluation_gpus(label, model) if evaluates else model.gpus


def count_evaluation_gpus(label: str, model: Model) -> int:
    """GPUs of an evaluation: `evaluation_gpus`, by default those of a teacher, and one for a student."""
    if model.evaluation_gpus is not None:
        return model.evaluation_gpus
    return model.gpus if label.startswith("teachers.") else min(1, model.gpus)


def estimate_seconds(inputs: PlanInputs, work: Work) -> float:
    """Seconds of all jobs, one after the other."""
    busy = estimate_training_seconds(inputs, work) if work.train else estimate_engine_seconds(inputs, work)
    return busy + work.jobs * inputs["start_s"]


def get_peak(inputs: PlanInputs, work: Work, dtype: str) -> float:
    """FLOP/s of a job's GPUs, or of its threads at the share that they reach."""
    if work.gpus:
        return 1e12 * work.gpus * inputs["tflops_32bit" if dtype == "float32" else "tflops_16bit"]
    return 1e12 * inputs["tflops_cpu"] * inputs["use_cpu"] * inputs.experiment.engine.threads


def estimate_training_seconds(inputs: PlanInputs, work: Work) -> float:
    """Seconds of training and of writing its checkpoints."""
    assert work.train is not None
    size, shape = inputs.sizes[work.label], inputs.shapes[work.label]
    flops = FLOPS_PER_TRAINED_TOKEN * size.active * work.tokens.read
    flops += PASSES_OF_TRAINING * shape.attention_flops_per_pair * work.tokens.read_pairs
    use = inputs["use_training_large" if size.active >= LARGE_MODEL else "use_training"] if work.gpus else 1
    seconds = flops / (get_peak(inputs, work, work.train.dtype) * use)
    checkpoints = seconds / (60 * work.train.save_minutes)
    return seconds + checkpoints * estimate_checkpoint_bytes(size, work.train) / (GB * inputs["disk_gb_s"])


def estimate_engine_seconds(inputs: PlanInputs, work: Work) -> float:
    """Seconds of reading and writing."""
    size, shape, tokens = inputs.sizes[work.label], inputs.shapes[work.label], work.tokens
    peak = get_peak(inputs, work, inputs.experiment.engine.dtype)
    read_flops = FLOPS_PER_TOKEN * size.active * tokens.read + shape.attention_flops_per_pair * tokens.read_pairs
    if not work.gpus:
        written_flops = FLOPS_PER_TOKEN * size.active * tokens.written
        written_flops += shape.attention_flops_per_pair * tokens.written_pairs
        return (read_flops + written_flops) / peak
    seconds = read_flops / (peak * inputs["use_reading"])
    if tokens.written:
        context = tokens.written_pairs / tokens.written
        batch = estimate_batch(inputs, work, context)
        seconds += tokens.written / batch * estimate_step_seconds(inputs, work, batch, context)
        seconds += tokens.tail_steps * estimate_step_seconds(inputs, work, 1, context)
    return seconds


def estimate_read_price(inputs: PlanInputs, label: str) -> float:
    """Seconds per read token over seconds per generated token, of base samples: what `cost.read_price` stands for."""
    gpus, length = count_job_gpus(inputs, label), inputs["trace_tokens"]
    reading = Work(label, 1, read_tokens(1, inputs["prompt_tokens"] + length), gpus)
    writing = Work(label, 1, write_tokens(1, length, inputs["prompt_tokens"]), gpus)
    read_s = estimate_engine_seconds(inputs, reading) / reading.tokens.read
    return read_s / (estimate_engine_seconds(inputs, writing) / writing.tokens.written)


def estimate_batch(inputs: PlanInputs, work: Work, context: float) -> float:
    """Sequences that a job's GPUs decode together: as many as their caches have room for, at most max_num_seqs."""
    engine = inputs.experiment.engine
    memory = estimate_generation_memory(inputs.sizes[work.label], inputs.shapes[work.label], engine, work.gpus)
    room = memory.count_cached_tokens(inputs["memory_gb"] * GB, engine.gpu_memory_utilization) / max(1.0, context)
    return min(float(engine.max_num_seqs), max(1.0, room))


def estimate_step_seconds(inputs: PlanInputs, work: Work, batch: float, context: float) -> float:
    """Seconds of one decoding step of a batch."""
    size, shape, engine = inputs.sizes[work.label], inputs.shapes[work.label], inputs.experiment.engine
    flops = batch * (FLOPS_PER_TOKEN * size.active + shape.attention_flops_per_pair * context)
    memory = estimate_generation_memory(size, shape, engine, work.gpus)
    read_bytes = size.active * BYTES[engine.dtype] / work.gpus + batch * context * memory.cache_per_token
    computing = flops / (get_peak(inputs, work, engine.dtype) * inputs["use_reading"])
    return max(computing, read_bytes / (GB * inputs["bandwidth_gb_s"] * inputs["use_bandwidth"])) + inputs["step_s"]
