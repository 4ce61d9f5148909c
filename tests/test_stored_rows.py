"""Files in row groups: token columns are arrays, memory is bounded by a row group, damage is told and made good."""

from __future__ import annotations

import errno
import itertools
import pickle
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heal import records, stored_rows
from heal.errors import HealError
from heal.pipeline.merge import Merge
from heal.pipeline.runner import run_batches

TOKENS = 2000


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of about three traces, none of them read at once."""
    monkeypatch.setattr(stored_rows, "ROW_GROUP_BYTES", 3 * 12 * TOKENS)
    monkeypatch.setattr(stored_rows, "CACHE_BYTES", 3 * 12 * TOKENS)
    monkeypatch.setattr(stored_rows, "SMALL_FILE_BYTES", 0)


def make_trace(number, tokens=TOKENS):
    values = np.random.default_rng(number).random(tokens).astype(np.float32)
    return {
        "trace_id": f"t{number}",
        "problem_id": f"p{number // 3}",
        "index": number,
        "text": f"step {number} ≤ 7\n\n" * 9,
        "token_ids": np.arange(number, number + tokens, dtype=np.int32),
        "logprobs": -values,
        "entropies": values,
        "entropies_upper": None if number % 2 else values,
        "finish_reason": "stop",
    }


def write_traces(path, count, first=0):
    records.write(path, "samples", map(make_trace, range(first, first + count)), usage={"generated": count})
    return path


def test_token_columns_are_arrays_and_rows_are_as_written(tmp_path, small_groups):
    rows = records.read(write_traces(tmp_path / "a.parquet", 10), "samples")
    for number in (7, 0, 9, 3):
        row, written = rows[number], make_trace(number)
        assert row == written and {**row}.keys() == written.keys() and len(row) == len(written)
        for name, dtype in (("token_ids", np.int32), ("logprobs", np.float32), ("entropies", np.float32)):
            assert isinstance(row[name], np.ndarray) and row[name].dtype == dtype
            assert row[name].base is None  # a view would keep its row group in memory
        assert row != written | {"token_ids": [1]} and row != written | {"index": 99}
        assert pickle.loads(pickle.dumps(row)) == row
    with pytest.raises(KeyError):
        rows[0]["no_column"]
    assert rows[0].get("no_column", 5) == 5 and rows[0].get("entropies_upper") is not None


def test_arrays_and_lists_are_written_alike(tmp_path):
    rows = [make_trace(number) for number in range(3)]
    records.write(tmp_path / "arrays.parquet", "samples", rows)
    lists = [row | {"token_ids": row["token_ids"].tolist(), "logprobs": row["logprobs"].tolist()} for row in rows]
    records.write(tmp_path / "lists.parquet", "samples", lists)
    assert (tmp_path / "arrays.parquet").read_bytes() == (tmp_path / "lists.parquet").read_bytes()


def test_a_row_keeps_no_heavy_column_and_a_changed_row_stays_one(tmp_path, small_groups):
    first, second, *_ = records.read(write_traces(tmp_path / "a.parquet", 10), "samples")
    changed = second | {"entropies": second["entropies_upper"], "origin": "repair"}
    for row in (first, second, changed):
        assert row["text"] and len(row["token_ids"]) == TOKENS
        assert not {"text", "token_ids"} & set(dict.keys(row))
    assert changed["entropies"] is None and changed["origin"] == "repair" and changed["trace_id"] == "t1"
    assert "origin" not in second and second["entropies"] is not None


@pytest.mark.usefixtures("small_groups")
def test_the_memory_of_a_reader_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for count in (20, 200):
        path = write_traces(tmp_path / f"{count}.parquet", count)
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        arrow_peak = 0
        for row in records.read(path, "samples"):
            assert len(row["token_ids"]) == len(row["entropies"]) and row["text"]
            arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - before)
        peaks.append(arrow_peak + tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 180 * 12 * TOKENS / 20  # 180 rows more: their ids, not their tokens


@pytest.mark.usefixtures("small_groups")
def test_written_and_joined_files_have_bounded_row_groups(tmp_path):
    parts = [write_traces(tmp_path / f"{first}.parquet", 8, first) for first in (0, 8)]
    whole = pa.concat_tables([pq.read_table(part) for part in parts])
    pq.write_table(whole, tmp_path / "one_group.parquet", row_group_size=100)
    out = tmp_path / "out.parquet"
    for sources in (parts, [tmp_path / "one_group.parquet"]):
        records.concatenate(sources, out, "samples")
        metadata = pq.read_metadata(out)
        assert metadata.num_rows == 16 and metadata.num_row_groups > 3
        sizes = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
        assert max(sizes) < 3 * stored_rows.ROW_GROUP_BYTES


@pytest.mark.usefixtures("small_groups")
def test_a_merged_file_has_the_rows_and_the_tokens_of_its_parts(tmp_path):
    parts = [write_traces(tmp_path / f"{first}.parquet", 5, first) for first in (0, 5, 10)]
    records.write(tmp_path / "none.parquet", "samples", [])
    parts.insert(1, tmp_path / "none.parquet")
    out = tmp_path / "out.parquet"
    Merge(table="samples", parts=parts, out=out).run()
    expected = pa.concat_tables([pq.read_table(part) for part in parts])
    assert pq.read_table(out).equals(expected) and records.read_usage(out) == {"generated": 15}


def test_small_parts_share_a_row_group(tmp_path):
    parts = [write_traces(tmp_path / f"{first}.parquet", 1, first) for first in range(6)]
    records.concatenate(parts, tmp_path / "out.parquet", "samples")
    assert pq.read_metadata(tmp_path / "out.parquet").num_row_groups == 1


def damage(path):
    """Changes a byte in the middle of the file: its footer stays as it is."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))


