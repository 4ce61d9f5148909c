"""Estimate what a run costs before anything is spent: jobs, prompts, tokens, GPU-hours, disk and fees, rule by rule.

    heal plan --config config/config.yaml --gpu H100 --price 2.50

Time comes from FLOPs: 2 per parameter and token read or written, 6 per token trained on (Kaplan et al. 2020, arXiv
2001.08361), at an assumed share of the GPU's peak. Attention's own FLOPs, memory and waiting are not included: for
traces of more than a few thousand tokens, lower use_writing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from heal.config.models import Train
from heal.planning.inputs import PlanInputs, list_models
from heal.planning.tokens import (
    Tokens,
    add_tokens,
    estimate_answers,
    estimate_optimizer_steps,
    estimate_trace_tokens,
    estimate_training,
    list_made_files,
)
from heal.trace_files import SAMPLES, TRACE_FILES
from heal.worlds import registry as worlds

WARM_UP, TRAIN = "warm_up_model", "train_student"
EVALUATE_STUDENT, EVALUATE_TEACHER, EVALUATE_UNTRAINED = "evaluate_student", "evaluate_teacher", "evaluate_untrained"
FLOPS_PER_TOKEN, FLOPS_PER_TRAINED_TOKEN = 2, 6
"""Per parameter."""
ANSWER_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Task:
    """All jobs of one rule with one model."""

    rule: str
    model: str
    jobs: int
    prompts: float
    tokens_read: float
    tokens_written: float
    hours: float
    """Of all jobs, one after the other."""
    gpu_hours: float
    disk_bytes: float
    fees: float
    """Of an endpoint, in US dollars."""


def plan_costs(inputs: PlanInputs) -> list[Task]:
    """Every task that needs a model, in the order of the workflow."""
    return [
        *plan_warm_ups(inputs),
        *plan_teacher_traces(inputs),
        *plan_student_traces(inputs),
        *plan_students(inputs),
        *plan_teacher_answers(inputs),
    ]


def plan_warm_ups(inputs: PlanInputs) -> Iterator[Task]:
    """The training of teachers and students before they are used."""
    for label, model in list_models(inputs.experiment).items():
        if model.warm_up:
            options = model.warm_up.train
            data = inputs.run_config.get_warm_up_data(*label.split("."))
            examples = worlds.count_warmup_examples(data.world, data.options)
            conversations = options.max_steps * options.batch_size if options.max_steps else options.epochs * examples
            tokens, size = estimate_training(inputs, conversations), estimate_model_bytes(inputs, label, options)
            yield estimate_task(inputs, WARM_UP, label, 1, tokens, size)


def plan_teacher_traces(inputs: PlanInputs) -> Iterator[Task]:
    """The trace files of every teacher."""
    experiment = inputs.experiment
    trace_files, tokens_of = list_made_files(inputs), estimate_trace_tokens(inputs)
    for teacher, model in experiment.teachers.items():
        for entry in TRACE_FILES:
            if entry.made_by != "teacher":
                continue
            files = [path for path, file in trace_files.items() if file.rule == entry.rule]
            if not files:
                continue
            tokens = add_tokens(tokens_of[path].scale(experiment.teacher_seeds) for path in files)
            jobs = len(files) * experiment.teacher_seeds * (experiment.sampling.shards if entry.sharded else 1)
            disk = estimate_trace_bytes(inputs, tokens, entry.sharded)
            if entry == SAMPLES and model.traces:  # existing traces are read one by one
                prompts = tokens.prompts * experiment.sampling.n
                tokens = Tokens(prompts, prompts * inputs["prompt_tokens"] + tokens.written)
            yield estimate_task(inputs, entry.rule, f"teachers.{teacher}", jobs, tokens, disk)


def plan_student_traces(inputs: PlanInputs) -> Iterator[Task]:
    """The trace files of every untrained student, once per teacher and teacher sampling seed."""
    experiment = inputs.experiment
    repeats = len(experiment.teachers) * experiment.teacher_seeds
    trace_files, tokens_of = list_made_files(inputs), estimate_trace_tokens(inputs)
    for student in experiment.students:
        for entry in TRACE_FILES:
            if entry.made_by == "student" and entry.path in trace_files:
                tokens = tokens_of[entry.path].scale(repeats)
                jobs = repeats * (experiment.sampling.shards if entry.sharded else 1)
                disk = estimate_trace_bytes(inputs, tokens, entry.sharded)
                yield estimate_task(inputs, entry.rule, f"students.{student}", jobs, tokens, disk)


def plan_students(inputs: PlanInputs) -> Iterator[Task]:
    """Training and answers of every student, and the answers of the untrained ones."""
    experiment, answers = inputs.experiment, estimate_answers(inputs)
    repeats = len(experiment.teachers) * experiment.teacher_seeds * experiment.training_seeds
    jobs = repeats * len(inputs.methods)
    conversations = 0
    for name in inputs.methods:
        batch_size = inputs.run_config.get_training(name).batch_size
        conversations += repeats * estimate_optimizer_steps(inputs, name) * batch_size
    for student in experiment.students:
        label = f"students.{student}"
        size = estimate_model_bytes(inputs, label, experiment.train)
        yield estimate_task(inputs, TRAIN, label, jobs, estimate_training(inputs, conversations), jobs * size)
        for rule, count in ((EVALUATE_STUDENT, jobs), (EVALUATE_UNTRAINED, 1)):
            disk = ANSWER_BYTES_PER_TOKEN * count * answers.written
            yield estimate_task(inputs, rule, label, count, answers.scale(count), disk)


def plan_teacher_answers(inputs: PlanInputs) -> Iterator[Task]:
    """The answers of every teacher."""
    answers = estimate_answers(inputs)
    for teacher in inputs.experiment.teachers:
        disk = ANSWER_BYTES_PER_TOKEN * answers.written
        yield estimate_task(inputs, EVALUATE_TEACHER, f"teachers.{teacher}", 1, answers, disk)


def estimate_task(inputs: PlanInputs, rule: str, label: str, jobs: int, tokens: Tokens, disk_bytes: float) -> Task:
    """All jobs of a rule, with their hours or fees. label: teachers.NAME or students.NAME."""
    model = list_models(inputs.experiment)[label]
    name = label.partition(".")[2]
    hours, gpu_hours, fees = 0.0, 0.0, 0.0
    if model.endpoint:
        fees = (tokens.read * model.endpoint.input_price + tokens.written * model.endpoint.output_price) / 1e6
    else:
        hours, gpus = estimate_hours(inputs, rule, label, jobs, tokens)
        gpu_hours = hours * gpus
    return Task(rule, name, jobs, tokens.prompts, tokens.read, tokens.written, hours, gpu_hours, disk_bytes, fees)


def estimate_hours(inputs: PlanInputs, rule: str, label: str, jobs: int, tokens: Tokens) -> tuple[float, int]:
    """(hours of all jobs one after the other, GPUs per job)."""
    engine, model = inputs.experiment.engine, list_models(inputs.experiment)[label]
    training = rule in (TRAIN, WARM_UP)
    read_flops = tokens.read * (FLOPS_PER_TRAINED_TOKEN if training else FLOPS_PER_TOKEN)
    written_flops = tokens.written * FLOPS_PER_TOKEN
    tflops = inputs["tflops_16bit" if get_dtype(inputs, rule, label) != "float32" else "tflops_32bit"]
    gpus = model.gpus if tflops and engine.device != "cpu" else 0
    if gpus:
        use = inputs["use_training" if training else "use_reading"]
        flops = read_flops / use + written_flops / inputs["use_writing"]
        peak = 1e12 * tflops * gpus
    else:
        flops = (read_flops + written_flops) / inputs["use_cpu"]
        peak = 1e12 * inputs["tflops_cpu"] * engine.threads
    seconds = inputs.sizes[label].active * flops / peak + jobs * inputs["start_s"]
    return seconds / 3600, gpus


def get_dtype(inputs: PlanInputs, rule: str, label: str) -> str:
    """Number format in which a rule computes."""
    warm_up = list_models(inputs.experiment)[label].warm_up
    if rule == WARM_UP and warm_up:
        return warm_up.train.dtype
    return inputs.experiment.train.dtype if rule == TRAIN else inputs.experiment.engine.dtype


def estimate_trace_bytes(inputs: PlanInputs, tokens: Tokens, sharded: bool) -> float:
    """Disk of a trace file and of its shards; a file of scores has the text of its traces, which are read twice."""
    return (tokens.written * inputs["bytes_per_token"] or tokens.read * 2) * (2 if sharded else 1)


def estimate_model_bytes(inputs: PlanInputs, label: str, options: Train) -> float:
    """Disk of a trained model."""
    return inputs.sizes[label].total * (2 if options.dtype == "bfloat16" else 4)
