"""Tabulate the details of a comparison: strata by the teacher's pass rate, pass@k and maj@k, ranks, and the outcomes.

Reads answers.parquet and results.json of teacher, untrained student and every trained student. Writes, named after
--out: COMPARISON_strata, COMPARISON_at_k and COMPARISON_ranks (csv, md), and COMPARISON_outcomes.parquet: every verdict
that these tables and the comparison rest on, from which `heal check-reference` computes them again. Contains no times.

    heal tabulate-details --config config/config.yaml --comparison main --out results/mini/tables/main.csv
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from evals.results import ComparisonCommand, Run
from evals.tables.at_k import AtKRow, build_at_k, format_at_k
from evals.tables.comparison import COLUMNS_OF_ANSWERS, LABELS, TOKENS, build_text_tables, list_difference_notes
from evals.tables.comparison_rows import ComparisonRow, build_comparison, build_strata, put_primary_first
from evals.tables.hardware import list_hardware_notes
from evals.tables.notes import Note, Topic
from evals.tables.ranks import RankRow, build_ranks, format_ranks
from evals.tables.render import (
    format_markdown,
    format_rows_csv,
    list_columns,
)
from evals.tables.run_notes import list_ranking_notes, list_world_notes, make_run_note
from heal import records
from heal.provenance import record_run

VERSION = 4
"""Raise it when the bytes of the output change for the same input."""

METADATA_KEY = "tables"
"""Key of the outcomes file's metadata that holds what its tables are of (`describe_tables`)."""
STRATA = (
    "Strata: questions by the teacher's pass rate over its own repeats of the benchmark: unsolved 0, rarely below 1/3, "
    "half 1/3 to 2/3, mostly above 2/3, always 1. A few repeats estimate a question's pass rate roughly: the teacher's "
    "own row reflects the selection, not how good it is there. Empty strata are left out."
)


class TabulateDetails(ComparisonCommand):
    out: Path
    """The comparison's csv, COMPARISON.csv: the outputs are named after it."""

    def run(self) -> None:
        outcomes = self.out.with_name(f"{self.out.stem}_outcomes.parquet")
        with record_run(outcomes, "tabulate-details", VERSION, {"options": self.describe_options()}):
            run, reference = self.open_run(), self.view.reference
            strata = build_strata(run, reference)
            at_k, ranks = build_at_k(run), build_ranks(run, reference)
            self.write("_strata", format_rows_csv(strata, COLUMNS_OF_ANSWERS), format_strata(strata, run, reference))
            self.write("_at_k", format_rows_csv(at_k, list_columns(AtKRow)), format_at_k(at_k, run))
            self.write("_ranks", format_rows_csv(ranks, list_columns(RankRow)), format_ranks(ranks, run))
            records.write_table(outcomes, build_outcomes(run, self.comparison, reference))

    def write(self, suffix: str, csv: str, markdown: str) -> None:
        """Writes one table as csv and md."""
        file = self.out.with_name(f"{self.out.stem}{suffix}.csv")
        records.write_text(file, csv)
        records.write_text(file.with_suffix(".md"), markdown)


def build_csv_tables(run: Run, reference: str) -> dict[str, str]:
    """The csv of every table that rests on answers alone, by the suffix of its name; the comparison has suffix "".

    The comparison is without its tokens.
    """
    return {
        "": format_rows_csv(put_primary_first(build_comparison(run, reference)), COLUMNS_OF_ANSWERS),
        "_strata": format_rows_csv(build_strata(run, reference), COLUMNS_OF_ANSWERS),
        "_at_k": format_rows_csv(build_at_k(run), list_columns(AtKRow)),
        "_ranks": format_rows_csv(build_ranks(run, reference), list_columns(RankRow)),
    }


def build_outcomes(run: Run, comparison: str, reference: str) -> pa.Table:
    """Every verdict of the comparison's models (schema `outcomes`); the metadata describes the tables."""
    rows = []
    for benchmark in run.benchmarks:
        for key, path in run.list_answers(benchmark):
            columns = asdict(key) | {"engine": run.get_engine(path)}
            for row in sorted(run.load_answers(path, benchmark).rows, key=get_question):
                rows.append(columns | row)
    metadata = json.dumps(describe_tables(run, comparison, reference), sort_keys=True)
    table = pa.Table.from_pylist(rows, schema=records.get_schema("outcomes"))
    return table.replace_schema_metadata({METADATA_KEY: metadata})


def get_question(row: records.Row) -> tuple[str, int]:
    return row["problem_id"], row["repeat"]


def describe_tables(run: Run, comparison: str, reference: str) -> dict[str, Any]:
    """What the tables of a comparison are of: the axes of its run, its name and its reference method."""
    return {
        "comparison": comparison,
        "reference": reference,
        "teachers": list(run.teachers),
        "students": list(run.students),
        "methods": list(run.methods),
        "benchmarks": list(run.benchmarks),
        "teacher_seeds": run.teacher_seeds,
        "training_seeds": run.training_seeds,
        "reading": run.reading,
        "main_methods": list(run.main_methods),
        "primary": run.primary.model_dump() if run.primary else None,
    }


def format_strata(rows: Sequence[ComparisonRow], run: Run, reference: str) -> str:
    """The strata as Markdown."""
    columns = [column for column in LABELS if column not in TOKENS]
    differences = list_difference_notes(rows, run, reference)
    notes = [make_run_note(run), Note(Topic.STRATA, STRATA), *differences, *list_ranking_notes(run)]
    notes += [*list_world_notes(run), *list_hardware_notes(run)]
    tables = build_text_tables(rows, columns)
    return format_markdown("Strata by the teacher's pass rate", tables, notes)
