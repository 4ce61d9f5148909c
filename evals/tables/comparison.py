"""Tabulate a comparison: every method's accuracy, its difference to the reference method, and its tokens.

Reads answers.parquet and results.json of teacher, untrained student and every trained student; training.json, the
trace files' token counts, premise.json, problems. Writes --out (csv) and next to it the same name with .md, .tex and
.txt (for terminals), and _notes.json. Contains no times: two clean runs give the same bytes.

    heal tabulate-comparison --config config/config.yaml --comparison main --out results/mini/tables/main.csv
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from evals import stats
from evals.results import TEACHER, UNSOLVED, UNTRAINED, ComparisonCommand, Run, build_methods, read_json
from evals.tables.notes import Topic, get_notes_path, select_notes, write_notes
from evals.tables.render import (
    TextTable,
    format_count,
    format_interval,
    format_markdown,
    format_number,
    format_rows_csv,
    format_tex,
    format_text,
    list_columns,
)
from evals.tables.run_notes import list_comparison_notes, merge_settings
from heal import records
from heal.errors import HealError
from heal.method.base import Method
from heal.provenance import record_run
from heal.registry import list_benchmarks

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""

REFERENCE = "reference"
"""Verdict of the method that the others are compared with."""
CANNOT_SAY = "cannot say"
FALSE_DISCOVERY_RATE = 0.05
TOKENS = ("teacher_tokens_generated", "teacher_tokens_prefilled", "training_tokens")
LABELS = {
    "method": "method",
    "mean": "mean [95 %]",
    "diff": "difference [95 %]",
    "p": "p",
    "p_bh": "p_bh",
    "detectable": "detectable",
    "verdict": "verdict",
    "teacher_tokens_generated": "teacher tokens, generated",
    "teacher_tokens_prefilled": "teacher tokens, prefilled",
    "training_tokens": "training tokens",
}
"""Columns of the tables to read, and their headings."""
SHORT_COLUMNS = ("method", "mean", "diff", "verdict")
"""Columns of the table for terminals."""


class ModelRow(Protocol):
    """A row about one model on one benchmark."""

    @property
    def teacher(self) -> str: ...

    @property
    def student(self) -> str: ...

    @property
    def benchmark(self) -> str: ...


RowT = TypeVar("RowT", bound=ModelRow)


@dataclass(frozen=True)
class ComparisonRow:
    """One model on one benchmark or stratum. NaN and None: cannot be said, or does not apply."""

    teacher: str
    student: str
    """Empty for the teacher itself."""
    method: str
    benchmark: str
    mean: float
    """Share of right answers."""
    ci_low: float
    ci_high: float
    n_seeds: int
    """Training seeds per teacher sampling seed; 0 where no student was trained."""
    n_teacher_seeds: int
    n_questions: int
    diff: float = math.nan
    """Mean minus the reference method's."""
    diff_low: float = math.nan
    diff_high: float = math.nan
    p: float = math.nan
    p_bh: float = math.nan
    """p adjusted over the whole table (Benjamini-Hochberg)."""
    detectable: float = math.nan
    """Smallest true difference that the test finds with 80 % power."""
    verdict: str = ""
    """higher | lower | not distinguishable | cannot say | reference; empty where no student was trained."""
    teacher_tokens_generated: int | None = None
    teacher_tokens_prefilled: int | None = None
    training_tokens: int | None = None
    ci_covers: str = ""
    """Sources of variance in ci_low … ci_high."""
    diff_covers: str = ""
    """Sources of variance in diff_low … diff_high."""


COLUMNS = list_columns(ComparisonRow)
COLUMNS_OF_ANSWERS = [column for column in COLUMNS if column not in TOKENS]
"""Columns that rest on answers alone."""


class TabulateComparison(ComparisonCommand):
    decontamination: Path | None = None
    """The report of `heal decontaminate`, whose counts are noted under the table."""
    out: Path
    """The csv to write; md, tex, txt and the notes are written next to it."""

    def run(self) -> None:
        with record_run(self.out, "tabulate-comparison", VERSION, {"options": self.describe_options()}):
            run = self.open_run()
            run.check_questions(list_benchmarks())
            rows = add_tokens(build_comparison(run, self.view.reference), run, build_methods(self.view))
            report = read_json(self.decontamination) if self.decontamination else None
            has_unsolved = any(row.benchmark.endswith(UNSOLVED) for row in rows)
            notes = list_comparison_notes(
                run, self.view.reference, merge_settings(run), has_unsolved=has_unsolved, decontamination=report
            )
            tables = build_text_tables(rows, list(LABELS))
            short_tables = build_text_tables(rows, SHORT_COLUMNS)
            short_notes = select_notes(notes, Topic.FEW_PASSES, Topic.WORLD, Topic.MIXED_HARDWARE, Topic.PREMISE)
            title = self.view.title
            records.write_text(self.out, format_rows_csv(rows, COLUMNS))
            records.write_text(self.out.with_suffix(".md"), format_markdown(title, tables, notes))
            records.write_text(self.out.with_suffix(".tex"), format_tex(title, tables, notes))
            records.write_text(self.out.with_suffix(".txt"), format_text(title, short_tables, short_notes))
            write_notes(get_notes_path(self.out), notes)


