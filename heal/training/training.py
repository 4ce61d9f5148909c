"""Train students that differ in seed and folder only: curriculum, tokens and model identity are prepared once."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from heal.config.models import ModelSource
from heal.config.models import Train as TrainOptions
from heal.end_token import find_end_token
from heal.engines.base import check_safetensors
from heal.errors import HealError
from heal.method.pace import count_passes, order_exposures
from heal.provenance import list_package_versions
from heal.records import Row
from heal.training import tracking
from heal.training.checkpoints import dump_settings, locate_checkpoints, remove_unfinished
from heal.training.conversations import check_vocabularies, read_curriculum
from heal.training.fit import FitSetup, fit
from heal.training.processes import IS_MAIN, PROCESSES
from heal.training.student_files import FINISHED, format_exposures, format_losses, is_whole, write_student
from heal.training.trainers import Exposures, Teaching
from heal.training.training_set import TrainingSet, count_stages, select_examples

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""What is downloaded of a hub model."""


@dataclass(frozen=True)
class Training:
    """What the students of one call share. What only a training needs is read when the first student needs it.

    Raises HealError, before training, where curriculum, model or options cannot be used.
    """

    curriculum: Path
    model: ModelSource
    options: TrainOptions
    schedule: str
    threads: int = 1
    teaching: Teaching | None = None

    def __post_init__(self) -> None:
        os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        check_options(self.options, self.teaching)
        tracking.check(self.options.report_to, "--options.report-to")

    @cached_property
    def conversations(self) -> list[Row]:
        return read_curriculum(self.curriculum)

    @cached_property
    def folder(self) -> Path:
        """Of the model that training starts from."""
        return find_model_folder(self.model)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything but seed and examples that decides the weights, by its name in training.json."""
        settings: dict[str, Any] = {
            "options": self.options,
            "schedule": self.schedule,
            "threads": self.threads,
            "model": hash_files(self.folder),
            "versions": list_package_versions(),
        }
        if self.model.template_options:
            settings["template_options"] = dict(self.model.template_options)
        if self.teaching:
            settings["distillation"] = self.teaching.options
            settings["teacher"] = hash_files(self.teaching.folder)
        return settings

    @cached_property
    def tokenizer(self) -> Any:
        return load_student_tokenizer(self.folder, self.model, self.teaching)

    @cached_property
    def training_set(self) -> TrainingSet:
        return select_examples(
            self.tokenizer,
            self.conversations,
            self.options.max_length,
            curriculum=str(self.curriculum),
            model=str(self.folder),
            template_options=self.model.template_options,
        )

    def locate_checkpoints(self, seed: int, out: Path) -> Path:
        """The hidden folder of one student."""
        return locate_checkpoints(out, self.conversations, self.settings | {"seed": seed})

    def locate_finished(self, seed: int, out: Path) -> Path:
        """Where one student is kept until every student of the call is trained."""
        return self.locate_checkpoints(seed, out) / FINISHED

    def is_finished(self, seed: int, out: Path) -> bool:
        return is_whole(self.locate_finished(seed, out))

    def train_student(self, seed: int, out: Path) -> Row:
        """Trains one student, resuming from its last checkpoint, and keeps it in its hidden folder.

        Returns the content of training.json, {} in all but the main process.
        """
        import torch

        torch.set_num_threads(self.threads)
        training_set, options = self.training_set, self.options
        stages = [row["stage"] for row in training_set.rows]
        order, step_stages = order_exposures(
            stages,
            schedule=self.schedule,
            max_steps=options.max_steps,
            epochs=options.epochs,
            batch_size=options.batch_size,
            seed=seed,
        )
        weights = training_set.compute_weights(order)
        if self.teaching and (weights != 1).any():
            fix = "give every example weight 1"
            raise HealError("distillation does not support weights", where=str(self.curriculum), fix=fix)
        checkpoints = self.locate_checkpoints(seed, out)
        exposures = Exposures(training_set.examples, weights.tolist(), order)
        setup = FitSetup(
            self.folder, self.tokenizer, exposures, step_stages, options, seed, checkpoints, out, self.teaching
        )
        with tracking.open_run(out):
            student, log = fit(setup)
        if not IS_MAIN:
            return {}
        repeats = np.bincount(order, minlength=len(training_set.rows))
        summary = dump_settings(self.settings | {"seed": seed}) | training_set.describe(self.tokenizer, repeats)
        summary |= {"steps": len(step_stages), "steps_per_stage": count_stages(step_stages.tolist())}
        summary["passes_per_stage"] = count_passes(stages, self.schedule, step_stages, options.batch_size)
        finished = checkpoints / FINISHED
        shutil.rmtree(finished, ignore_errors=True)
        student.save_pretrained(finished / "model")
        self.tokenizer.save_pretrained(finished / "model")
        write_student(finished, format_losses(log, step_stages), format_exposures(training_set, repeats), summary)
        remove_unfinished(checkpoints, keep=FINISHED)
        return summary


def check_options(options: TrainOptions, teaching: Teaching | None) -> None:
    """Raises HealError for options that do not fit the number of GPUs."""
    if options.batch_size % PROCESSES:
        problem = f"batch_size {options.batch_size} is no multiple of {PROCESSES} GPUs"
        raise HealError(problem, where="--options.batch-size", fix="change batch_size or the student's gpus")
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
    check_safetensors(folder)
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


def hash_files(folder: Path) -> str:
    """Identity of a model: 16 hex digits of names and contents of its files."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            with open(file, "rb") as stream:
                digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
