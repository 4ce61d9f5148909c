"""What a method is given: the traces of the files that it declared, and the first of equal texts."""

import pytest

from heal.errors import HealError
from heal.method.base import Traces, take_distinct
from heal.trace_files import GRADES, SAMPLES


def test_only_declared_files_can_be_read(trace_folder):
    traces = Traces(trace_folder, trace_folder / "train.parquet", [GRADES], 0)
    with pytest.raises(HealError, match="was not declared"):
        traces.read(SAMPLES)


def test_distinct_keeps_the_first_of_equal_texts():
    rows = [{"text": "a", "n": 1}, {"text": "a", "n": 2}, {"text": "b", "n": 3}]
    assert [row["n"] for row in take_distinct(rows, 5)] == [1, 3] and len(take_distinct(rows, 1)) == 1
