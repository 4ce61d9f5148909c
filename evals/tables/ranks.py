"""Ranks of the methods that the data allow; part of `heal tabulate-details`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

from evals import stats
from evals.pooled_model import Contrast
from evals.results import TEACHER, UNTRAINED, Run
from evals.tables.comparison_rows import FALSE_DISCOVERY_RATE, HIGHER, LOWER, build_comparison, group_by_student
from evals.tables.contrasts import MethodGroup
from evals.tables.hardware import list_hardware_notes
from evals.tables.notes import Note, Topic
from evals.tables.render import TextTable, format_markdown, format_number
from evals.tables.run_notes import (
    describe_replicates,
    has_enough_to_rank,
    list_ranking_notes,
    list_world_notes,
    make_run_note,
)


@dataclass(frozen=True)
class RankRow:
    """The ranks that the data allow one method on one benchmark or stratum."""

    teacher: str
    student: str
    method: str
    benchmark: str
    mean: float
    rank_best: int | None
    rank_worst: int | None
    why_not: str
    """Why there are no ranks; empty where there are."""


def build_ranks(run: Run, reference: str) -> list[RankRow]:
    """Best and worst rank that the data allow each method; empty ranks where there are too few seeds.

    A method is behind another where their difference says so: to the reference by the comparison's own verdict, of all
    other pairs by p adjusted over these pairs.
    """
    n_better, n_worse = count_certain_differences(run, reference)
    why_not = "" if has_enough_to_rank(run) else f"cannot say: {describe_replicates(run)} are too few to rank"
    rows = []
    for row in build_comparison(run, reference):
        if row.method in (TEACHER, UNTRAINED):
            continue
        model = (row.teacher, row.student, row.benchmark, row.method)
        rank = RankRow(
            teacher=row.teacher,
            student=row.student,
            method=row.method,
            benchmark=row.benchmark,
            mean=row.mean,
            rank_best=None if why_not else 1 + n_better[model],
            rank_worst=None if why_not else len(run.methods) - n_worse[model],
            why_not=why_not,
        )
        rows.append(rank)
    return rows


Model = tuple[str, str, str, str]
"""(teacher, student, benchmark, method)."""


def count_certain_differences(run: Run, reference: str) -> tuple[Counter[Model], Counter[Model]]:
    """(number of better methods, number of worse methods) of each method."""
    ordered: list[tuple[Model, Model]] = []
    """(worse, better)."""
    for row in build_comparison(run, reference):
        model = (row.teacher, row.student, row.benchmark, row.method)
        reference_model = (row.teacher, row.student, row.benchmark, reference)
        if row.verdict == LOWER:
            ordered.append((model, reference_model))
        elif row.verdict == HIGHER:
            ordered.append((reference_model, model))
    ordered += list_other_differences(run, reference)
    n_better: Counter[Model] = Counter()
    n_worse: Counter[Model] = Counter()
    for worse, better in ordered:
        n_better[worse] += 1
        n_worse[better] += 1
    return n_better, n_worse


def list_other_differences(run: Run, reference: str) -> list[tuple[Model, Model]]:
    """(worse, better) of the pairs without the reference, at a false discovery rate over all of them."""
    pairs: list[tuple[Model, Model]] = []
    contrasts: list[Contrast] = []
    others = [method for method in run.methods if method != reference]
    for teacher, student in product(run.teachers, run.students):
        for benchmark in run.list_benchmarks(teacher):
            group = MethodGroup(run, teacher, student, benchmark, run.tested_methods)
            for a, b in combinations(others, 2):
                contrast, _ = group.compare(a, b)
                if contrast:
                    pairs.append(((teacher, student, benchmark, a), (teacher, student, benchmark, b)))
                    contrasts.append(contrast)
    adjusted = stats.compute_adjusted_p([contrast.p for contrast in contrasts])
    ordered = []
    for (a_model, b_model), contrast, p in zip(pairs, contrasts, adjusted, strict=True):
        if p <= FALSE_DISCOVERY_RATE:
            ordered.append((b_model, a_model) if contrast.diff > 0 else (a_model, b_model))
    return ordered


def format_ranks(rows: Sequence[RankRow], run: Run) -> str:
    """The ranks as Markdown."""
    tables = []
    for (teacher, student, benchmark), group in group_by_student(rows).items():
        cells = []
        for row in group:
            ranks = row.why_not or f"{row.rank_best} to {row.rank_worst}"
            cells.append([row.method, format_number(row.mean, 3), ranks])
        heading = f"{benchmark}; teacher {teacher}, student {student}"
        tables.append(TextTable(heading, ["method", "mean", "rank"], cells, frozenset({0, 2})))
    scope = "the teacher sampling seed and training seeds" if run.teacher_seeds > 1 else "training seeds"
    text = (
        "rank: the best and the worst that the data allow. Against the reference the comparison's verdict counts; two "
        f"other methods are ordered by their difference over {describe_replicates(run)}, p adjusted over all such "
        f"pairs (Benjamini-Hochberg, 0.05). It covers {scope}, on these questions."
    )
    notes = [make_run_note(run), Note(Topic.RANKING, text), *list_ranking_notes(run), *list_world_notes(run)]
    notes += list_hardware_notes(run)
    return format_markdown("Ranks", tables, notes)
