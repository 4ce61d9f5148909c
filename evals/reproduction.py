"""Say whether a run agrees with the committed reference run of its name, and in which cells it does not.

Reads the answers of the main comparison, the hardware in the run's provenance, and the reference: a csv with one row
per cell and kind of hardware, whose provenance has the settings it is of. Writes --out (csv: the run's own cells in the
reference's columns, each next to the reference) and the same name with .txt: the sentence that a run ends with, and its
line for REPRODUCTIONS.md. The rule: evals.agreement. `python -m tools.reference results/mini --add-hardware` adds a
run's cells to the reference.

    heal check-reproduction --comparison main --reference results/reference/mini/reproduction.csv \\
        --out results/mini/tables/reproduction.csv
"""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from evals.agreement import Agreement, Cell, compare_runs, select_hardware
from evals.results import TEACHER, UNTRAINED, ComparisonCommand, Run, read_json
from evals.tables.contrasts import get_replicates
from evals.tables.hardware import describe_run_hardware
from evals.tables.render import DIGITS, format_csv, format_number, list_columns
from heal import records
from heal.command import Section, plain
from heal.errors import HealError
from heal.provenance import SUFFIX, describe_commit, read_git_state, record_run

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

FILE = "reproduction.csv"
"""Name in a run's tables/ and in its reference folder."""
COLUMNS = list_columns(Cell)
AGREEMENT_COLUMNS = ("reference", "p", "agrees")
DEFAULT_RUN = "mini"
"""The run of config/config.yaml, which `make replicate` makes; any other run is named like its config."""
CANNOT_SAY = "cannot say"
MAX_LISTED = 5
"""Number of settings or cells that the sentence names."""
REMAKE = "run the workflow again, and make the reference from it (results/reference/README.md)"


class CheckReproduction(ComparisonCommand):
    settings: Annotated[dict[str, Any], Section("settings.{comparison}")] = {}
    """What decides the run's numbers."""
    reference: Path | None = None
    """The reference's cells; none where there is no reference run of this name."""
    out: Path
    """The csv to write; the sentence is written next to it as txt."""

    def run(self) -> None:
        with record_run(self.out, "check-reproduction", VERSION, {"options": self.describe_options()}):
            run = self.open_run()
            cells = list(collect_cells(run))
            agreements: list[Agreement] = []
            if self.reference is None:
                sentence = f"Not compared with a reference: there is none of the run {run.folder.name}."
            elif different := find_differences(plain(self.settings), read_settings(self.reference)):
                sentence = f"Not compared with the reference: its settings differ in {join(different)}."
            else:
                reference = read_cells(self.reference)
                agreements = compare_runs(cells, reference)
                sentence = describe_agreement(agreements, reference)
                if any(one.agrees != CANNOT_SAY for one in agreements):
                    sentence += f"\nA line for REPRODUCTIONS.md:\n{format_log_row(run.folder.name, agreements)}"
            records.write_text(self.out, format_cells(cells, agreements))
            records.write_text(self.out.with_suffix(".txt"), f"{sentence}\n")


def collect_cells(run: Run) -> Iterator[Cell]:
    """Every model and method on every benchmark, without strata: those depend on the teacher's luck."""
    hardware = describe_run_hardware(run)
    for benchmark in run.benchmarks:
        for teacher in run.teachers:
            scores_Q = run.get_teacher_scores(teacher, benchmark)
            yield build_cell(run, (teacher, "", TEACHER, benchmark), hardware, scores_Q[None])
            for student in run.students:
                scores_Q = run.get_untrained_scores(teacher, student, benchmark)
                yield build_cell(run, (teacher, student, UNTRAINED, benchmark), hardware, scores_Q[None])
                for method in run.methods:
                    scores_TSQ = run.get_student_scores(teacher, student, method, benchmark)
                    key = (teacher, student, method, benchmark)
                    yield build_cell(run, key, hardware, get_replicates(scores_TSQ), trained_on=scores_TSQ)


def build_cell(
    run: Run,
    key: tuple[str, str, str, str],
    hardware: str,
    scores_RQ: NDArray[np.float64],
    trained_on: NDArray[np.float64] | None = None,
) -> Cell:
    """A cell, its numbers rounded as the csv has them. trained_on: scores of all students behind the replicates."""
    replicates, questions = scores_RQ.shape
    means_R = scores_RQ.mean(axis=1)
    answers = questions * run.count_repeats(key[-1])
    if trained_on is not None:
        answers = answers * trained_on.shape[0] * trained_on.shape[1] // replicates
    spread = float(np.std(means_R, ddof=1)) if replicates > 1 else math.nan
    return Cell(*key, hardware, replicates, answers, round(float(means_R.mean()), DIGITS), round(spread, DIGITS))


