"""Recompute the committed reference tables from their raw answers, and fail where a number differs.

Reads tables/COMPARISON_outcomes.parquet (of `heal tabulate-details`) and the tables next to it in every folder given;
writes nothing. Recomputes verdicts from the answers as extracted, then means, intervals, p-values, strata, pass@k,
maj@k and ranks. Token counts are not recomputed: that would need the traces.

    heal check-reference results/reference/mini
    snakemake --cores 1 check_reference      # every folder below results/reference/
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from pydantic_settings import CliPositionalArg

from evals.answers import build_answers
from evals.results import AnswersKey, Run
from evals.tables.comparison import TOKENS
from evals.tables.details import METADATA_KEY, build_csv_tables
from evals.tables.render import DIGITS, PRECISE
from heal import records
from heal.command import Command
from heal.config.experiment import Primary
from heal.errors import HealError
from heal.grading.grader import Grader
from heal.records import Row

VERSION = 3
"""Raise it when the check changes."""

MAX_LISTED = 20
"""Number of differences that the error lists."""
OUTCOMES = "_outcomes.parquet"
KEY_COLUMNS = ("teacher", "student", "method", "teacher_seed", "seed", "benchmark")
MACHINE_REASONS = {"timeout", "memory"}
"""Reasons of verdicts that depend on the machine and not on the answer."""
REBUILD = "run the workflow again, and copy its tables (results/reference/README.md)"


class CheckReference(Command):
    folders: CliPositionalArg[list[Path]]
    """Folders of runs, with tables/ in them."""

    def run(self) -> None:
        faults: list[str] = []
        n_checked = 0
        with Grader() as grader:
            for folder in self.folders:
                files = sorted(folder.glob(f"tables/*{OUTCOMES}"))
                if not files:
                    print(f"{folder}: no raw answers (tables/*{OUTCOMES}), nothing to check", flush=True)
                for path in files:
                    file_faults, n_cells = check_tables(path, grader)
                    verdict = f"{len(file_faults)} differ" if file_faults else "all reproduced"
                    print(f"{path}: {n_cells} cells of its tables, {verdict}", flush=True)
                    faults += file_faults
                    n_checked += 1
        if not n_checked:
            raise HealError("no raw answers in any folder", where=" ".join(map(str, self.folders)), fix=REBUILD)
        if faults:
            raise explain_faults(faults)


def explain_faults(faults: Sequence[str]) -> HealError:
    """One error for everything that differs."""
    lines = [f"{len(faults)} numbers are not reproduced:", *faults[:MAX_LISTED]]
    if len(faults) > MAX_LISTED:
        lines.append(f"… and {len(faults) - MAX_LISTED} more")
    fix = f"was a table or the code changed? {REBUILD[0].upper()}{REBUILD[1:]}"
    return HealError("\n  ".join(lines), where="check-reference", fix=fix)


def check_tables(path: Path, grader: Grader) -> tuple[list[str], int]:
    """(differences in the tables next to an outcomes file, number of cells compared)."""
    run, comparison, reference = read_outcomes(path)
    faults = []
    for fault in find_wrong_verdicts(records.read(path, "outcomes"), grader):
        faults.append(f"{path}, {fault}")
    n_cells = 0
    for suffix, csv in build_csv_tables(run, reference).items():
        file = path.with_name(f"{comparison}{suffix}.csv")
        if not file.exists():
            raise HealError("no such file", where=str(file), fix=REBUILD)
        expected = read_csv_text(csv)
        stored = read_csv_text(file.read_text(encoding="utf-8")).drop(columns=list(TOKENS), errors="ignore")
        for fault in find_differences(stored, expected):
            faults.append(f"{file}, {fault}")
        n_cells += expected.size
    return faults, n_cells


def read_csv_text(csv: str) -> pd.DataFrame:
    """Every cell as text."""
    return pd.read_csv(io.StringIO(csv), dtype=str, keep_default_na=False)


def read_outcomes(path: Path) -> tuple[Run, str, str]:
    """(the run with all its answers, comparison, reference method). Raises HealError where answers are missing."""
    rows = records.read(path, "outcomes")
    try:
        axes = json.loads((records.open_table(path).schema.metadata or {})[METADATA_KEY.encode()])
        comparison, reference, primary = axes.pop("comparison"), axes.pop("reference"), axes.pop("primary")
        run = Run(path.parent.parent, **axes, primary=Primary(**primary) if primary else None)
    except (KeyError, TypeError, ValueError):
        raise HealError("its metadata does not describe its tables", where=str(path), fix=REBUILD) from None
    rows_by_key: dict[AnswersKey, list[Row]] = {}
    for row in rows:
        key = AnswersKey(**{column: row[column] for column in KEY_COLUMNS})
        rows_by_key.setdefault(key, []).append(row)
    for benchmark in run.benchmarks:
        for key, answers_path in run.list_answers(benchmark):
            key_rows = rows_by_key.get(key, [])
            answers = build_answers(key_rows, f"{path}, {key.describe()}", run.reading)
            run.preload(answers_path, answers, key_rows[0]["engine"])
    return run, comparison, reference


def find_wrong_verdicts(rows: Sequence[Row], grader: Grader) -> Iterator[str]:
    """Rows whose verdict does not follow from the extracted and the gold answer."""
    for number, row in enumerate(rows, 1):
        if row["reason"] in MACHINE_REASONS:
            continue
        equal = row["extracted"] is not None and grader.compare(row["gold"], row["extracted"]) == "correct"
        verdicts = {"flexible": equal, "strict": equal and row["reason"] != "not_boxed"}
        for reading, right in verdicts.items():
            if row[reading] != right:
                yield f"row {number}, {reading}: found {row[reading]}, expected {right} ({row['extracted']!r})"


def find_differences(stored: pd.DataFrame, expected: pd.DataFrame) -> Iterator[str]:
    """Cells of a stored table that are not as computed: numbers by more than one unit of their last digit."""
    if len(stored) != len(expected):
        yield f"found {len(stored)} rows, expected {len(expected)}"
        return
    model_columns = [column for column in KEY_COLUMNS if column in stored]
    for column in expected.columns:
        if column not in stored:
            yield f"no column {column}"
            continue
        tolerance = 1.01 * 10 ** -PRECISE.get(column, DIGITS)
        for number, (old, new) in enumerate(zip(stored[column], expected[column], strict=True)):
            if not is_equal(old, new, tolerance):
                model = " ".join(stored.loc[number, model_columns])
                yield f"row {number + 1} ({model}), {column}: found {old or 'nothing'}, expected {new or 'nothing'}"


def is_equal(old: str, new: str, tolerance: float) -> bool:
    """Whether two cells are the same text, or numbers within the tolerance."""
    try:
        return old == new or math.isclose(float(old), float(new), rel_tol=0, abs_tol=tolerance)
    except ValueError:
        return False
