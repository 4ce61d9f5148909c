"""A run that is killed again and again is told from one that loses a row, or leaves a process behind."""

from __future__ import annotations

import random
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks import chaos
from benchmarks.growing_table import GrowingTable

COUNTER = """
import pathlib, subprocess, sys, time

table = pathlib.Path("results/tables/main.csv")
table.parent.mkdir(parents=True, exist_ok=True)
if {leaves_child}:
    subprocess.Popen(["sleep", "3"], start_new_session=True)
done = len(table.read_text().splitlines()) if table.exists() else 0
for row in range(done, 10):
    time.sleep(0.05)
    with table.open("a") as file:
        file.write(f"{{row}}\\n" * (2 if {repeats} and done else 1))
"""
"""Writes ten rows, half a second in all, and goes on where it was killed."""


def break_counter(folder: Path, leaves_child: bool = False, repeats: bool = False) -> list[tuple[str, ...]]:
    """Five kills of the counter; the rows of the table."""
    program = folder / "counter.py"
    program.write_text(textwrap.dedent(COUNTER.format(leaves_child=leaves_child, repeats=repeats)))
    run = chaos.Run(folder, folder / "results", [sys.executable, str(program)])
    table = GrowingTable(chaos.HEADER, None)
    chaos.break_run(run, 5, 0.4, random.Random(0), folder, table)
    return [tuple(row) for row in table.rows]


def test_a_run_that_goes_on_where_it_was_killed_passes(tmp_path: Path) -> None:
    rows = break_counter(tmp_path)
    assert [row[0] for row in rows] == list("12345") and {row[-1] for row in rows} == {"0"}


def test_a_row_that_is_written_twice_after_a_kill_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="1 of 1 files differ after kills: tables/main.csv"):
        break_counter(tmp_path, repeats=True)


def test_a_process_that_outlives_the_kill_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.processes.LIMIT_S", 0.5)
    with pytest.raises(SystemExit, match=r"processes \[\d+\] live"):
        break_counter(tmp_path, leaves_child=True)


def test_the_jobs_that_were_running_are_those_that_began_and_did_not_end() -> None:
    started = "Job 3: Teacher default, teacher seed 0: samples, shard 1 of 2\n\n"
    started += "Job 12: Table: main\nJob 1: Training tiny: heal, seed 0 (teacher default, teacher seed 0)\n"
    assert chaos.list_running_jobs(started)[0] == "samples, shard 1 of 2"
    log = started + "Finished jobid: 3 (Rule: sample_base)\n"
    assert chaos.list_running_jobs(log) == ["Table: main", "Training tiny: heal, seed 0"]
