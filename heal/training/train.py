"""Train one student with TRL on a curriculum, exposure by exposure in the order that its PACE schedule gives.

Reads curriculum.jsonl (one training conversation per row) and a model. Writes to --out: model/ (safetensors, tokenizer,
chat template), loss.csv (every optimizer step), exposures.csv (repeats of each example) and training.json (tokens,
examples left out, one masked example, options, versions; no times, so equal runs give equal files). A killed training
resumes from its last complete checkpoint, in a hidden folder next to --out. With several GPUs it starts itself once per
GPU (torchrun) and shards the student over them (FSDP).

    heal train --config config/config.yaml --student tiny --method heal --curriculum curriculum.jsonl --seed 0 --out DIR
    heal train --model.path PATH --curriculum curriculum.jsonl --schedule cumulative --options.max-steps 300 --out DIR
    heal train … --distillation.beta 0.5 --teacher-model.path PATH     # GKD: learn from the teacher's probabilities
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from heal import records
from heal.command import Command, Section, parse_command
from heal.config.experiment import Schedule
from heal.config.models import Distillation, ModelSource
from heal.config.models import Train as TrainOptions
from heal.end_token import find_end_token
from heal.engines import gpu_lease, reaper
from heal.errors import HealError, exit_with_errors
from heal.method.pace import order_exposures
from heal.provenance import list_package_versions, record_run
from heal.records import Row
from heal.training import tracking
from heal.training.checkpoints import dump_settings, locate_checkpoints, remove_checkpoints
from heal.training.conversations import check_vocabularies, read_curriculum
from heal.training.fit import FitSetup, fit
from heal.training.processes import IS_MAIN, PROCESSES
from heal.training.trainers import Teaching
from heal.training.training_set import SKIP_REASONS, TrainingSet, count_stages, select_examples

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""What is downloaded of a hub model."""


class Train(Command):
    curriculum: Path
    """Training conversations, curriculum.jsonl."""
    student: str | None = None
    """Name of the student in the config."""
    method: str | None = None
    """Name of the method in the config."""
    teacher: str | None = None
    """Name of the teacher in the config, for a method that distills its probabilities."""
    role: Literal["teachers", "students"] | None = None
    """For a warm-up: the section of the config that has the model."""
    name: str | None = None
    """For a warm-up: the model's name in that section."""
    model: Annotated[ModelSource, Section("warm_up_bases.{role}.{name}", "students.{student}")]
    """The model that training starts from."""
    options: Annotated[TrainOptions, Section("warm_up_training.{role}.{name}", "training.{method}")] = TrainOptions()
    """How it is trained."""
    schedule: Annotated[Schedule, Section("schedules.{method}")] = "cumulative"
    """How PACE's stages follow each other."""
    distillation: Annotated[Distillation | None, Section("distillations.{method}")] = None
    """How the student learns from the teacher's probabilities."""
    teacher_model: Annotated[ModelSource | None, Section("teachers.{teacher}")] = None
    """For distillation: the teacher's weights."""
    threads: Annotated[int, Section("engine.threads")] = 1
    """Threads on the CPU."""
    seed: int = 0
    """Training seed."""
    gpus: int = 1
    """GPUs to lease, where there are any."""
    out: Path
    """The student's folder."""

    def run(self) -> None:
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        if PROCESSES > 1:  # started by `launch`, which holds the GPUs and writes the provenance
            gpu_lease.check_torch(gpu_lease.list_visible_gpus())
            self.train()
            return
        gpus = gpu_lease.lease(self.gpus)
        gpu_lease.check_torch(gpus)
        facts: dict[str, Any] = {"options": self.describe_options(), "seeds": [self.seed], "gpus": len(gpus)}
        with record_run(self.out, "train", VERSION, facts):
            summary = launch(len(gpus), self.out) if len(gpus) > 1 else self.train()
            facts |= summarize_for_provenance(summary)

    def train(self) -> Row:
        """Trains in this process; returns the content of training.json."""
        return train(
            self.curriculum,
            self.model,
            self.options,
            self.schedule,
            self.seed,
            self.out,
            threads=self.threads,
            teaching=self.find_teaching(),
        )

    def find_teaching(self) -> Teaching | None:
        """The teacher to distill. Raises HealError where it is missing."""
        if self.distillation is None:
            return None
        if self.teacher_model is None:
            fix = "give --teacher-model.path, or --teacher with --config"
            raise HealError("distillation needs a teacher", where="--teacher-model", fix=fix)
        return Teaching(find_model_folder(self.teacher_model), self.distillation)


