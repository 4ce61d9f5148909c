"""pass@k and maj@k of every model on every benchmark with several repeats; part of `heal tabulate-details`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evals import stats
from evals.answers import Answers
from evals.results import TEACHER, UNTRAINED, Run
from evals.tables.comparison_rows import group_by_student
from evals.tables.contrasts import estimate_mean
from evals.tables.hardware import list_hardware_notes
from evals.tables.notes import Note, Topic
from evals.tables.render import TextTable, format_interval, format_markdown
from evals.tables.run_notes import describe_mean_interval, list_world_notes, make_run_note

MEASURES = (
    "pass@k: at least one of k answers is right. maj@k: the most frequent of k answers is right. Both are means over "
    "random subsets of k of the repeats (unbiased: Chen et al. 2021), maj@k over random ties too.",
    "An answer without a readable result casts no vote, nor does a right one that the reading rejects for its form.",
)


@dataclass(frozen=True)
class AtKRow:
    """pass@k or maj@k of one model on one benchmark."""

    teacher: str
    student: str
    method: str
    benchmark: str
    measure: str
    """pass | maj."""
    k: int
    mean: float
    ci_low: float
    ci_high: float
    ci_covers: str
    n_seeds: int
    n_teacher_seeds: int
    n_questions: int
    repeats: int


@dataclass(frozen=True)
class ModelAnswers:
    """The answers files of one row's model, teacher seed by teacher seed."""

    teacher: str
    student: str
    method: str
    paths: Sequence[Path]
    n_teacher_seeds: int = 0
    n_seeds: int = 0
    """Both 0 where no student was trained."""


def build_at_k(run: Run) -> list[AtKRow]:
    """pass@k and maj@k of every model on every benchmark with several repeats."""
    rows = []
    for benchmark in run.benchmarks:
        if run.count_repeats(benchmark) > 1:
            for model in list_models(run, benchmark):
                rows += build_model_at_k(run, model, benchmark)
    return rows


def list_models(run: Run, benchmark: str) -> Iterator[ModelAnswers]:
    """The teachers, each followed by its untrained and trained students."""
    for teacher in run.teachers:
        yield ModelAnswers(teacher, "", TEACHER, [run.get_teacher_path(teacher, benchmark)])
        for student in run.students:
            yield ModelAnswers(teacher, student, UNTRAINED, [run.get_untrained_path(student, benchmark)])
            for method in run.methods:
                paths = run.list_student_paths(teacher, student, method, benchmark)
                yield ModelAnswers(teacher, student, method, paths, run.teacher_seeds, run.training_seeds)


def build_model_at_k(run: Run, model: ModelAnswers, benchmark: str) -> list[AtKRow]:
    """One model's rows: every measure at every k."""
    repeats = run.count_repeats(benchmark)
    rows = []
    for measure, k in product(("pass", "maj"), list_k(repeats)):
        values = []
        for path in model.paths:
            values.append(compute_at_k(run.load_answers(path, benchmark), measure, k))
        values_TSQ = np.reshape(values, (max(model.n_teacher_seeds, 1), max(model.n_seeds, 1), -1))
        interval = estimate_mean(values_TSQ)
        row = AtKRow(
            teacher=model.teacher,
            student=model.student,
            method=model.method,
            benchmark=benchmark,
            measure=measure,
            k=k,
            mean=interval.mean,
            ci_low=interval.low,
            ci_high=interval.high,
            ci_covers=interval.covers,
            n_seeds=model.n_seeds,
            n_teacher_seeds=model.n_teacher_seeds,
            n_questions=values_TSQ.shape[-1],
            repeats=repeats,
        )
        rows.append(row)
    return rows


def list_k(repeats: int) -> list[int]:
    """The k in the table: powers of two, and all repeats."""
    return sorted({2**i for i in range(repeats.bit_length())} | {repeats})


def compute_at_k(answers: Answers, measure: str, k: int) -> NDArray[np.float64]:
    """pass@k or maj@k of each question, shape [Q]."""
    values = []
    for votes_R, scores_R in zip(answers.votes_QR, answers.scores_QR, strict=True):
        if measure == "pass":
            values.append(stats.estimate_pass_at_k(len(scores_R), int(scores_R.sum()), k))
        else:
            values.append(stats.estimate_majority_at_k(votes_R, scores_R, k))
    return np.array(values)


def format_at_k(rows: Sequence[AtKRow], run: Run) -> str:
    """pass@k and maj@k as Markdown: per teacher, student and benchmark a row per model, a column per measure."""
    tables = []
    for (teacher, student, benchmark), group in group_by_student(rows).items():
        header = ["method"]
        cells: dict[str, list[str]] = {}
        for row in group:
            label = f"{row.measure}@{row.k}"
            if label not in header:
                header.append(label)
            interval = format_interval(row.mean, row.ci_low, row.ci_high)
            cells.setdefault(row.method, [row.method]).append(interval)
        heading = f"{benchmark}: {group[0].n_questions} questions, {group[0].repeats} repeats"
        tables.append(TextTable(f"{heading}; teacher {teacher}, student {student}", header, list(cells.values())))
    notes = [make_run_note(run)]
    for text in MEASURES:
        notes.append(Note(Topic.MEASURES, text))
    interval_note = describe_mean_interval(run)
    notes.append(Note(Topic.INTERVALS, interval_note[0].upper() + interval_note[1:]))
    if not tables:
        notes.insert(0, Note(Topic.MEASURES, "No benchmark of this run has repeats."))
    notes += [*list_world_notes(run), *list_hardware_notes(run)]
    return format_markdown("pass@k and maj@k", tables, notes)
