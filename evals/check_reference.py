"""Are the committed reference tables what their raw answers say? Makes the numbers again, and fails where one differs.

Reads tables/KIND_outcomes.parquet (of evals.tables.details) and the tables beside it in every folder given; writes nothing.
Verdicts are made again from the answers as extracted, then means, intervals, p-values, strata, pass@k, maj@k and ranks.
Not made again: what the tables say of tokens, for which the traces would be needed.

    python -m evals.check_reference results/reference/mini
    snakemake --cores 1 check      # every folder under results/reference/
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evals.results import Run, answers_of
from evals.tables.comparison import COSTS
from evals.tables.details import MADE, csv_text, numbers
from evals.tables.render import DIGITS, PRECISE
from heal import records
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.grading.grader import Grader
from heal.records import Row

SHOWN = 20  # differences that are listed
OUTCOMES = "_outcomes.parquet"
KEYS = ("teacher", "student", "method", "draw", "seed", "benchmark")  # whose answers
NOT_ABOUT_THE_ANSWER = {"timeout", "memory"}  # verdicts that depend on the machine
REMAKE = "run the workflow again, and copy its tables (results/reference/README.md)"


def read_outcomes(path: Path) -> tuple[Run, str, str]:
    """(the run with all its answers, kind, reference method). Raises HealError where answers are missing."""
    rows = records.read(path, "outcomes")
    try:
        made = json.loads((records.open_table(path).schema.metadata or {})[MADE.encode()])
        kind, reference = made.pop("kind"), made.pop("reference")
        run = Run(path.parent.parent, **made)
    except (KeyError, TypeError, ValueError):
        raise HealError("it does not say of which tables it is", where=str(path), fix=REMAKE) from None
    of_model: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        of_model.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    for benchmark in run.benchmarks:
        for whose, answers in run.cells(benchmark):
            here = of_model.get(tuple(whose[key] for key in KEYS), [])
            name = " ".join(f"{key}={whose[key]}" for key in KEYS if whose[key] not in ("", None))
            run.preload(answers, answers_of(here, f"{path}, {name}", run.reading), here[0]["engine"])
    return run, kind, reference


def wrong_verdicts(rows: Sequence[Row], grader: Grader) -> Iterator[str]:
    """Rows whose verdict does not follow from the extracted and the gold answer."""
    for number, row in enumerate(rows, 1):
        if row["reason"] in NOT_ABOUT_THE_ANSWER:
            continue
        equal = row["extracted"] is not None and grader.compare(row["gold"], row["extracted"]) == "correct"
        boxed = equal and row["reason"] != "not_boxed"
        for reading, right in (("flexible", equal), ("strict", boxed)):
            if row[reading] != right:
                yield f"row {number}, {reading}: found {row[reading]}, expected {right} ({row['extracted']!r})"


def differences(found: pd.DataFrame, expected: pd.DataFrame) -> Iterator[str]:
    """Cells of the stored table that are not what was computed: numbers by more than one unit of their last digit."""
    if len(found) != len(expected):
        yield f"found {len(found)} rows, expected {len(expected)}"
        return
    for column in expected.columns:
        if column not in found:
            yield f"column {column}: not there"
            continue
        for number, (old, new) in enumerate(zip(found[column], expected[column], strict=True), 1):
            if not same(old, new, 1.01 * 10 ** -PRECISE.get(column, DIGITS)):
                whose = " ".join(found.loc[number - 1, [key for key in KEYS if key in found]])
                yield f"row {number} ({whose}), {column}: found {old or 'nothing'}, expected {new or 'nothing'}"


def same(old: str, new: str, tolerance: float) -> bool:
    try:
        return old == new or math.isclose(float(old), float(new), rel_tol=0, abs_tol=tolerance)
    except ValueError:
        return False


def check(path: Path, grader: Grader) -> tuple[list[str], int]:
    """(what differs in the tables beside an outcomes file, cells compared)."""
    run, kind, reference = read_outcomes(path)
    said = [f"{path}, {fault}" for fault in wrong_verdicts(records.read(path, "outcomes"), grader)]
    compared = 0
    for suffix, frame in numbers(run, reference).items():
        file = path.with_name(f"{kind}{suffix}.csv")
        if not file.exists():
            raise HealError("no such file", where=str(file), fix=REMAKE)
        found = pd.read_csv(file, dtype=str, keep_default_na=False)
        expected = pd.read_csv(io.StringIO(csv_text(suffix, frame)), dtype=str, keep_default_na=False)
        said += [f"{file}, {fault}" for fault in differences(found.drop(columns=COSTS, errors="ignore"), expected)]
        compared += expected.size
    return said, compared


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("folders", nargs="+", help="folders of runs, with tables/ in them")
    arguments = parser.parse_args()
    faults, checked = [], 0
    with Grader() as grader:
        for folder in map(Path, arguments.folders):
            files = sorted(folder.glob(f"tables/*{OUTCOMES}"))
            if not files:
                print(f"{folder}: no raw answers (tables/*{OUTCOMES}), nothing to check", flush=True)
            for path in files:
                said, compared = check(path, grader)
                checked += 1
                verdict = f"{len(said)} differ" if said else "all reproduced"
                print(f"{path}: {compared} cells of its tables, {verdict}", flush=True)
                faults += said
    if not checked:
        raise HealError("no raw answers in any folder", where=" ".join(arguments.folders), fix=REMAKE)
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults[:SHOWN])
        more = f"\n  … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        fix = "was a table or the code changed? " + REMAKE[0].upper() + REMAKE[1:]
        raise HealError(f"{len(faults)} numbers are not reproduced:{listed}{more}", where="check", fix=fix)


if __name__ == "__main__":
    exit_with_errors(main)
