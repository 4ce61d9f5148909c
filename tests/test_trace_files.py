"""The table of trace files: paths name their wildcards, an entry is found from a path, parents come with it."""

import pytest

from heal.schemas import SCHEMAS
from heal.trace_files import (
    EXTRA_GRADES,
    EXTRA_SAMPLES,
    REPAIRS,
    SAMPLES,
    SCORES,
    STUDENT_GRADES,
    TRACE_FILES,
    find_trace_file,
    list_trace_files,
)


@pytest.mark.parametrize("file", TRACE_FILES, ids=lambda file: file.path)
def test_every_entry_has_a_schema_and_is_found_from_a_filled_path(file):
    assert file.schema in SCHEMAS
    filled = file.of(variant="no_hint", allocation="treated", student="tiny")
    assert filled.wildcards == []
    assert find_trace_file(filled.path) == filled


def test_filling_in_a_wildcard_fills_in_the_parents_too():
    assert [parent.path for parent in SCORES.of(variant="no_hint").parents][-1] == "repairs/no_hint.parquet"
    grades = find_trace_file("extra/uniform/no_hint.grades.parquet")
    assert grades == EXTRA_GRADES.of(allocation="uniform", variant="no_hint")
    assert grades.parents[0].path == "extra/uniform/no_hint.parquet"
    assert find_trace_file("students/{student}/grades.parquet") == STUDENT_GRADES


def test_variants_never_share_a_file():
    paths = [file.path for file in list_trace_files(["default", "no_hint"])]
    assert len(paths) == len(set(paths))
    assert {"repairs/default.parquet", "repairs/no_hint.parquet", "extra/treated/no_hint.parquet"} <= set(paths)
    assert REPAIRS.of(variant="a").path != REPAIRS.of(variant="b").path


@pytest.mark.parametrize("path", ["sample.parquet", "repairs/a/b.parquet", "extra/uniform.parquet", "scores/a.csv"])
def test_a_path_outside_the_table_is_refused(path):
    with pytest.raises(KeyError):
        find_trace_file(path)


def test_a_file_that_costs_tokens_names_the_model_that_makes_it():
    assert SAMPLES.made_by == EXTRA_SAMPLES.made_by == "teacher"
    assert STUDENT_GRADES.made_by == "cpu"
