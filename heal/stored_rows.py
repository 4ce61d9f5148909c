"""Parquet files in bounded row groups: written from a stream of rows, read group by group, rows that load on access.

A token-level column takes 4 bytes per token as an array and 30 to 60 as a Python list, so it is never a list here. A
row of a file holds its small columns; text and list columns stay in the file until they are read, and only the last
row groups that were read stay in memory. Numbers of a list column are NumPy arrays. heal.schemas has the schemas.
"""

from __future__ import annotations

import json
import operator
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heal.errors import DISK_FULL, HealError

ROW_GROUP_BYTES = 16 * 2**20
"""A row group ends behind the row that fills it: about a million tokens of a trace with log-probs and entropies."""
CACHE_BYTES = 32 * 2**20
"""Columns of row groups that one open file keeps in memory."""
SMALL_FILE_BYTES = 2 * 2**20
"""A file of at most this size is read at once: one read is faster than one per column."""
DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError)
"""What reading a damaged file raises: of its pages, of its columns' names, of its metadata."""
LONG_TEXTS = ("text", "kept", "continuation")
"""Text columns that load on access, as list columns do."""


def is_heavy(field: pa.Field) -> bool:
    """Whether a column loads on access."""
    return pa.types.is_list(field.type) or field.name in LONG_TEXTS


def is_numeric_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and not pa.types.is_string(kind.value_type)


@contextmanager
def explain_damage(path: str | Path) -> Iterator[None]:
    """Raises HealError where a file is missing, truncated, damaged or no parquet."""
    try:
        yield
    except FileNotFoundError:
        raise HealError("no such file", where=str(path), fix="run the stage that makes it (snakemake does)") from None
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise HealError(
            f"not a readable parquet file ({str(error).splitlines()[0]})",
            where=str(path),
            fix="it was damaged after it was written: delete it and run snakemake again",
        ) from None


