"""Where a run keeps its files: path patterns below results/<run>/, shared by the workflow and all readers of a run.

TRACES.format(teacher="default", teacher_seed=0)    # traces/default/teacher_seed0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Seed = TypeVar("Seed")

TRACES = "traces/{teacher}/teacher_seed{teacher_seed}"
"""Trace files of one teacher and one teacher sampling seed (names: heal.trace_files)."""

CURRICULUM = "curricula/{teacher}/teacher_seed{teacher_seed}/{student}/{method}"
"""Training data of one method for one student."""

STUDENT = "students/{teacher}/teacher_seed{teacher_seed}/{student}/{method}/seed{seed}"
"""A trained student: model/, loss.csv, exposures.csv, training.json, README.md (its model card), hub_results.yaml."""

STUDENT_EVALS = "evals/{teacher}/teacher_seed{teacher_seed}/{student}/{method}/seed{seed}"
"""Answers of a trained student, one folder per benchmark."""

TEACHER_EVALS = "evals/{teacher}/teacher"
"""Answers of a teacher."""

REPEATED_EVALS = "evals/{teacher}/repeated"
"""Many answers of a teacher to each hard question, for the gates."""

UNTRAINED_EVALS = "evals/students/{student}"
"""Answers of a student before training."""


def group_seeds(seeds: Sequence[Seed], seeds_per_job: int) -> list[Sequence[Seed]]:
    """The training seeds of each job: consecutive ones. More seeds change no group but the last, if it is not full."""
    return [seeds[first : first + seeds_per_job] for first in range(0, len(seeds), seeds_per_job)]
