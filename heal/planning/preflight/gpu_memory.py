"""Check the memory of GPUs: weights and cache of generation, weights, optimizer and activations of training."""

from __future__ import annotations

from heal.config.models import Model
from heal.errors import HealError
from heal.planning.hours import count_evaluation_gpus
from heal.planning.memory import GIB, estimate_generation_memory, estimate_training_memory
from heal.planning.preflight.findings import Findings
from heal.planning.preflight.lengths import find_limit
from heal.planning.preflight.lookup import Lookup
from heal.planning.preflight.machine import Machine
from heal.training.memory import USABLE_SHARE


def check_gpu_memory(lookup: Lookup, field: str, model: Model, machine: Machine) -> Findings:
    """Faults of one model's jobs; none on a machine without GPUs. field: teachers.NAME or students.NAME."""
    experiment = lookup.run_config.experiment
    if not machine.gpus or experiment.engine.device == "cpu" or model.endpoint or not model.gpus:
        return
    if field.startswith("students."):
        yield from check_training_memory(lookup, field, model, machine)
    evaluation_gpus = machine.count_job_gpus(count_evaluation_gpus(field, model))
    counts = {evaluation_gpus: f"{field}.evaluation_gpus"} if evaluation_gpus else {}
    if field.startswith("teachers."):
        counts[machine.count_job_gpus(model.gpus)] = f"{field}.gpus"
    for gpus, name in counts.items():
        yield from check_generation_memory(lookup, field, name, model, machine, gpus)


def check_generation_memory(
    lookup: Lookup, field: str, name: str, model: Model, machine: Machine, gpus: int
) -> Findings:
    """A fault where a model and the cache of one sequence of full length do not fit. name: field with its GPUs."""
    experiment = lookup.run_config.experiment
    engine = experiment.engine
    try:
        size, shape = lookup.get_size(model, field), lookup.get_shape(model)
    except HealError:  # reported by the check of the model
        return
    memory = estimate_generation_memory(size, shape, engine, gpus)
    usable = machine.gpu_bytes * (engine.gpu_memory_utilization if engine.backend == "vllm" else 1)
    limit = find_limit(experiment, model, shape.positions)
    length = limit.tokens if limit else experiment.sampling.max_new_tokens
    cache = length * memory.cache_per_token
    needed = memory.weights + memory.engine + cache
    if needed > usable:
        problem = (
            f"{needed / GIB:.1f} GiB per GPU are needed (weights {memory.weights / GIB:.1f}, cache of one sequence of "
            f"{length} tokens {cache / GIB:.1f}, engine {memory.engine / GIB:.1f}), {usable / GIB:.1f} GiB of "
            f"{gpus} × {machine.gpu_name} can be used"
        )
        fix = "use dtype bfloat16, a lower engine.max_length, more gpus, or a smaller model"
        yield HealError(problem, where=name, fix=fix)


def check_training_memory(lookup: Lookup, field: str, model: Model, machine: Machine) -> Findings:
    """A fault where a student does not fit while it is trained on its longest conversation."""
    train = lookup.run_config.experiment.train
    try:
        size, shape = lookup.get_size(model, field), lookup.get_shape(model)
    except HealError:  # as above
        return
    gpus = machine.count_job_gpus(model.gpus)
    needed = estimate_training_memory(size, shape, train, gpus)
    usable = USABLE_SHARE * machine.gpu_bytes
    if needed > usable:
        problem = (
            f"training on {train.max_length} tokens needs {needed / GIB:.1f} GiB per GPU on {gpus} × "
            f"{machine.gpu_name}, of which {usable / GIB:.1f} GiB can be used"
        )
        fix = "more gpus, train.lora, a lower train.max_length, or a smaller student"
        yield HealError(problem, where=f"{field}.gpus", fix=fix)


def describe_cache(lookup: Lookup, field: str, model: Model, machine: Machine) -> str | None:
    """How many sequences of full length the cache holds; None where that is unknown."""
    experiment = lookup.run_config.experiment
    gpus = machine.count_job_gpus(model.gpus)
    if not gpus or model.endpoint or experiment.engine.backend != "vllm":
        return None
    try:
        size, shape = lookup.get_size(model, field), lookup.get_shape(model)
    except HealError:
        return None
    engine, limit = experiment.engine, find_limit(experiment, model, shape.positions)
    if limit is None:
        return None
    memory = estimate_generation_memory(size, shape, engine, gpus)
    tokens = memory.count_cached_tokens(machine.gpu_bytes, engine.gpu_memory_utilization)
    sequences = max(0, int(tokens // limit.tokens))
    text = f"  {field} on {gpus} × {machine.gpu_name}: cache for {max(0, int(tokens)):,} tokens, "
    return text + f"{sequences} sequences of {limit.tokens:,} at once (engine.max_num_seqs {engine.max_num_seqs})"
