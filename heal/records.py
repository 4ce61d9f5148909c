"""The files between commands: ids, checked reading and atomic writing.

Every table is a parquet file with one of the schemas of heal.schemas. Ids are content hashes. A file is written to a
temporary name and renamed, so a finished name never holds half a file. Finished batches of unfinished work are in a
`Pieces` folder next to the file; a killed job resumes from them. The tokens that a command used are in its file's
metadata (`usage`), so that costs survive a resume. heal.stored_rows is how the files are read and written.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heal.errors import DISK_FULL, HealError
from heal.schemas import SCHEMAS
from heal.stored_rows import TableFile, TableWriter, explain_damage, is_readable

Row = dict[str, Any]
Usage = dict[str, int]

ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a surrogate pair in JSON; only after one can a text be no Unicode."""


def hash_content(*parts: Any) -> str:
    """16 hex digits that depend on every part."""
    return hashlib.sha256(json.dumps(parts, default=list).encode()).hexdigest()[:16]


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed from (run seed, teacher seed, purpose, problem, index, …), so that sharding changes nothing."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big") >> 1


def get_schema(name: str) -> pa.Schema:
    return pa.schema([(column, about.type) for column, about in SCHEMAS[name].items()])


def write(path: str | Path, schema: str, rows: Iterable[Row], *, usage: Mapping[str, int] | None = None) -> None:
    """Writes the rows whole, or nothing: a temporary file in the same folder, synced, then renamed.

    The rows may be an iterator: they are written in row groups as they come.
    """
    with open_writer(path, schema, usage) as writer:
        for row in rows:
            writer.add_row(row)


@contextmanager
def open_writer(path: str | Path, schema: str, usage: Mapping[str, int] | None = None) -> Iterator[TableWriter]:
    """A writer of a file that is renamed to `path` when the block ends well, else removed."""
    metadata = {"usage": json.dumps(dict(usage or {}), sort_keys=True)}
    with open_whole(path) as temporary, TableWriter(temporary, get_schema(schema), metadata) as writer:
        yield writer


def write_table(path: str | Path, table: pa.Table) -> None:
    with open_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def concatenate(parts: Iterable[str | Path], path: str | Path, schema: str) -> Usage:
    """Joins files of one schema in their order, row group by row group; returns the tokens that all of them took."""
    files = list(parts)
    usage = add_usage(read_usage(file) for file in files)
    with open_writer(path, schema, usage) as writer:
        for file in files:
            for table in open_rows(file, schema).iterate_tables():
                writer.add_table(table)
    return usage


class open_whole:
    """`with open_whole(path) as temporary:` renames temporary to path when the block ends well, else removes it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.touch()  # a folder that may not be written shows here, before any work
            self.remove_abandoned()
        except OSError as error:
            raise explain_refusal(error, self.path) from None
        return self.temporary

    def remove_abandoned(self) -> None:
        """Removes what killed writers of this file have left."""
        for temporary in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
            writer = temporary.name.split(".")[-2]
            if writer.isdecimal() and not is_alive(int(writer)):
                temporary.unlink(missing_ok=True)

    def __exit__(self, kind: Any, failure: Any, _: Any) -> None:
        if failure is None:
            with open(self.temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(self.temporary, self.path)
            return
        self.temporary.unlink(missing_ok=True)
        if isinstance(failure, OSError) and failure.errno in DISK_FULL:
            raise HealError(
                "the disk is full, so nothing was written",
                where=str(self.path),
                fix="free some space and run the same command again; finished batches are kept",
            ) from None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has this id."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # another user's
    return True


def explain_refusal(error: OSError, path: Path) -> Exception:
    """The error as one that says which folder cannot be written, and what to do; others as they are."""
    if error.errno in DISK_FULL:
        return error
    for folder in reversed(path.parents):
        if folder.is_symlink() and not folder.exists():
            problem = f"a link to {folder.readlink()}, which does not exist"
            return HealError(problem, where=str(folder), fix="make that folder, or link to another")
    fix = "make its folder writable; or move results/ to another disk, and link to it"
    return HealError(f"cannot be written ({error.strerror})", where=str(path), fix=fix)


def write_text(path: str | Path, content: str) -> None:
    """Writes a text file whole."""
    with open_whole(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def open_table(path: str | Path) -> pa.Table:
    """A whole table. Raises HealError where the file is missing, truncated or no parquet."""
    with explain_damage(path):
        return pq.read_table(path)


def open_rows(path: str | Path, schema: str) -> TableFile:
    """The open file, with the schema's columns. Raises HealError where it lacks one."""
    required = frozenset(column for column, about in SCHEMAS[schema].items() if not about.nullable)
    return TableFile(path, schema, get_schema(schema), required)