class TableFile:
    """An open parquet file with the columns of a schema. Raises HealError with file, row and field for what is wrong.

    name: of the schema, for messages. required: columns that may not be null.
    """

    def __init__(self, path: str | Path, name: str, schema: pa.Schema, required: frozenset[str]) -> None:
        self.path = path
        self.name = name
        self.schema = schema
        self.required = required
        self.heavy = frozenset(field.name for field in schema if is_heavy(field))
        with explain_damage(path):
            self.file = pq.ParquetFile(path, page_checksum_verification=True)
        self.check_columns()
        groups = [self.file.metadata.row_group(number) for number in range(self.file.num_row_groups)]
        self.starts = [0]
        for group in groups:
            self.starts.append(self.starts[-1] + group.num_rows)
        self.whole: pa.Table | None = None
        if sum(group.total_byte_size for group in groups) <= SMALL_FILE_BYTES:
            with explain_damage(path):
                self.whole = self.cast(self.file.read(columns=schema.names))
            self.starts = [0, self.starts[-1]]
            self.file.close()
        self.cache: OrderedDict[tuple[int, str], tuple[Any, int]] = OrderedDict()
        self.cached_bytes = 0

    def check_columns(self) -> None:
        """Raises HealError for a missing column, and for one whose values have another type."""
        found = self.file.schema_arrow
        for field in self.schema:
            if field.name not in found.names:
                raise HealError(
                    f"no column {field.name!r} (found: {', '.join(found.names)})",
                    where=str(self.path),
                    fix=f"a {self.name} file has the columns {', '.join(self.schema.names)}",
                )
        changed = [field.name for field in self.schema if found.field(field.name).type != field.type]
        for group in range(self.file.num_row_groups if changed else 0):
            with explain_damage(self.path):
                table = self.file.read_row_group(group, columns=changed)
            self.cast(table)

    def cast(self, table: pa.Table) -> pa.Table:
        """The columns of the table with the schema's types. Raises HealError where values do not have them."""
        names = [name for name in self.schema.names if name in table.column_names]
        try:
            return table.select(names).cast(pa.schema([self.schema.field(name) for name in names]))
        except (pa.ArrowException, ValueError) as error:
            raise HealError(
                f"not a {self.name} table: {error}", where=str(self.path), fix="delete it and run snakemake again"
            ) from None

    def check_nulls(self, table: pa.Table, first_row: int) -> None:
        """Raises HealError for a null in a required column. first_row: number of the table's first row, from 0."""
        for name in table.column_names:
            if name in self.required and table[name].null_count:
                row = first_row + table[name].is_null().to_pylist().index(True) + 1
                raise HealError(f"empty {name!r}", where=f"{self.path}, row {row}", fix="fill it, or remove the row")

    def read_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one row group, checked."""
        if self.whole is not None:
            table = self.whole.select(columns)
        else:
            with explain_damage(self.path):
                table = self.cast(self.file.read_row_group(group, columns=list(columns)))
        self.check_nulls(table, self.starts[group])
        return table

    def iterate_tables(self) -> Iterator[pa.Table]:
        """The file in its row groups, checked; groups above the bound come in parts."""
        if self.whole is not None:
            self.check_nulls(self.whole, 0)
            yield self.whole
            return
        for group in range(self.file.num_row_groups):
            table = self.read_group(group, self.schema.names)
            parts = -(-table.nbytes // (2 * ROW_GROUP_BYTES))
            rows = max(1, -(-len(table) // max(1, parts)))
            for start in range(0, len(table), rows):
                yield table.slice(start, rows)

    def read_rows(self) -> list[dict[str, Any]]:
        """Every row; its heavy columns load on access."""
        light = [name for name in self.schema.names if name not in self.heavy]
        rows: list[dict[str, Any]] = []
        for group in range(len(self.starts) - 1):
            table = self.read_group(group, light)
            columns = [table[name].to_pylist() for name in light]
            for values in zip(*columns, strict=True):
                row = StoredRow(zip(light, values, strict=True))
                row.file, row.number = self, len(rows)
                rows.append(row)
        self.check_long_texts()
        return rows

    def check_long_texts(self) -> None:
        """Raises HealError for a null in a required text column; the file's statistics say where to look."""
        for name in self.required & self.heavy & set(LONG_TEXTS):
            if self.whole is not None:
                self.check_nulls(self.whole.select([name]), 0)
                continue
            place = [self.file.schema.column(i).path for i in range(len(self.file.schema))].index(name)
            for group in range(self.file.num_row_groups):
                statistics = self.file.metadata.row_group(group).column(place).statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    self.read_group(group, [name])

    def get_value(self, number: int, name: str) -> Any:
        """A heavy column of one row, by its number from 0: text, a list of texts, or an array; None for null."""
        group = bisect_right(self.starts, number) - 1
        place = number - self.starts[group]
        column = self.get_column(group, name)
        if isinstance(column, ArrayColumn):
            return column.get(place)
        return column[place].as_py()

    def get_column(self, group: int, name: str) -> Any:
        """A heavy column of a row group, from memory where it was read lately."""
        key = (group, name)
        if key in self.cache:
            self.cache.move_to_end(key)
            return self.cache[key][0]
        column = self.read_group(group, [name])[name]
        size = column.nbytes
        value = ArrayColumn(column) if is_numeric_list(column.type) else column
        self.cache[key] = value, size
        self.cached_bytes += size
        while self.cached_bytes > CACHE_BYTES and len(self.cache) > 1:
            _, (_, dropped) = self.cache.popitem(last=False)
            self.cached_bytes -= dropped
        return value


class ArrayColumn:
    """A list column of numbers as one array of values and one of offsets."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        whole = column.combine_chunks()
        array = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
        self.offsets = array.offsets.to_numpy()
        self.values = array.values.to_numpy(zero_copy_only=False)
        self.null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None

    def get(self, place: int) -> np.ndarray | None:
        """A copy of one row's numbers, so that a row that is kept does not keep its row group."""
        if self.null is not None and self.null[place]:
            return None
        return self.values[self.offsets[place] : self.offsets[place + 1]].copy()


