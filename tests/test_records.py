"""Files between stages: whole or absent, checked when read, resumed without counting twice."""

import json
import os
import subprocess
import sys

import pytest

from heal import records
from heal.config.data import Dataset
from heal.data.load_problems import load
from heal.errors import HealError
from heal.records import Pieces

PROBLEM = {"problem_id": "p", "question": "q", "answer": "1", "solution": None, "source": "s", "difficulty": "easy"}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "problems.parquet"
    records.write(path, "problems", [PROBLEM, PROBLEM | {"solution": "s"}], usage={"generated": 3})
    assert records.read(path, "problems") == [PROBLEM, PROBLEM | {"solution": "s"}]
    assert records.read_usage(path) == {"generated": 3}
    first = path.read_bytes()
    records.write(path, "problems", [PROBLEM, PROBLEM | {"solution": "s"}], usage={"generated": 3})
    assert path.read_bytes() == first


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "problems.parquet"
    records.write(path, "problems", [PROBLEM])
    before = path.read_bytes()
    with pytest.raises(Exception, match="."):
        records.write(path, "problems", [PROBLEM | {"question": object()}])
    with pytest.raises(RuntimeError), records.open_whole(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "table [1].csv"
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = tmp_path / f".{path.name}.{killed.stdout.strip()}.tmp"
    written, other = tmp_path / f".{path.name}.{os.getppid()}.tmp", tmp_path / f".other.csv.{killed.stdout.strip()}.tmp"
    for file in (left, written, other):
        file.touch()
    records.write_text(path, "x")
    assert path.read_text() == "x" and {*tmp_path.iterdir()} == {path, written, other}


def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "linked").symlink_to(tmp_path / "absent")
    (tmp_path / "file").touch()
    for folder, problem in (
        ("linked", "linked: a link to .*absent, which does not exist"),
        ("file", "cannot be written"),
    ):
        with pytest.raises(HealError, match=problem), records.open_whole(tmp_path / folder / "run/table.csv"):
            pytest.fail("the block must not run")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_a_read_only_folder_is_told_to_a_user_without_root_s_rights():
    script = (
        "import os, sys\nfrom heal import records\nfrom heal.errors import exit_with_errors\nos.setuid(65534)\n"
        "exit_with_errors(lambda: records.write_text('/usr/heal-results/table.csv', 'x'))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "/usr/heal-results/table.csv: cannot be written (Permission denied)" in run.stderr
    assert "link to it" in run.stderr


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path):
    script = (
        "import sys\nfrom heal import records\nfrom heal.errors import exit_with_errors\nimport errno\n"
        "def full(*a, **k): raise OSError(errno.ENOSPC, 'No space left on device', sys.argv[1])\n"
        "import pyarrow.parquet\npyarrow.parquet.ParquetWriter.write_table = full\n"
        f"exit_with_errors(lambda: records.write(sys.argv[1], 'problems', [{PROBLEM!r}]))"
    )
    path = tmp_path / "problems.parquet"
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert run.returncode == 2 and f"{path}: the disk is full" in run.stderr and "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_told_with_file_row_and_field(tmp_path):
    path = tmp_path / "problems.parquet"
    with pytest.raises(HealError, match="no such file"):
        records.read(path, "problems")
    records.write(path, "problems", [PROBLEM, PROBLEM | {"answer": None}])
    with pytest.raises(HealError, match=r"row 2: empty 'answer'"):
        records.read(path, "problems")
    with pytest.raises(HealError, match="no column 'trace_id'"):
        records.read(path, "grades")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HealError, match="not a readable parquet file"):
        records.read(path, "problems")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"question": "q", "answer": "1"}, {"question": "r"}], "row 2, field answer"),
        ([{"question": " ", "answer": "1"}], "row 1, field question"),
        ([{"question": "q", "answer": "1"}, {"question": "q", "answer": "1"}], "same question as in row 1"),
        ([{"question": "q", "answer": "see the figure, dear reader of this book"}], "row 1, field answer"),
        ([], "no rows"),
    ],
)
def test_bad_problems_are_refused_with_row_and_field(tmp_path, lines, message):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(HealError, match=message) as refused:
        load(Dataset(source="file", path=str(path)), 0)
    assert str(path) in str(refused.value)


def test_a_cut_off_jsonl_names_its_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n{"question": "r", "ans')
    with pytest.raises(HealError, match="line 2"):
        load(Dataset(source="file", path=str(path)), 0)


def test_gsm8k_and_math_rows_are_understood(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [
        {"question": "q", "answer": "2+2=4\nso\n#### 1,234"},
        {"problem": "r", "answer": "\\frac{1}{2}", "level": 5},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = load(Dataset(source="file", path=str(path)), 0)
    assert first["answer"].replace(",", "") == "1234" and first["solution"] == "2+2=4\n\nso"
    assert second["question"] == "r" and second["difficulty"] == "5"


def test_pieces_of_other_options_are_not_taken_up(tmp_path):
    Pieces(tmp_path / "x.parquet", "problems", "a").add(0, [PROBLEM], {})
    assert Pieces(tmp_path / "x.parquet", "problems", "a").done(0)
    assert not Pieces(tmp_path / "x.parquet", "problems", "b").done(0)


def test_a_jsonl_row_may_hold_any_character_that_ends_a_line_elsewhere(tmp_path):
    rows = [{"text": "a\u2028b\u0085c\x1cd\ne"}, {"text": "\r\n"}]
    records.write_jsonl(tmp_path / "rows.jsonl", rows)
    assert records.read_jsonl(tmp_path / "rows.jsonl") == rows
