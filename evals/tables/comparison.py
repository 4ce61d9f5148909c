"""Tabulate a comparison: every method's accuracy, its difference to the reference method, and its tokens.

The primary contrast (`primary` in the config) comes first and is not adjusted; evals/tables/comparison_rows.py says how
the other rows are.

Reads answers.parquet and results.json of teacher, untrained student and every trained student; training.json, the
trace files' token counts, premise.json, problems. Writes --out (csv) and next to it the same name with .md, .tex and
.txt (for terminals), and _notes.json. Contains no times: two clean runs on one machine give the same bytes.

    heal tabulate-comparison --config config/config.yaml --comparison main --out results/mini/tables/main.csv
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evals.results import UNSOLVED, UNTRAINED, ComparisonCommand, Run, build_methods, read_json
from evals.tables.comparison_rows import (
    COLUMNS,
    PRIMARY,
    REFERENCE,
    ComparisonRow,
    build_comparison,
    group_by_student,
    put_primary_first,
)
from evals.tables.notes import Note, Topic, get_notes_path, select_notes, write_notes
from evals.tables.render import (
    TextTable,
    format_bounds,
    format_count,
    format_difference,
    format_interval,
    format_markdown,
    format_number,
    format_rows_csv,
    format_tex,
    format_text,
)
from evals.tables.run_notes import list_comparison_notes, list_interval_notes, merge_settings
from heal import records
from heal.method.base import Method
from heal.provenance import record_run
from heal.registry import list_benchmarks

VERSION = 5
"""Raise it when the bytes of the output change for the same input."""

TOKENS = ("teacher_tokens_generated", "teacher_tokens_prefilled", "training_tokens")
LABELS = {
    "method": "method",
    "mean": "mean [95 %]",
    "diff": "difference [95 %]",
    "verdict": "verdict",
    "new": "new questions [95 %]",
    "p": "p",
    "p_bh": "p_bh",
    "detectable": "detectable",
    "truncated": "cut off",
    "teacher_tokens_generated": "teacher tokens, generated",
    "teacher_tokens_prefilled": "teacher tokens, prefilled",
    "training_tokens": "training tokens",
}
"""Columns of the tables to read, and their headings; `new` is the interval on new questions with its verdict."""
TEXT_COLUMNS = ("method", "verdict", "new")
"""Those of them that hold words."""
SHORT_COLUMNS = ("method", "mean", "diff", "verdict", "new", "truncated")
"""Columns of the table for terminals."""
SHORT_TOPICS = (Topic.FEW_PASSES, Topic.WORLD, Topic.GATES, Topic.MIXED_HARDWARE, Topic.PREMISE)
"""Topics of its notes."""


COLUMNS_OF_ANSWERS = [column for column in COLUMNS if column not in TOKENS]
"""Columns that rest on answers alone."""


class TabulateComparison(ComparisonCommand):
    decontamination: Path | None = None
    """The report of `heal decontaminate`, whose counts are noted under the table."""
    gates: Path | None = None
    """The table of `heal gates` for the run's world: the notes say which gates do not hold."""
    out: Path
    """The csv to write; md, tex, txt and the notes are written next to it."""

    def run(self) -> None:
        with record_run(self.out, "tabulate-comparison", VERSION, {"options": self.describe_options()}):
            run = self.open_run()
            run.check_questions(list_benchmarks())
            comparison = build_comparison(run, self.view.reference)
            rows = add_tokens(comparison, run, build_methods(self.view))
            report = read_json(self.decontamination) if self.decontamination else None
            has_unsolved = any(row.benchmark.endswith(UNSOLVED) for row in rows)
            notes = list_comparison_notes(
                run,
                list_difference_notes(rows, run, self.view.reference),
                merge_settings(run),
                has_unsolved=has_unsolved,
                decontamination=report,
                gates=self.gates,
            )
            tables = build_text_tables(rows, list(LABELS))
            short_tables = build_text_tables(rows, SHORT_COLUMNS)
            short_notes = select_notes(notes, *SHORT_TOPICS)
            title = self.view.title
            records.write_text(self.out, format_rows_csv(put_primary_first(rows), COLUMNS))
            records.write_text(self.out.with_suffix(".md"), format_markdown(title, tables, notes))
            records.write_text(self.out.with_suffix(".tex"), format_tex(title, tables, notes))
            records.write_text(self.out.with_suffix(".txt"), format_text(title, short_tables, short_notes))
            write_notes(get_notes_path(self.out), notes)


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
    """The primary contrast; then a table to read per teacher, student and benchmark, each with the teacher's own row.

    columns: keys of LABELS.
    """
    header = [LABELS[column] for column in columns]
    text_columns = frozenset(columns.index(column) for column in TEXT_COLUMNS if column in columns)
    tables = []
    groups = group_by_student(rows)
    for row in rows:
        if row.family == PRIMARY:
            group = groups[row.teacher, row.student, row.benchmark]
            reference = next(other for other in group if other.verdict == REFERENCE)
            heading = f"Primary contrast, not adjusted: {row.method} - {reference.method} on {describe_group(row)}"
            cells = [format_cells(reference, columns), format_cells(row, columns)]
            tables.append(TextTable(heading, header, cells, text_columns))
    for group in groups.values():
        cells = [format_cells(row, columns) for row in group]
        tables.append(TextTable(describe_group(group[-1]), header, cells, text_columns))
    return tables


