"""Files as users have them: every type and encoding gives the same rows, and a faulty file is named with its place."""

import csv
import json
import os
import time

import pytest

from heal.data.read_rows import read_rows
from heal.errors import HealError

ROWS = [{"question": "Is \u2028 a line? Größe?", "answer": "1"}, {"question": "What is 2?", "answer": "2"}]


def write(path, content):
    path.write_bytes(content)
    return path


def write_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", write_jsonl(ROWS)),
        ("a.jsonl", "\ufeff" + write_jsonl(ROWS)),
        ("a.jsonl", "\ufeff" + write_jsonl(ROWS[:1]) + "\ufeff" + write_jsonl(ROWS[1:])),
        ("a.jsonl", write_jsonl(ROWS).replace("\n", "\r\n")),
        ("a.json", json.dumps(ROWS)),
        ("a.json", "\ufeff" + json.dumps(ROWS, indent=1, ensure_ascii=False)),
        ("a.csv", "\ufeffquestion,answer\r\n" + "".join(f"{row['question']},{row['answer']}\r\n" for row in ROWS)),
    ],
)
def test_encodings_and_types_do_not_change_the_rows(tmp_path, name, content):
    assert read_rows(write(tmp_path / name, content.encode())) == ROWS


def test_a_cell_may_be_long(tmp_path):
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["question"], ["x" * 200_000]])
    assert read_rows(tmp_path / "a.csv") == [{"question": "x" * 200_000}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"question,answer\nWhat is 1, 2 or 3?,1\n", "row 1: 3 cells for the 2 columns question, answer"),
        ("a.jsonl", b'{"question": "cut \\ud83d here"}\n', "line 1, field question: half of a surrogate pair"),
        ("a.json", b'[{"question": "cut \\udc00"}]', "row 1, field question: half of a surrogate pair"),
        ("a.jsonl", b'{"question": "1"}\n{"ques', "line 2: not valid JSON"),
        ("a.json", b'{"question": "1"}', "expected a list"),
        ("a.json", b'{"question": "1"}\n{"question": "2"}\n', "a.json, line 2: not valid JSON"),
        ("a.jsonl", "Größe".encode("latin-1"), "not UTF-8"),
        ("a.parquet", b"no parquet", "download it again"),
        ("a.txt", b"", "unknown file type '.txt'"),
    ],
)
def test_a_faulty_file_is_named_with_the_place(tmp_path, name, content, message):
    with pytest.raises(HealError) as refused:
        read_rows(write(tmp_path / name, content))
    assert message in str(refused.value) and "Fix" in str(refused.value) and "snakemake" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path, suffix):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with pytest.raises(HealError, match=r"Git LFS pointer(.|\n)*git lfs pull"):
        read_rows(write(tmp_path / f"a{suffix}", pointer))


def test_a_file_from_the_future_names_the_clock(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"question": "1"}')
    os.utime(path, (time.time() + 3600,) * 2)
    with pytest.raises(HealError, match=r"in the future(.|\n)*clock(.|\n)*touch"):
        read_rows(path)


def test_a_whole_pair_of_surrogates_is_a_character(tmp_path):
    assert read_rows(write(tmp_path / "a.jsonl", b'{"question": "\\ud83d\\ude00"}')) == [{"question": "\U0001f600"}]
