"""What a method is given: the traces of the files that it declared, and the first of equal texts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heal.errors import HealError
from heal.method.base import Traces, take_distinct
from heal.trace_files import GRADES, SAMPLES


def test_only_declared_files_can_be_read(trace_folder):
    traces = Traces(trace_folder, trace_folder / "train.parquet", [GRADES], 0)
    with pytest.raises(HealError, match="was not declared"):
        traces.read(SAMPLES)


def make_repairs(texts_by_source):
    """Rows of a problem in the order of a repairs file: all repairs of one wrong trace, then those of the next."""
    rows = []
    for source, texts in texts_by_source.items():
        rows += [{"text": text, "source_id": source} for text in texts]
    return rows


def test_distinct_traces_are_taken_round_robin_over_their_sources():
    rows = make_repairs({"s1": "abcd", "s2": "efa", "s3": "g"})
    assert "".join(row["text"] for row in take_distinct(rows, 4)) == "aegb"
    assert "".join(row["text"] for row in take_distinct(rows, 99)) == "aegbfcd"


@given(st.dictionaries(st.sampled_from("xyz"), st.text("abcdef", max_size=8)), st.integers(1, 9))
def test_no_source_gives_two_traces_more_than_another_that_has_more(texts_by_source, limit):
    rows = make_repairs(texts_by_source)
    chosen = take_distinct(rows, limit)
    assert len(chosen) == min(limit, len({row["text"] for row in rows})) == len({row["text"] for row in chosen})
    everything = Counter(row["source_id"] for row in take_distinct(rows, 99))
    counts = Counter(row["source_id"] for row in chosen)
    for source in everything:
        if counts[source] < everything[source]:  # it had more to give
            assert all(count <= counts[source] + 1 for count in counts.values())


def test_distinct_keeps_the_first_of_equal_texts():
    rows = [{"text": "a", "n": 1}, {"text": "a", "n": 2}, {"text": "b", "n": 3}]
    assert [row["n"] for row in take_distinct(rows, 5)] == [1, 3] and len(take_distinct(rows, 1)) == 1
    again = [{"text": "a", "n": 1}, {"text": "b", "n": 2}, {"text": "a", "n": 3}]
    assert [row["n"] for row in take_distinct(again, 5)] == [1, 2]
