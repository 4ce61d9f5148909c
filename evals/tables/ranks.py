"""Ranks of the methods that the data allow; part of `heal tabulate-details`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

from evals import stats
from evals.results import Run
from evals.tables.comparison import FALSE_DISCOVERY_RATE, get_replicates, group_by_student
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


def build_ranks(run: Run) -> list[RankRow]:
    """Best and worst rank that the data allow each method; empty ranks where there are too few seeds.

    A method is behind another where their paired t says so, p adjusted over all pairs of the table.
    """
    n_better, n_worse = count_certain_differences(run)
    why_not = "" if has_enough_to_rank(run) else f"cannot say: {describe_replicates(run)} are too few to rank"
    rows = []
    for teacher, student in product(run.teachers, run.students):
        for benchmark, method in product(run.list_benchmarks(teacher), run.methods):
            model = (teacher, student, benchmark, method)
            row = RankRow(
                teacher=teacher,
                student=student,
                method=method,
                benchmark=benchmark,
                mean=float(run.get_student_scores(teacher, student, method, benchmark).mean()),
                rank_best=None if why_not else 1 + n_better[model],
                rank_worst=None if why_not else len(run.methods) - n_worse[model],
                why_not=why_not,
            )
            rows.append(row)
    return rows


Model = tuple[str, str, str, str]
"""(teacher, student, benchmark, method)."""


def count_certain_differences(run: Run) -> tuple[Counter[Model], Counter[Model]]:
    """(number of better methods, number of worse methods) of each method, at a false discovery rate over all pairs."""
    tests: list[tuple[Model, Model, stats.TTest]] = []
    for teacher, student in product(run.teachers, run.students):
        for benchmark, (a, b) in product(run.list_benchmarks(teacher), combinations(run.methods, 2)):
            test = compare_pair(run, teacher, student, benchmark, a, b)
            tests.append(((teacher, student, benchmark, a), (teacher, student, benchmark, b), test))
    adjusted = stats.compute_adjusted_p([test.p for _, _, test in tests])
    n_better: Counter[Model] = Counter()
    n_worse: Counter[Model] = Counter()
    for (a_model, b_model, test), p in zip(tests, adjusted, strict=True):
        if p <= FALSE_DISCOVERY_RATE:
            better, worse = (a_model, b_model) if test.diff > 0 else (b_model, a_model)
            n_better[worse] += 1
            n_worse[better] += 1
    return n_better, n_worse


def compare_pair(run: Run, teacher: str, student: str, benchmark: str, a: str, b: str) -> stats.TTest:
    """Method a minus method b. p is NaN where their students answered on different engines."""
    a_SQ = get_replicates(run.get_student_scores(teacher, student, a, benchmark))
    b_SQ = get_replicates(run.get_student_scores(teacher, student, b, benchmark))
    test = stats.compute_paired_t(a_SQ, b_SQ)
    if run.has_mixed_engines(teacher, student, (a, b), benchmark):
        return stats.TTest(test.diff, math.nan, math.nan, math.nan, test.dof)
    return test


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
        "rank: the best and the worst that the data allow. A method is behind another where the paired t over "
        f"{describe_replicates(run)} says so, p adjusted over all pairs of the table (Benjamini-Hochberg, 0.05). It "
        f"covers {scope}, on these questions."
    )
    notes = [make_run_note(run), Note(Topic.RANKING, text), *list_ranking_notes(run), *list_world_notes(run)]
    notes += list_hardware_notes(run)
    return format_markdown("Ranks", tables, notes)