def write_reference(run: Path, folder: Path, *, add: bool) -> None:
    """Makes the reference's reproduction.csv from a run's, with the run's commit.

    add: keeps the rows of other hardware; without it, only the run's are there. Raises HealError where the run has
    none, and where the settings of the rows that are kept differ from the run's.
    """
    source, target = run / "tables" / FILE, folder / FILE
    rows: list[list[Any]] = []
    own = read_cells(source)
    if add:
        if different := find_differences(read_settings(source), read_settings(target)):
            fix = "make the reference from this run, without --add-hardware"
            raise HealError(f"the settings differ in {join(different)}", where=str(target), fix=fix)
        hardware = {cell.hardware for cell in own}
        with open(target, encoding="utf-8", newline="") as stream:
            commits = [row["commit"] for row in csv.DictReader(stream)]
        for cell, commit in zip(read_cells(target), commits, strict=True):
            if cell.hardware not in hardware:
                rows.append([*asdict(cell).values(), commit])
    commit = read_json(f"{source}{SUFFIX}")["git"]["commit"] or ""
    for cell in own:
        rows.append([*asdict(cell).values(), commit[:7]])
    records.write_text(target, format_csv([*COLUMNS, "commit"], rows))
    if not add:
        shutil.copyfile(f"{source}{SUFFIX}", f"{target}{SUFFIX}")


def read_cells(path: Path) -> list[Cell]:
    """The cells of a run's or a reference's csv; further columns are passed over. Raises HealError for a bad csv."""
    if not path.exists():
        raise HealError("no such file", where=str(path), fix=REMAKE)
    cells = []
    with open(path, encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), 1):
            values: dict[str, Any] = {}
            try:
                for field in fields(Cell):
                    cell = row[field.name]
                    if field.type == "float":
                        values[field.name] = float(cell) if cell else math.nan
                    else:
                        values[field.name] = int(cell) if field.type == "int" else cell
            except (KeyError, TypeError, ValueError) as error:
                raise HealError(f"not a cell ({error})", where=f"{path}, row {number}", fix=REMAKE) from None
            cells.append(Cell(**values))
    return cells


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that a csv of cells is of, from its provenance. Raises HealError where that has none."""
    file = Path(f"{path}{SUFFIX}")
    try:
        return dict(read_json(file)["options"]["settings"])
    except (KeyError, TypeError):
        raise HealError("no settings", where=str(file), fix=REMAKE) from None


def find_differences(own: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Fields in which two groups of settings differ: train.max_steps."""
    different = []
    for name in sorted({*own, *other}):
        one, two = own.get(name, {}), other.get(name, {})
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            different += find_differences(one, two, f"{prefix}{name}.")
        elif one != two:
            different.append(f"{prefix}{name}")
    return different


def describe_agreement(agreements: Sequence[Agreement], reference: Sequence[Cell]) -> str:
    """The sentence, and what both runs were made on."""
    if all(one.agrees == CANNOT_SAY for one in agreements):
        return "Agrees with the reference: cannot say; no cell can be compared (one seed only)."
    hardware = {one.cell.hardware for one in agreements}
    others = sorted({cell.hardware for cell in select_hardware(reference, hardware)})
    machines = f"Made on {' and '.join(sorted(hardware))}; the reference on {' and '.join(others)}."
    return f"Agrees with the reference: {describe_verdict(agreements)}.\n{machines}"


def describe_verdict(agreements: Sequence[Agreement]) -> str:
    """Whether every cell that can be compared agrees, and the cells that do not."""
    differing = [one for one in agreements if one.agrees == "no"]
    tested = sum(one.agrees != CANNOT_SAY for one in agreements)
    if differing:
        cells = join([describe_cell(one) for one in differing])
        return f"no, {len(differing)} of {tested} cells differ by more than chance: {cells}"
    equal = sum(one.cell.mean == one.reference for one in agreements)
    return f"yes, in all {tested} cells ({equal} with the same mean)"


def format_log_row(run: str, agreements: Sequence[Agreement]) -> str:
    """The run's row in REPRODUCTIONS.md: machine, commit, command, verdict. run: named like its config."""
    hardware = sorted({one.cell.hardware for one in agreements})
    commit = describe_commit(read_git_state(), digits=7)
    command = "make replicate" if run == DEFAULT_RUN else f"snakemake --cores all --configfile config/{run}.yaml"
    cells = [" and ".join(hardware).replace("|", "and"), commit, f"`{command}`", describe_verdict(agreements)]
    return f"| {' | '.join(cells)} |"


def describe_cell(agreement: Agreement) -> str:
    """heal on mini_hard 0.250, reference 0.412 (teacher default, student tiny)."""
    cell = agreement.cell
    student = f", student {cell.student}" if cell.student else ""
    means = f"{format_number(cell.mean, 3)}, reference {format_number(agreement.reference, 3)}"
    return f"{cell.method} on {cell.benchmark} {means} (teacher {cell.teacher}{student})"


def join(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = [f"{len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    return "; ".join([*names[:MAX_LISTED], *more])


def format_cells(cells: Sequence[Cell], agreements: Sequence[Agreement]) -> str:
    """The csv: the run's cells in the reference's columns, and the comparison where there is one."""
    found = {agreement.cell.key: agreement for agreement in agreements}
    rows = []
    for cell in cells:
        agreement = found.get(cell.key)
        compared = [getattr(agreement, column) for column in AGREEMENT_COLUMNS] if agreement else [None] * 3
        rows.append([*asdict(cell).values(), *compared])
    return format_csv([*COLUMNS, *AGREEMENT_COLUMNS], rows)
