"""The files of a trained student: kept complete in a hidden folder first, moved into place with those of its call."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heal import records
from heal.records import Row
from heal.training.checkpoints import remove_checkpoints
from heal.training.training_set import TrainingSet

FINISHED = "student"
"""Folder of a finished student, next to its checkpoints."""
SUMMARY = "training.json"
"""Written last, and moved last: marks a complete student in its place."""
STUDENT_FILES = ("model", "loss.csv", "exposures.csv", SUMMARY)


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


def write_student(folder: Path, losses: str, exposure_counts: str, summary: Row) -> None:
    """Writes the files next to the finished model, `folder`/model."""
    records.write_text(folder / "loss.csv", losses)
    records.write_text(folder / "exposures.csv", exposure_counts)
    records.write_json(folder / SUMMARY, summary)


def is_whole(folder: Path) -> bool:
    """Whether a student's folder has all its files: a call that is killed while it moves them leaves some."""
    return all((folder / name).exists() for name in STUDENT_FILES)


def publish_student(finished: Path, out: Path) -> None:
    """Moves a finished student into place and removes its checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)
    shutil.rmtree(out / "model", ignore_errors=True)
    for name in STUDENT_FILES:
        (finished / name).replace(out / name)
    remove_checkpoints(out)