def test_a_damaged_shard_is_told_by_name_and_nothing_is_written(tmp_path):
    parts = [write_traces(tmp_path / f"{first}.parquet", 5, first) for first in (0, 5)]
    for spoil in (damage, lambda path: path.write_bytes(path.read_bytes()[:-100])):
        write_traces(parts[1], 5, 5)
        spoil(parts[1])
        with pytest.raises(HealError, match=r"5\.parquet: not a readable parquet file") as refused:
            Merge(table="samples", parts=parts, out=tmp_path / "out.parquet").run()
        assert "delete it" in refused.value.fix and not (tmp_path / "out.parquet").exists()
        with pytest.raises(HealError, match=r"5\.parquet"):
            [row["entropies"] for row in records.read(parts[1], "samples")]


def work_through(out, worked):
    """Runs four batches of two traces; appends the batches that were worked on."""

    def work(batch):
        worked.append(list(batch))
        return list(map(make_trace, batch)), {"generated": len(batch)}

    return run_batches(out, "samples", range(8), 2, work, fingerprint="f", label="traces")


def stop_at_batch(monkeypatch, number):
    """Makes the disk full when a file of batch `number` (4: the whole file) is written."""
    writes = itertools.count()
    write_table = pq.ParquetWriter.write_table

    def write(self, *args, **kwargs):
        if next(writes) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_table(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write)


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_disk_that_fills_loses_no_finished_batch(tmp_path, monkeypatch, number):
    whole, first, second = [], [], []
    usage = work_through(tmp_path / "whole.parquet", whole)
    with monkeypatch.context() as patch:
        stop_at_batch(patch, number)
        with pytest.raises(HealError, match="the disk is full"):
            work_through(tmp_path / "out.parquet", first)
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "out.parquet").exists()
    assert work_through(tmp_path / "out.parquet", second) == usage
    assert second == whole[number:]
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_damaged_batch_is_made_again_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    whole, again = [], []
    work_through(tmp_path / "whole.parquet", whole)
    with monkeypatch.context() as patch:
        stop_at_batch(patch, 3)
        with pytest.raises(HealError):
            work_through(tmp_path / "out.parquet", [])
    pieces = sorted(tmp_path.glob(".out.parquet.*/*.parquet"))
    assert len(pieces) == 3
    damage(pieces[1])
    work_through(tmp_path / "out.parquet", again)
    assert again == [whole[1], whole[3]] and "000001.parquet: damaged" in capsys.readouterr().err
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.usefixtures("small_groups")
def test_a_missing_value_is_told_with_its_row_in_any_row_group(tmp_path):
    rows = [make_trace(number) for number in range(9)]
    rows[7]["text"] = None
    records.write(tmp_path / "a.parquet", "samples", rows)
    with pytest.raises(HealError, match=r"row 8: empty 'text'"):
        records.read(tmp_path / "a.parquet", "samples")
    rows[7] |= {"text": "t", "entropies": None}
    records.write(tmp_path / "b.parquet", "samples", rows)
    with pytest.raises(HealError, match=r"row 8: empty 'entropies'"):
        [row["entropies"] for row in records.read(tmp_path / "b.parquet", "samples")]


def test_columns_of_another_type_are_cast_or_refused(tmp_path):
    table = pq.read_table(write_traces(tmp_path / "a.parquet", 2))
    place = table.schema.get_field_index("token_ids")
    wide = table.set_column(place, "token_ids", table["token_ids"].cast(pa.list_(pa.int64())))
    pq.write_table(wide, tmp_path / "wide.parquet")
    row = records.read(tmp_path / "wide.parquet", "samples")[1]
    assert row["token_ids"].dtype == np.int32 and row == make_trace(1)
    words = table.set_column(place, "token_ids", pa.array([["a"], ["b"]]))
    pq.write_table(words, tmp_path / "words.parquet")
    with pytest.raises(HealError, match="not a samples table"):
        records.read(tmp_path / "words.parquet", "samples")
