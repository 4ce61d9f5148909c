"""Notes on how often each method's students passed over the sets of the PACE stages.

Reads training.json of every student. Equal optimizer steps mean few passes over large sets; below one pass some
examples of a stage were never shown.
"""

from __future__ import annotations

from itertools import product

from evals.results import Run, read_json
from evals.tables.notes import Note, Topic

STAGES = {"1": "I", "2": "II", "3": "III"}


def list_pass_notes(run: Run) -> list[Note]:
    """The passes of every method, and a warning for a stage with less than one; [] where no student recorded them."""
    by_method, warnings = [], []
    for method in run.methods:
        stages = collect_passes(run, method)
        if stages:
            texts = [f"{STAGES[stage]} {format_range(passes)}" for stage, passes in sorted(stages.items())]
            by_method.append(f"{method} {', '.join(texts)}")
        for stage, passes in sorted(stages.items()):
            if min(passes) < 1:
                warnings.append(f"{method} stage {STAGES[stage]} ({min(passes):.2f})")
    notes = []
    if by_method:
        notes.append(Note(Topic.PASSES, f"Passes over each stage's set: {'; '.join(by_method)}."))
    if warnings:
        text = (
            f"Less than one pass over a stage's set, so some of its examples were never shown: {', '.join(warnings)}."
        )
        notes.append(Note(Topic.FEW_PASSES, text))
    return notes


def collect_passes(run: Run, method: str) -> dict[str, list[float]]:
    """Stage → passes of each of a method's students; {} for students that were trained before passes were recorded."""
    stages: dict[str, list[float]] = {}
    for teacher, student, (teacher_seed, seed) in product(run.teachers, run.students, run.list_seeds()):
        folder = run.get_student_folder(teacher, teacher_seed, student, method, seed)
        for stage, passes in read_json(folder / "training.json").get("passes_per_stage", {}).items():
            stages.setdefault(stage, []).append(passes)
    return stages


def format_range(values: list[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"