def summarize_for_provenance(summary: Row) -> dict[str, Any]:
    """Tokens trained on, examples (`requests`, as other commands count theirs), and examples skipped by reason.

    summary: the content of training.json.
    """
    skipped = {}
    for reason in SKIP_REASONS:
        if summary[f"left_out_{reason}"]:
            skipped[reason] = len(summary[f"left_out_{reason}"])
    return {"tokens": {"trained": summary["tokens"]["total"]}, "requests": summary["examples"], "skipped": skipped}


def launch(processes: int, out: Path) -> Row:
    """Starts this command once per GPU; returns the content of training.json."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    flags = sys.argv[2:] if sys.argv[1:2] == ["train"] else sys.argv[1:]
    reaper.guard_children()  # no training goes on where this process is killed
    ended = subprocess.run([*torchrun, "-m", "heal.training.train", *flags])
    if ended.returncode:
        raise HealError(f"{processes} processes of training failed", where=str(out), fix="see the messages above")
    return json.loads((out / "training.json").read_text())


def train(
    curriculum: str | Path,
    model: ModelSource,
    options: TrainOptions,
    schedule: str,
    seed: int,
    out: Path,
    *,
    threads: int = 1,
    teaching: Teaching | None = None,
) -> Row:
    """Trains one student and writes `out`; returns the content of training.json, {} in all but the main process.

    Raises HealError, before training, where curriculum, model or options cannot be used.
    """
    import torch
    from datasets import Dataset

    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    check_options(options, teaching)
    tracking.check(options.report_to, "--options.report-to")
    tracking.keep_files_in(out)
    conversations, folder = read_curriculum(curriculum), find_model_folder(model)
    torch.set_num_threads(threads)
    tokenizer = load_student_tokenizer(folder, model, teaching)
    training_set = select_examples(
        tokenizer,
        conversations,
        options.max_length,
        curriculum=str(curriculum),
        model=str(folder),
        template_options=model.template_options,
    )
    max_steps = options.count_optimizer_steps(len(training_set.rows))
    stages = [row["stage"] for row in training_set.rows]
    order, step_stages = order_exposures(
        stages, schedule=schedule, max_steps=max_steps, batch_size=options.batch_size, seed=seed
    )
    columns = training_set.build_columns(order)
    if teaching and "weight" in columns:
        fix = "give every example weight 1"
        raise HealError("distillation does not support weights", where=str(curriculum), fix=fix)
    settings = collect_settings(options, schedule, seed, threads, folder, model, teaching)
    checkpoints = locate_checkpoints(out, conversations, settings)
    data = Dataset.from_dict(columns).select(order)
    setup = FitSetup(folder, tokenizer, data, step_stages, options, seed, checkpoints, out, teaching)
    student, log = fit(setup)
    if not IS_MAIN:
        return {}
    repeats = np.bincount(order, minlength=len(training_set.rows))
    summary = dump_settings(settings) | training_set.describe(tokenizer, repeats)
    summary |= {"steps": max_steps, "steps_per_stage": count_stages(step_stages.tolist())}
    finished = checkpoints / "model"
    shutil.rmtree(finished, ignore_errors=True)
    student.save_pretrained(finished)
    tokenizer.save_pretrained(finished)
    write_student(out, finished, format_losses(log, step_stages), format_exposures(training_set, repeats), summary)
    remove_checkpoints(out)
    return summary


def check_options(options: TrainOptions, teaching: Teaching | None) -> None:
    """Raises HealError for options that do not fit the number of GPUs."""
    micro_batch_size = options.micro_batch_size or 1
    if options.batch_size % (PROCESSES * micro_batch_size):
        problem = f"batch_size {options.batch_size} is no multiple of {micro_batch_size} per GPU on {PROCESSES} GPUs"
        fix = "change batch_size or micro_batch_size"
        raise HealError(problem, where="--options.batch-size", fix=fix)
    one_gpu = "set the student's gpus to 1"
    if options.lora and PROCESSES > 1:
        raise HealError("LoRA adapters are trained on one GPU only", where="--options.lora", fix=one_gpu)
    if teaching and PROCESSES > 1:
        raise HealError("distillation runs on one GPU only", where="--distillation", fix=one_gpu)


def find_model_folder(model: ModelSource) -> Path:
    """The model's local folder, downloaded at its revision for a hub id. Raises HealError for an incomplete one."""
    folder = Path(model.path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(model.path, revision=model.revision, allow_patterns=list(MODEL_FILES)))
        except Exception as error:  # network, permission, unknown name: the hub's classes differ between versions
            problem = f"neither a folder nor a model that can be downloaded ({type(error).__name__})"
            fix = "give a local folder, or check the id and the network"
            raise HealError(problem, where=model.path, fix=fix) from None
    for pattern in ("config.json", "tokenizer_config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise HealError(f"no {pattern} in it", where=str(folder), fix="give a complete model folder")
    return folder


def load_student_tokenizer(folder: Path, model: ModelSource, teaching: Teaching | None) -> Any:
    """The student's tokenizer; its EOS is the token that ends a turn. Raises HealError as `find_end_token`, and where
    teacher and student have different vocabularies."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.eos_token = find_end_token(tokenizer, str(folder), model.template_options)
    if teaching:
        teacher_tokenizer = AutoTokenizer.from_pretrained(teaching.folder, local_files_only=True)
        check_vocabularies(teacher_tokenizer, tokenizer, f"{teaching.folder} and {folder}")
    return tokenizer


def collect_settings(
    options: TrainOptions,
    schedule: str,
    seed: int,
    threads: int,
    folder: Path,
    model: ModelSource,
    teaching: Teaching | None,
) -> dict[str, Any]:
    """Everything but the examples that decides the weights, by its name in training.json."""
    settings: dict[str, Any] = {
        "options": options,
        "schedule": schedule,
        "seed": seed,
        "threads": threads,
        "model": hash_files(folder),
        "versions": list_package_versions(),
    }
    if model.template_options:
        settings["template_options"] = dict(model.template_options)
    if teaching:
        settings["distillation"] = teaching.options
        settings["teacher"] = hash_files(teaching.folder)
    return settings


def hash_files(folder: Path) -> str:
    """Identity of a model: 16 hex digits of names and contents of its files."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            with open(file, "rb") as stream:
                digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def format_losses(log: Sequence[dict[str, float]], step_stages: np.ndarray) -> str:
    """loss.csv: one row per optimizer step."""
    rows: list[list[object]] = [["step", "stage", "loss", "learning_rate"]]
    for entry in log:
        stage = step_stages[int(entry["step"]) - 1]
        rows.append([entry["step"], stage, entry["loss"], entry["learning_rate"]])
    return format_csv(rows)


def format_exposures(training_set: TrainingSet, repeats: np.ndarray) -> str:
    """exposures.csv: one row per example."""
    rows: list[list[object]] = [["id", "stage", "origin", "exposures"]]
    for row, count in zip(training_set.rows, repeats, strict=True):
        rows.append([row["id"], row["stage"], row["origin"], count])
    return format_csv(rows)


def format_csv(rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def write_student(out: Path, model: Path, losses: str, exposure_counts: str, summary: Row) -> None:
    """Moves the finished model into place and writes the files next to it.

    training.json is written last and marks a complete student.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "training.json").unlink(missing_ok=True)
    shutil.rmtree(out / "model", ignore_errors=True)
    model.rename(out / "model")
    records.write_text(out / "loss.csv", losses)
    records.write_text(out / "exposures.csv", exposure_counts)
    records.write_json(out / "training.json", summary)


def main() -> None:
    parse_command(Train, "train", sys.argv[1:]).run()


if __name__ == "__main__":
    exit_with_errors(main)
