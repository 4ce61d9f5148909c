"""Training sets for other trainers: nothing is lost, and in PACE's order they are what the student saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from heal.method.pace import order_exposures
from tests.support.paths import ROOT


@pytest.fixture
def curriculum(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"e{number}",
            "problem_id": str(number),
            "stage": number % 3 + 1,
            "weight": 1.0,
            "origin": "sample",
            "origin_id": str(number),
            "messages": [
                {"role": "user", "content": f"q{number}\u2028?"},
                {"role": "assistant", "content": f"é {number}"},
            ],
        }
        for number in range(7)
    ]
    path = tmp_path / "curriculum.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def export(curriculum: Path, out: Path, *options: str) -> None:
    command = [
        sys.executable,
        "-m",
        "heal",
        "export",
        "--curriculum",
        str(curriculum),
        "--out",
        str(out),
        *options,
    ]
    subprocess.run(command, check=True, cwd=ROOT)


def test_trl_reads_every_conversation_as_it_was(curriculum: Path, tmp_path: Path) -> None:
    export(curriculum, tmp_path / "out", "--format", "trl")
    dataset = load_dataset("json", data_files=str(tmp_path / "out/train.jsonl"), split="train", cache_dir=str(tmp_path))
    original = [json.loads(line) for line in curriculum.read_text().split("\n") if line]
    assert [row["messages"] for row in dataset] == [row["messages"] for row in original]


def test_llamafactory_finds_its_file_and_columns_by_its_own_description(curriculum: Path, tmp_path: Path) -> None:
    export(curriculum, tmp_path / "out", "--format", "llamafactory")
    (described,) = json.loads((tmp_path / "out/dataset_info.json").read_text()).values()
    rows = json.loads((tmp_path / "out" / described["file_name"]).read_text())
    assert described["formatting"] == "sharegpt" and len(rows) == 7
    turns = rows[2][described["columns"]["messages"]]
    assert [(turn["from"], turn["value"]) for turn in turns] == [("human", "q2\u2028?"), ("gpt", "é 2")]


def test_in_a_schedules_order_it_is_what_the_student_sees(curriculum: Path, tmp_path: Path) -> None:
    options = ("--schedule", "cumulative", "--max-steps", "10", "--batch-size", "4", "--seed", "3")
    export(curriculum, tmp_path / "out", "--format", "trl", *options)
    shown = [json.loads(line)["id"] for line in (tmp_path / "out/train.jsonl").read_text().split("\n") if line]
    order, _ = order_exposures([n % 3 + 1 for n in range(7)], schedule="cumulative", max_steps=10, batch_size=4, seed=3)
    assert shown == [f"e{number}" for number in order]


def test_what_no_format_can_mask_is_refused(curriculum: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in curriculum.read_text().splitlines()]
    rows[3]["prefix"] = rows[3]["messages"][1]["content"][:1]
    curriculum.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        sys.executable,
        "-m",
        "heal",
        "export",
        "--curriculum",
        curriculum,
        "--format",
        "trl",
        "--out",
        tmp_path / "o",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "e3" in ended.stderr and not (tmp_path / "o").exists()
