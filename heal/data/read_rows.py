"""Read the rows of a user's file: jsonl, json (a list of rows), parquet or csv, each as UTF-8.

Errors name file, line or row, and what to do about it.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path

from heal import records
from heal.errors import HealError
from heal.records import Row
from heal.stored_rows import explain_damage

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
CLOCK_TOLERANCE_S = 60
"""Maximum seconds by which the clocks of machine and disk may differ."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
FETCH_LFS = "fetch the data itself: `git lfs pull` in its repository, or download the file again"


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a file, unchanged. Raises HealError for any other file."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        fix = "give a .jsonl, .json, .parquet or .csv file"
        raise HealError(f"unknown file type {suffix!r}", where=str(path), fix=fix)
    check_is_data(path)
    if suffix == ".jsonl":
        return records.read_jsonl(path)
    if suffix == ".json":
        return records.read_json_rows(path)
    if suffix == ".csv":
        return read_csv(path)
    try:
        with explain_damage(path):  # a text is decoded when it is read
            return records.open_table(path).to_pylist()
    except HealError as error:
        raise HealError(
            error.problem, where=error.where, fix="save it again as parquet, or download it again"
        ) from None


def check_is_data(path: str | Path) -> None:
    """Raises HealError for a missing file, a Git LFS pointer in its place, and a file from the future.

    Snakemake would take such a file for newer than all that is made from it, and fail.
    """
    try:
        with open(path, "rb") as stream:
            beginning = stream.read(len(LFS_POINTER))
            seconds = os.fstat(stream.fileno()).st_mtime - time.time()
    except (FileNotFoundError, IsADirectoryError):
        raise HealError("no such file", where=str(path), fix="give an existing file") from None
    if beginning == LFS_POINTER:
        raise HealError("a Git LFS pointer instead of the data", where=f"{path}, line 1", fix=FETCH_LFS)
    if seconds > CLOCK_TOLERANCE_S:
        fix = f"correct the clock of this machine or of the disk's, then `touch {path}`"
        raise HealError(f"changed {seconds:.0f} seconds in the future", where=str(path), fix=fix)


def read_csv(path: str | Path) -> list[Row]:
    """The rows of a csv file; the first line names the columns. Raises HealError for a row with more cells."""
    csv.field_size_limit(sys.maxsize)  # a worked solution may have more than the default's 131,072 characters
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        problem = f"not a readable csv file ({error})"
        raise HealError(problem, where=str(path), fix="save it again as UTF-8 csv") from None
    for number, row in enumerate(rows, 1):
        excess = row.get(None)
        if excess is not None:
            columns = reader.fieldnames or ()
            problem = f"{len(columns) + len(excess)} cells for the {len(columns)} columns {', '.join(columns)}"
            raise HealError(problem, where=f"{path}, row {number}", fix="put cells with a comma into double quotes")
    return rows