def read(path: str | Path, schema: str) -> list[Row]:
    """The rows, checked against the schema: HealError names file, row (from 1) and field.

    A row's texts and lists are read on access and not kept; numbers of a list are a NumPy array. Rows are read fastest
    in the order of the file. `row | {...}` copies none of them, `{**row}` all.
    """
    return open_rows(path, schema).read_rows()


def read_usage(path: str | Path) -> Usage:
    """The tokens that it took to make this file."""
    with explain_damage(path):
        metadata = pq.read_schema(path).metadata or {}
        return json.loads(metadata.get(b"usage", b"{}"))


def add_usage(usages: Iterable[Mapping[str, int]]) -> Usage:
    total: Usage = {}
    for one in usages:
        for key, value in one.items():
            total[key] = total.get(key, 0) + value
    return total


def read_utf8(path: str | Path) -> str:
    """The text of a file, without a byte order mark. Raises HealError where it is missing or not UTF-8."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise HealError("no such file", where=str(path), fix="give an existing file") from None
    except UnicodeDecodeError as error:
        raise HealError(f"not UTF-8 text ({error.reason})", where=str(path), fix="save it as UTF-8") from None


def read_jsonl(path: str | Path) -> list[Row]:
    """Raises HealError with the line where one is not a JSON object; a cut last line is such a line."""
    rows = []
    # Not splitlines, which cuts at U+2028 and others that JSON may hold. Joined files have byte order marks inside.
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        line = line.removeprefix("\ufeff")
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            fix = "was the file cut off? fix the line"
            raise HealError(f"not valid JSON ({error.msg})", where=where, fix=fix) from None
        check_object(row, where, line)
        rows.append(row)
    return rows


def read_json_rows(path: str | Path) -> list[Row]:
    """The rows of a file that is one JSON list of objects. Raises HealError for any other."""
    content = read_utf8(path)
    try:
        rows = json.loads(content)
    except json.JSONDecodeError as error:
        fix = "fix that line; a file with one object per line is named .jsonl"
        raise HealError(f"not valid JSON ({error.msg})", where=f"{path}, line {error.lineno}", fix=fix) from None
    if not isinstance(rows, list):
        fix = "give a list of objects, or a .jsonl file with one object per line"
        raise HealError(f"expected a list, found {type(rows).__name__}", where=str(path), fix=fix)
    for number, row in enumerate(rows, 1):
        check_object(row, f"{path}, row {number}", content)
    return rows


def check_object(row: Any, where: str, source: str) -> None:
    """Raises HealError where a row is no object, or has a text that is not Unicode. source: its JSON."""
    if not isinstance(row, dict):
        raise HealError(f"expected an object, found {row!r:.60}", where=where, fix="fix the line")
    if ESCAPED_SURROGATE.search(source):
        for field, value in row.items():
            check_unicode(json.dumps(value, ensure_ascii=False), f"{where}, field {field}")


def check_unicode(text: str, where: str) -> None:
    """Raises HealError for half of a surrogate pair (an emoji cut in two), which no file or tokenizer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"half of a surrogate pair, {text[error.start]!r}: a character was cut in two"
        raise HealError(problem, where=where, fix="restore the character, or remove it") from None


def write_jsonl(path: str | Path, rows: Iterable[Row]) -> None:
    """Writes one JSON object per line, whole, as the rows come."""
    with open_whole(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


class Pieces:
    """Finished batches of an unfinished file, one parquet each, in a hidden folder next to it.

    The folder's name holds a hash of everything that decides the content (`fingerprint`), so work under other options
    is never resumed. `finish` writes the whole file in the order of the batches and removes the folder.
    """

    def __init__(self, path: str | Path, schema: str, fingerprint: Any) -> None:
        self.path = Path(path)
        self.schema = schema
        self.folder = self.path.parent / f".{self.path.name}.{hash_content(fingerprint)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checked: set[int] = set()

    def done(self, number: int) -> bool:
        """Whether the batch is there and can be read; a damaged one is removed, so that it is made again."""
        file = self.file(number)
        if number in self.checked or not file.exists():
            return file.exists()
        if is_readable(file):
            self.checked.add(number)
            return True
        print(f"{file}: damaged, so this batch is made again", file=sys.stderr, flush=True)
        file.unlink()
        return False

    def file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def add(self, number: int, rows: Iterable[Row], usage: Mapping[str, int]) -> None:
        write(self.file(number), self.schema, rows, usage=usage)

    def finish(self, batches: int) -> Usage:
        """Returns the tokens that all batches spent."""
        total = concatenate([self.file(number) for number in range(batches)], self.path, self.schema)
        shutil.rmtree(self.folder)
        return total


def split_batches(items: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """(number, batch) pairs; the batches do not depend on how far an earlier attempt came."""
    for number, start in enumerate(range(0, len(items), size)):
        yield number, items[start : start + size]
