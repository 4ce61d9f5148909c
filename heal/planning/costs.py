"""Estimate what a run costs before anything is spent: jobs, prompts, tokens, GPU-hours, disk and fees, rule by rule.

    heal plan --config config/config.yaml --gpu H100 --price 2.50

Tokens: heal.planning.tokens. Hours: heal.planning.hours. Memory: heal.planning.memory. What none of them knows is an
assumption (heal.planning.assumptions).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from heal.config.models import Train
from heal.planning.hours import Work, count_job_gpus, estimate_seconds
from heal.planning.inputs import PlanInputs, list_models
from heal.planning.memory import (
    BYTES,
    CPU_STAGE_HOST_BYTES,
    estimate_engine_host_memory,
    estimate_training_host_memory,
)
from heal.planning.tokens import (
    Tokens,
    add_tokens,
    count_cuts,
    estimate_answers,
    estimate_greedy_samples,
    estimate_optimizer_steps,
    estimate_trace_tokens,
    estimate_training,
    list_made_files,
)
from heal.run_layout import group_seeds
from heal.trace_files import GUIDED, SAMPLES, TRACE_FILES
from heal.worlds import registry as worlds

WARM_UP, TRAIN = "warm_up_model", "train_student"
EVALUATE_STUDENT, EVALUATE_TEACHER, EVALUATE_UNTRAINED = "evaluate_student", "evaluate_teacher", "evaluate_untrained"
PLAN_CUTS = "plan_cuts"
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
    fees: float = 0.0
    """Of an endpoint, in US dollars."""
    gpus: int = 0
    """Of one job; 0: CPU."""
    host_bytes: float = 0.0
    """Peak of main memory of one job."""


def plan_costs(inputs: PlanInputs) -> list[Task]:
    """Every task that needs a model, and the plan of the cuts, in the order of the workflow."""
    return [
        *plan_warm_ups(inputs),
        *plan_teacher_traces(inputs),
        *plan_cuts(inputs),
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
            size = estimate_model_bytes(inputs, label, options)
            work = Work(label, 1, estimate_training(inputs, conversations), count_job_gpus(inputs, label), options)
            yield estimate_task(inputs, WARM_UP, work, size)


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
            tokens_of_files = [tokens_of[path] for path in files]
            if entry == GUIDED:
                tokens_of_files.append(estimate_greedy_samples(inputs))
            tokens = add_tokens(tokens.scale(experiment.teacher_seeds) for tokens in tokens_of_files)
            jobs = len(files) * experiment.teacher_seeds * (experiment.sampling.shards if entry.sharded else 1)
            disk = estimate_trace_bytes(inputs, tokens, entry.sharded)
            if entry == SAMPLES and model.traces:  # existing traces are read one by one
                prompts = tokens.prompts * experiment.sampling.n
                tokens = estimate_training(inputs, prompts)
            label = f"teachers.{teacher}"
            work = Work(label, jobs, tokens, count_job_gpus(inputs, label))
            yield estimate_task(inputs, entry.rule, work, disk)


def plan_cuts(inputs: PlanInputs) -> Iterator[Task]:
    """The cuts of every GEAR variant, planned on the CPU from the samples of all problems."""
    experiment, trace_files = inputs.experiment, list_made_files(inputs)
    variants = sum(file.rule == PLAN_CUTS for file in trace_files.values())
    samples = estimate_trace_tokens(inputs)[SAMPLES.path]
    for teacher in experiment.teachers if variants else ():
        jobs = variants * experiment.teacher_seeds
        seconds = jobs * samples.written * inputs["cut_s_per_token"]
        disk = jobs * count_cuts(inputs, experiment.gear) * inputs["kept_share"] * inputs["trace_tokens"] * 8
        tokens = samples.scale(jobs)
        yield Task(
            PLAN_CUTS,
            teacher,
            jobs,
            prompts=tokens.prompts,
            tokens_read=tokens.written,
            tokens_written=0.0,
            hours=seconds / 3600,
            gpu_hours=0.0,
            disk_bytes=disk,
            host_bytes=CPU_STAGE_HOST_BYTES,
        )


def plan_student_traces(inputs: PlanInputs) -> Iterator[Task]:
    """The trace files of every untrained student, once per teacher and teacher sampling seed."""
    experiment = inputs.experiment
    repeats = len(experiment.teachers) * experiment.teacher_seeds
    trace_files, tokens_of = list_made_files(inputs), estimate_trace_tokens(inputs)
    for student in experiment.students:
        for entry in TRACE_FILES:
            files = [path for path, file in trace_files.items() if file.rule == entry.rule]
            if entry.made_by == "student" and files:
                tokens = add_tokens(tokens_of[path].scale(repeats) for path in files)
                jobs = len(files) * repeats * (experiment.sampling.shards if entry.sharded else 1)
                disk = estimate_trace_bytes(inputs, tokens, entry.sharded)
                label = f"students.{student}"
                work = Work(label, jobs, tokens, count_job_gpus(inputs, label))
                yield estimate_task(inputs, entry.rule, work, disk)


def plan_students(inputs: PlanInputs) -> Iterator[Task]:
    """Training and answers of every student, and the answers of the untrained ones."""
    experiment, answers = inputs.experiment, estimate_answers(inputs)
    samplings = len(experiment.teachers) * experiment.teacher_seeds
    repeats = samplings * experiment.training_seeds
    students = repeats * len(inputs.methods)
    groups = group_seeds(range(experiment.training_seeds), experiment.seeds_per_job)
    jobs = samplings * len(groups) * len(inputs.methods)
    conversations = 0
    for name in inputs.methods:
        batch_size = inputs.run_config.get_training(name).batch_size
        conversations += repeats * estimate_optimizer_steps(inputs, name) * batch_size
    for student in experiment.students:
        label = f"students.{student}"
        size = estimate_model_bytes(inputs, label, experiment.train)
        tokens = estimate_training(inputs, conversations)
        work = Work(label, jobs, tokens, count_job_gpus(inputs, label), experiment.train)
        yield estimate_task(inputs, TRAIN, work, students * size)
        gpus = count_job_gpus(inputs, label, evaluates=True)
        for rule, count, models in ((EVALUATE_STUDENT, jobs, students), (EVALUATE_UNTRAINED, 1, 1)):
            disk = ANSWER_BYTES_PER_TOKEN * models * answers.written
            yield estimate_task(inputs, rule, Work(label, count, answers.scale(models), gpus), disk)


def plan_teacher_answers(inputs: PlanInputs) -> Iterator[Task]:
    """The answers of every teacher."""
    answers = estimate_answers(inputs)
    for teacher in inputs.experiment.teachers:
        label = f"teachers.{teacher}"
        disk = ANSWER_BYTES_PER_TOKEN * answers.written
        work = Work(label, 1, answers, count_job_gpus(inputs, label, evaluates=True))
        yield estimate_task(inputs, EVALUATE_TEACHER, work, disk)


def estimate_task(inputs: PlanInputs, rule: str, work: Work, disk_bytes: float) -> Task:
    """All jobs of a rule with one model, with their hours or fees."""
    model, tokens = list_models(inputs.experiment)[work.label], work.tokens
    hours, fees = 0.0, 0.0
    if model.endpoint:
        fees = (tokens.read * model.endpoint.input_price + tokens.written * model.endpoint.output_price) / 1e6
    else:
        hours = estimate_seconds(inputs, work) / 3600
    return Task(
        rule,
        work.label.partition(".")[2],
        work.jobs,
        tokens.prompts,
        tokens.read,
        tokens.written,
        hours,
        hours * work.gpus,
        disk_bytes,
        fees,
        work.gpus,
        estimate_host_memory(inputs, work),
    )


def estimate_host_memory(inputs: PlanInputs, work: Work) -> float:
    """Peak of main memory of one job."""
    size, shape = inputs.sizes[work.label], inputs.shapes[work.label]
    if list_models(inputs.experiment)[work.label].endpoint:
        return CPU_STAGE_HOST_BYTES
    if work.train:
        return estimate_training_host_memory(size, shape, work.train, work.gpus)
    length = inputs["prompt_tokens"] + inputs["trace_tokens"]
    return estimate_engine_host_memory(size, shape, inputs.experiment.engine, work.gpus, length)


def estimate_trace_bytes(inputs: PlanInputs, tokens: Tokens, sharded: bool) -> float:
    """Disk of a trace file and of its shards; a file of scores has the text of its traces, which are read twice."""
    return (tokens.written * inputs["bytes_per_token"] or tokens.read * 2) * (2 if sharded else 1)


def estimate_model_bytes(inputs: PlanInputs, label: str, options: Train) -> float:
    """Disk of a trained model."""
    return inputs.sizes[label].total * BYTES[options.dtype]