def describe_group(row: ComparisonRow) -> str:
    return f"{row.benchmark}: {row.n_questions} questions; teacher {row.teacher}, student {row.student}"


def format_cells(row: ComparisonRow, columns: Iterable[str]) -> list[str]:
    """The row's cells in a table to read."""
    cells = []
    for column in columns:
        if column == "mean":
            cell = format_interval(row.mean, row.ci_low, row.ci_high)
        elif column == "diff":
            cell = format_difference(row.diff, row.diff_low, row.diff_high)
        elif column == "verdict":
            cell = format_verdict(row)
        elif column == "new":
            is_known = not math.isnan(row.new_low)
            cell = f"{format_bounds(row.new_low, row.new_high)} {row.new_verdict}" if is_known else ""
        elif column in TOKENS:
            cell = format_count(getattr(row, column), " ")
        elif column in ("p", "p_bh") and getattr(row, column) < 0.001:
            cell = "< 0.001"
        else:
            cell = format_number(getattr(row, column), 3)
        cells.append(cell)
    return cells


def format_verdict(row: ComparisonRow) -> str:
    """The verdict, why there is none, and whether it is the one that is not adjusted."""
    verdict = f"{row.verdict}: {row.why_not}" if row.why_not else row.verdict
    return f"{verdict} (primary, not adjusted)" if row.family == PRIMARY else verdict


def list_difference_notes(rows: Sequence[ComparisonRow], run: Run, reference: str) -> list[Note]:
    """What the intervals of means and differences cover, and how they were adjusted."""
    return [*list_interval_notes(run, reference), Note(Topic.INTERVALS, describe_levels(rows))]


def describe_levels(rows: Sequence[ComparisonRow]) -> str:
    """The level of the main rows' intervals, and the range of the other families' levels, in words."""
    levels: dict[str, float] = {}
    for row in rows:
        if not math.isnan(row.diff) and row.family != PRIMARY:
            levels[row.family] = 100 * row.level
    parts = []
    for family in ("main", "main strata", "table", "table strata"):
        if family in levels:
            parts.append(f"{family} rows {levels.pop(family):.2f} %")
    if levels:
        parts.append(f"further methods {min(levels.values()):.2f} to {max(levels.values()):.2f} %")
    return f"Level of the adjusted intervals: {'; '.join(parts) or 'no row could be adjusted'}."
