"""The page of what a baseline sees: it has every field, trace file and column, each with its meaning."""

from __future__ import annotations

from dataclasses import fields

import pytest

from heal import trace_files
from heal.method.base import Example, Traces
from heal.schemas import SCHEMAS
from heal.trace_files import TRACE_FILES, TraceFile
from tools.docs import baselines


def read_cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, without its header."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_every_field_of_an_example_has_a_meaning():
    rows = read_cells(baselines.build_example_table())
    assert [row[0] for row in rows] == [f"`{field.name}`" for field in fields(Example)]
    assert all(row[3] for row in rows)


def test_what_a_baseline_reads_is_described_and_the_rest_is_left_out(trace_folder):
    table = baselines.build_traces_table()
    traces = Traces(trace_folder, trace_folder / "train.parquet", [], seed=0)
    described = set(baselines.read_attribute_docs(Traces.__init__))
    assert described == vars(traces).keys() - {"needs", "rows_by_path"}
    for name in (*described, "read(file: TraceFile)", "read_correct(", "find_valid("):
        assert f"`traces.{name}" in table, name
    assert all(row[1] for row in read_cells(table))


def test_every_trace_file_is_listed_by_its_name_in_code():
    names = {row[0].strip("`"): row for row in read_cells(baselines.build_files_table())}
    assert [getattr(trace_files, name) for name in names] == list(TRACE_FILES)
    assert all(row[3] for row in names.values())
    assert len({file.content for file in TRACE_FILES if file.schema != "grades"}) == 12


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_column_has_a_type_and_a_meaning(schema):
    for name, column in SCHEMAS[schema].items():
        assert column.meaning and column.type in baselines.TYPES, name
        assert column.nullable >= ("null" in column.meaning), f"{name}: the meaning speaks of null, the column has none"


def test_the_rows_of_every_trace_file_are_on_the_page():
    page = baselines.build_rows_tables()
    for schema in {"problems", *(file.schema for file in TRACE_FILES)}:
        assert f"### {schema}\n" in page
        for column in SCHEMAS[schema]:
            assert f"| `{column}` |" in page.partition(f"### {schema}\n")[2].partition("###")[0]


def test_a_trace_file_without_content_cannot_be_declared():
    with pytest.raises(TypeError, match="content"):
        TraceFile("new.parquet", "samples", "sample_new", "teacher")
