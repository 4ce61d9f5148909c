"""A reference folder from a finished run: tables, raw outcomes, provenance, settings and the figures that pages show.

Reads results/<run>: tables/, figures/, evals/**/results.json and traces/*/teacher_seed*/premise.json. Replaces in
results/reference/<run>: tables/, figures/, settings.json, reproduction.csv (which later runs are compared with) and the
numbers in README.md (tools/reference_summary.py); every other file there stays as it is. Figures are copied where
README.md, a page of docs/ or the folder's own README.md names their path. --add-hardware reads tables/reproduction.csv
and its provenance only, from a run on another machine, and adds its rows to the reference's.

    python -m tools.reference results/mini
    python -m tools.reference results/mini --out elsewhere/mini
    python -m tools.reference results/mini --add-hardware
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from evals.reproduction import FILE as CELLS
from evals.reproduction import read_cells, write_reference
from evals.settings import FILE, collect_settings
from heal.errors import HealError, exit_with_errors
from heal.provenance import SUFFIX
from heal.records import write_json
from tools.reference_summary import split_readme, write_summary

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference"
TABLES = ("*.csv", "*.md", "*.txt", "*_notes.json", "*_outcomes.parquet", "*_audits/*.csv", "*_audits/*.md")
FIGURE = re.compile(r"figures/[\w./-]+\.(?:svg|png)")


def build_reference(run: Path, folder: Path) -> None:
    """Replaces tables/, figures/, settings.json, cells and the README's numbers of a reference folder by a run's.

    Raises HealError where the README has no place for the numbers, and where the run has no table or lacks
    a figure that a page shows; the folder is then as it was.
    """
    split_readme(folder)
    tables = list_tables(run)
    figures = list_shown_figures(folder)
    check_figures(run, figures)
    read_cells(run / "tables" / CELLS)
    for part in ("tables", "figures"):
        shutil.rmtree(folder / part, ignore_errors=True)
    copy_files(run, folder, [*tables, *figures])
    write_reference(run, folder, add=False)
    write_json(folder / FILE, collect_settings(run))
    write_summary(folder)


def list_tables(run: Path) -> list[str]:
    """Paths below the run of its tables and raw outcomes. Raises HealError without any."""
    files = [file for pattern in TABLES for file in (run / "tables").glob(pattern) if file.stem != Path(CELLS).stem]
    if not files:
        raise HealError("no tables", where=str(run), fix="give results/<run> of a finished run")
    return sorted(file.relative_to(run).as_posix() for file in files)


def list_shown_figures(folder: Path) -> list[str]:
    """Paths below a reference folder of the figures that its README.md, README.md or docs/ name."""
    shown: set[str] = set()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for rest in page.read_text(encoding="utf-8").split(f"results/reference/{folder.name}/")[1:]:
            if match := FIGURE.match(rest):
                shown.add(match[0])
    own = folder / "README.md"
    if own.exists():
        shown |= set(FIGURE.findall(own.read_text(encoding="utf-8")))
    return sorted(shown)


def check_figures(run: Path, figures: Iterable[str]) -> None:
    """Raises HealError where the run lacks a figure."""
    for name in figures:
        if not (run / name).exists():
            raise HealError(
                "no such figure, but a page shows it", where=str(run / name), fix="make it, or edit the page"
            )


def copy_files(run: Path, folder: Path, names: Iterable[str]) -> None:
    """Copies files, each with the provenance next to it where there is any."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / name, target)
        provenance = Path(f"{run / name}{SUFFIX}")
        if provenance.exists():
            shutil.copyfile(provenance, f"{target}{SUFFIX}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="results/<run>, finished")
    parser.add_argument("--out", type=Path, help="the reference folder; results/reference/<run> where absent")
    parser.add_argument("--add-hardware", action="store_true", help="only add the run's cells to the reference's")
    arguments = parser.parse_args()
    folder = arguments.out or REFERENCE / arguments.run.name
    if arguments.add_hardware:
        write_reference(arguments.run, folder, add=True)
    else:
        build_reference(arguments.run, folder)


if __name__ == "__main__":
    exit_with_errors(main)
