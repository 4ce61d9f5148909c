"""Train students with TRL on a curriculum, exposure by exposure in the order that the PACE schedule gives.

Reads curriculum.jsonl (one training conversation per row) and a model. Writes to --out: model/ (safetensors, tokenizer,
chat template), loss.csv (every optimizer step), exposures.csv (repeats of each example) and training.json (tokens,
examples left out, one masked example, options, versions; no times, so equal runs give equal files). Several seeds are
trained one after the other in one process, each with the bytes that it gets alone; their files appear when all are
trained. A killed training resumes: finished students and the last complete checkpoint of the next one are in a hidden
folder next to each --out. With several GPUs it starts itself once per GPU (torchrun) and shards each student over them
(FSDP).

    heal train --config config/config.yaml --student tiny --method heal --curriculum curriculum.jsonl --seed 0 --out DIR
    heal train … --seed 0 --out DIR0 --seed 1 --out DIR1               # two students
    heal train --model.path PATH --curriculum curriculum.jsonl --schedule cumulative --options.max-steps 300 --out DIR
    heal train … --distillation.beta 0.5 --teacher-model.path PATH     # GKD: learn from the teacher's probabilities
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from heal.command import Command, Section, check_pairs, parse_command
from heal.config.experiment import Schedule
from heal.config.models import Distillation, ModelSource
from heal.config.models import Train as TrainOptions
from heal.engines import gpu_lease, reaper
from heal.errors import HealError, exit_with_errors
from heal.outcome import Outcome, record_outcome
from heal.provenance import record_run
from heal.records import Row
from heal.training.processes import IS_MAIN, PROCESSES
from heal.training.student_files import publish_student
from heal.training.trainers import Teaching
from heal.training.training import Training, find_model_folder
from heal.training.training_set import SKIP_REASONS

VERSION = 4
"""Raise it when the bytes of the output change for the same input."""


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
    seed: list[int] = [0]
    """Training seed of each student (once per student)."""
    gpus: int = 1
    """GPUs to lease, where there are any."""
    out: list[Path]
    """Folder of each student, in the order of its seeds (once per student)."""

    def run(self) -> None:
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        students = self.list_students()
        # With several processes, the one that started them (`launch`) holds the GPUs.
        gpus = gpu_lease.list_visible_gpus() if PROCESSES > 1 else gpu_lease.lease(self.gpus)
        gpu_lease.check_torch(gpus)
        if len(gpus) > 1 and PROCESSES == 1:
            launch(len(gpus))
        else:
            self.train(students, len(gpus))

    def list_students(self) -> list[tuple[int, Path]]:
        """Seed and folder of each student. Raises HealError where they do not match."""
        check_pairs("--seed", self.seed, self.out)
        if len(set(self.out)) < len(self.out):
            raise HealError("two students have one folder", where="--out", fix="give each student its own")
        return list(zip(self.seed, self.out, strict=True))

    def train(self, students: list[tuple[int, Path]], gpus: int) -> None:
        """Trains in this process. Finished students stay hidden until all are, so that a killed job keeps them."""
        training = Training(
            self.curriculum,
            self.model,
            self.options,
            self.schedule,
            threads=self.threads,
            teaching=self.find_teaching(),
        )
        for seed, out in students:
            if training.is_finished(seed, out):
                continue
            with self.record_student(seed, out, gpus) as facts:
                facts |= summarize_for_provenance(training.train_student(seed, out))
        if IS_MAIN:
            for seed, out in students:
                publish_student(training.locate_finished(seed, out), out)

    @contextmanager
    def record_student(self, seed: int, out: Path, gpus: int) -> Iterator[dict[str, Any]]:
        """Provenance of one student; its first training of a call includes what all of them need."""
        options = self.model_copy(update={"seed": [seed], "out": [out]}).describe_options()
        facts: dict[str, Any] = {"options": options, "seeds": [seed], "gpus": gpus}
        if not IS_MAIN:
            yield facts
            return
        with record_run(out, "train", VERSION, facts):
            yield facts

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

    summary: the content of training.json; {} in all but the main process.
    """
    if not summary:
        return {}
    skipped = {}
    for reason in SKIP_REASONS:
        if summary[f"left_out_{reason}"]:
            skipped[reason] = len(summary[f"left_out_{reason}"])
    facts = {"tokens": {"trained": summary["tokens"]["total"]}, "requests": summary["examples"], "skipped": skipped}
    return facts | record_outcome(Outcome(summary["examples"], reasons=skipped))


def launch(processes: int) -> None:
    """Starts this command once per GPU. Raises HealError where it fails."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    flags = sys.argv[2:] if sys.argv[1:2] == ["train"] else sys.argv[1:]
    reaper.guard_children()  # no training goes on where this process is killed
    ended = subprocess.run([*torchrun, "-m", "heal.training.train", *flags])
    if ended.returncode:
        fix = "see the messages above"
        raise HealError(f"{processes} processes of training failed", where="heal train", fix=fix)


def train(
    curriculum: Path,
    model: ModelSource,
    options: TrainOptions,
    schedule: str,
    seed: int,
    out: Path,
    *,
    teaching: Teaching | None = None,
) -> Row:
    """Trains one student on one thread and writes `out`; returns the content of training.json.

    Raises HealError as Training.
    """
    training = Training(curriculum, model, options, schedule, teaching=teaching)
    summary = training.train_student(seed, out)
    publish_student(training.locate_finished(seed, out), out)
    return summary


def main() -> None:
    parse_command(Train, "train", sys.argv[1:]).run()


if __name__ == "__main__":
    exit_with_errors(main)