def estimate_mean(scores_TSQ: NDArray[np.float64], **options: int) -> stats.Interval:
    """Mean and crossed-bootstrap interval; several teacher seeds are resampled too, and training seeds within them."""
    scores_SQ = scores_TSQ.reshape(-1, scores_TSQ.shape[-1])
    return stats.compute_crossed_bootstrap(scores_SQ, groups=len(scores_TSQ), **options)


def get_replicates(scores_TSQ: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of independent replicates: the training seeds of one teacher seed, or the means of several teacher seeds.

    Shape [replicates, Q]; the paired t runs over them. Training seeds are nested in teacher seeds, so with several
    teacher seeds only their means are independent: a t over all (teacher seed, training seed) pairs covers far less
    than its level, and the interval of one teacher seed says nothing about others (results/reference/coverage.csv).
    """
    return scores_TSQ[0] if len(scores_TSQ) == 1 else scores_TSQ.mean(axis=1)


def describe_difference_coverage(teacher_seeds: int) -> str:
    """Sources of variance that the paired t over `get_replicates` includes."""
    if teacher_seeds == 1:
        return "training seeds; these questions, this teacher seed"
    return "teacher seeds, training seeds; these questions"


def build_comparison(
    run: Run, reference: str, list_benchmarks: Callable[[str], Sequence[str]] | None = None
) -> list[ComparisonRow]:
    """Every row of a comparison, without tokens; p adjusted over the whole table (Benjamini-Hochberg).

    list_benchmarks: teacher → its benchmarks and strata; default `run.list_benchmarks`. Raises HealError for missing
    answers, answers that do not pair up, and a reference that is not among the methods.
    """
    check_names(run, reference)
    rows = []
    for teacher in run.teachers:
        benchmarks = (list_benchmarks or run.list_benchmarks)(teacher)
        for benchmark in benchmarks:
            scores_Q = run.get_teacher_scores(teacher, benchmark)
            rows.append(build_untrained_row(teacher, "", TEACHER, benchmark, scores_Q))
        for student in run.students:
            for benchmark in benchmarks:
                rows += collect_student_rows(run, teacher, student, reference, benchmark)
    return add_verdicts(rows)


def check_names(run: Run, reference: str) -> None:
    """Raises HealError for an unknown reference, and a method with the name of a row that the table has anyway."""
    if reference not in run.methods:
        fix = f"give one of {', '.join(run.methods)}"
        raise HealError(f"no method {reference!r}", where="reference", fix=fix)
    for name in (TEACHER, UNTRAINED):
        if name in run.methods:
            raise HealError(f"the name {name!r} is taken by a row of the table", where="methods", fix="rename it")


def collect_student_rows(run: Run, teacher: str, student: str, reference: str, benchmark: str) -> list[ComparisonRow]:
    """The untrained student's and every method's rows, without adjusted p-values."""
    untrained_Q = run.get_untrained_scores(teacher, student, benchmark)
    rows = [build_untrained_row(teacher, student, UNTRAINED, benchmark, untrained_Q)]
    reference_TSQ = run.get_student_scores(teacher, student, reference, benchmark)
    for method in run.methods:
        scores_TSQ = run.get_student_scores(teacher, student, method, benchmark)
        row = build_row(teacher, student, method, benchmark, scores_TSQ)
        if method == reference:
            row = replace(row, verdict=REFERENCE)
        else:
            mixed = run.has_mixed_engines(teacher, student, [method, reference], benchmark)
            row = add_difference(row, scores_TSQ, reference_TSQ, with_test=not mixed)
        rows.append(row)
    return rows


def build_untrained_row(
    teacher: str, student: str, method: str, benchmark: str, scores_Q: NDArray[np.float64]
) -> ComparisonRow:
    """The row of a teacher, or of a student before training."""
    row = build_row(teacher, student, method, benchmark, scores_Q[None, None])
    return replace(row, n_seeds=0, n_teacher_seeds=0)


def build_row(
    teacher: str, student: str, method: str, benchmark: str, scores_TSQ: NDArray[np.float64]
) -> ComparisonRow:
    """A row with mean and interval, without a difference."""
    interval = estimate_mean(scores_TSQ)
    n_teacher_seeds, n_seeds, n_questions = scores_TSQ.shape
    return ComparisonRow(
        teacher=teacher,
        student=student,
        method=method,
        benchmark=benchmark,
        mean=interval.mean,
        ci_low=interval.low,
        ci_high=interval.high,
        n_seeds=n_seeds,
        n_teacher_seeds=n_teacher_seeds,
        n_questions=n_questions,
        ci_covers=interval.covers,
    )


def add_difference(
    row: ComparisonRow,
    scores_TSQ: NDArray[np.float64],
    reference_TSQ: NDArray[np.float64],
    *,
    with_test: bool = True,
) -> ComparisonRow:
    """The row with its difference to the reference; without test, interval, p and detectable stay NaN."""
    a_SQ, b_SQ = get_replicates(scores_TSQ), get_replicates(reference_TSQ)
    test = stats.compute_paired_t(a_SQ, b_SQ)
    row = replace(row, diff=test.diff, diff_covers=describe_difference_coverage(len(scores_TSQ)))
    if not with_test:
        return row
    detectable = stats.compute_detectable_difference(a_SQ, b_SQ)
    return replace(row, diff_low=test.low, diff_high=test.high, p=test.p, detectable=detectable)


def add_verdicts(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """The rows with adjusted p, and a verdict where there is a difference."""
    adjusted = stats.compute_adjusted_p([row.p for row in rows])
    judged = []
    for row, p_bh in zip(rows, map(float, adjusted), strict=True):
        verdict = row.verdict if math.isnan(row.diff) else choose_verdict(row.diff, p_bh)
        judged.append(replace(row, p_bh=p_bh, verdict=verdict))
    return judged


def choose_verdict(diff: float, p_bh: float) -> str:
    """higher | lower | not distinguishable | cannot say, at a false discovery rate of 0.05 over the table."""
    if math.isnan(p_bh):
        return CANNOT_SAY
    if p_bh > FALSE_DISCOVERY_RATE:
        return "not distinguishable"
    return "higher" if diff > 0 else "lower"


def add_tokens(rows: Iterable[ComparisonRow], run: Run, methods: Mapping[str, Method]) -> list[ComparisonRow]:
    """The rows with the tokens that each method takes. Raises HealError for a missing file."""
    teacher_tokens: dict[tuple[str, str], tuple[int, int]] = {}
    training_tokens: dict[tuple[str, str, str], int] = {}
    for teacher in run.teachers:
        for name, method in methods.items():
            teacher_tokens[teacher, name] = run.count_teacher_tokens(teacher, method)
            for student in run.students:
                training_tokens[teacher, student, name] = round(run.compute_training_tokens(teacher, student, name))
    counted = []
    for row in rows:
        generated, prefilled = teacher_tokens.get((row.teacher, row.method), (None, None))
        untrained = 0 if row.method == UNTRAINED else None
        row = replace(
            row,
            teacher_tokens_generated=generated,
            teacher_tokens_prefilled=prefilled,
            training_tokens=training_tokens.get((row.teacher, row.student, row.method), untrained),
        )
        counted.append(row)
    return counted


def build_text_tables(rows: Sequence[ComparisonRow], columns: Sequence[str]) -> list[TextTable]:
    """A table to read per teacher, student and benchmark; the teacher's own row is in each. columns: keys of LABELS."""
    header = [LABELS[column] for column in columns]
    text_columns = frozenset({columns.index("method"), columns.index("verdict")})
    tables = []
    for (teacher, student, benchmark), group in group_by_student(rows).items():
        heading = f"{benchmark}: {group[0].n_questions} questions; teacher {teacher}, student {student}"
        cells = [format_cells(row, columns) for row in group]
        tables.append(TextTable(heading, header, cells, text_columns))
    return tables


def group_by_student(rows: Sequence[RowT]) -> dict[tuple[str, str, str], list[RowT]]:
    """(teacher, student, benchmark) → the student's rows, after those of the teacher itself."""
    groups: dict[tuple[str, str, str], list[RowT]] = {}
    teacher_rows: dict[tuple[str, str], list[RowT]] = {}
    for row in rows:
        if row.student:
            of_teacher = teacher_rows.get((row.teacher, row.benchmark), [])
            groups.setdefault((row.teacher, row.student, row.benchmark), list(of_teacher)).append(row)
        else:
            teacher_rows.setdefault((row.teacher, row.benchmark), []).append(row)
    return groups


def format_cells(row: ComparisonRow, columns: Iterable[str]) -> list[str]:
    """The row's cells in a table to read."""
    cells = []
    for column in columns:
        value = getattr(row, column)
        if column == "mean":
            cell = format_interval(row.mean, row.ci_low, row.ci_high)
        elif column == "diff":
            cell = format_interval(row.diff, row.diff_low, row.diff_high)
        elif column in TOKENS:
            cell = format_count(value, " ")
        elif column in ("p", "p_bh") and value < 0.001:
            cell = "< 0.001"
        else:
            cell = format_number(value, 3)
        cells.append(cell)
    return cells