class StoredRow(dict[str, Any]):
    """A row of a file: a dict of its small columns whose text and list columns are read on access, and not kept.

    `row | {...}` is such a row too, with the other values in it. `{**row}` and `dict(row)` read every column.
    """

    __slots__ = ("file", "number")
    file: TableFile
    number: int

    def __missing__(self, name: str) -> Any:
        if name in self.file.heavy:
            return self.file.get_value(self.number, name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in self.file.heavy

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def keys(self) -> Any:
        names = dict.fromkeys(self.file.schema.names)
        return (names | dict.fromkeys(dict.__iter__(self))).keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def values(self) -> Any:
        return [self[name] for name in self.keys()]

    def items(self) -> Any:
        return [(name, self[name]) for name in self.keys()]

    def copy(self) -> StoredRow:
        row = StoredRow()
        row.file, row.number = self.file, self.number
        dict.update(row, zip(dict.__iter__(self), dict.values(self), strict=True))
        return row

    def __or__(self, other: Any) -> Any:
        row = self.copy()
        row.update(other)
        return row

    def __ror__(self, other: Any) -> Any:
        return dict(other) | dict(self.items())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return False
        return all(is_equal(self[name], other[name]) for name in self.keys())

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return f"{dict(zip(dict.__iter__(self), dict.values(self), strict=True))!r} of {self.file.path}"

    def __reduce__(self) -> Any:
        return dict, (dict(self.items()),)


def is_equal(value: Any, other: Any) -> bool:
    """Whether two values of a row are equal; arrays and lists with equal numbers are."""
    if isinstance(value, np.ndarray) or isinstance(other, np.ndarray):
        return value is not None and other is not None and np.array_equal(value, other)
    return bool(operator.eq(value, other))


class TableWriter:
    """Writes a file in bounded row groups: from rows, from tables, or from both, in their order."""

    def __init__(self, path: str | Path, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        self.schema = schema
        arrays = [field.name for field in schema if is_numeric_list(field.type)]
        self.writer = pq.ParquetWriter(
            path,
            schema.with_metadata(dict(metadata)),
            compression="zstd",
            use_dictionary=[field.name for field in schema if not is_heavy(field)],
            column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in arrays},
            write_page_checksum=True,
        )
        self.rows: list[Mapping[str, Any]] = []
        self.tables: list[pa.Table] = []
        self.size = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: Any, failure: Any, _: Any) -> None:
        if failure is not None:
            with suppress(Exception):  # the block's own error is the one to raise
                self.writer.close()
            return
        self.flush()
        self.writer.close()

    def add_row(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)
        self.size += weigh_row(row)
        if self.size >= ROW_GROUP_BYTES:
            self.flush()

    def add_table(self, table: pa.Table) -> None:
        """Adds a table with the writer's columns; small tables share a row group."""
        self.collect_rows()
        self.tables.append(table)
        self.size += table.nbytes
        if self.size >= ROW_GROUP_BYTES:
            self.flush()

    def collect_rows(self) -> None:
        if self.rows:
            self.tables.append(build_table(self.rows, self.schema))
            self.rows = []

    def flush(self) -> None:
        """Writes what was added so far as one row group."""
        self.collect_rows()
        if self.tables:
            table = pa.concat_tables([table.replace_schema_metadata(None) for table in self.tables])
            self.writer.write_table(table, row_group_size=max(1, len(table)))
        self.tables, self.size = [], 0


def weigh_row(row: Mapping[str, Any]) -> int:
    """About the bytes that a row takes in memory, as columns."""
    size = 0
    for value in row.values():
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, np.ndarray):
            size += value.nbytes
        elif isinstance(value, list | tuple):
            size += sum(map(len, value)) if value and isinstance(value[0], str) else 4 * len(value)
        else:
            size += 8
    return size


def build_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as columns; a field that a row lacks is null."""
    columns = [build_column([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def build_column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """One column; arrays are joined as they are, not number by number."""
    if not is_numeric_list(kind) or not any(isinstance(value, np.ndarray) for value in values):
        return pa.array(values, type=kind)
    arrays = []
    for value in values:
        is_array = isinstance(value, np.ndarray)
        arrays.append(pa.array(value if is_array else value or [], type=kind.value_type, from_pandas=False))
    offsets = np.zeros(len(arrays) + 1, np.int32)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    null = [value is None for value in values]
    mask = pa.array(null) if any(null) else None
    return pa.ListArray.from_arrays(pa.array(offsets), pa.concat_arrays(arrays), type=kind, mask=mask)


def is_readable(path: str | Path) -> bool:
    """Whether every page of a file can be read and has its checksum."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
    except DAMAGED:
        return False
    return True
