"""Figures of accuracy: the table's numbers, and every problem below the ceiling."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd

from evals.figures import accuracy as figures
from tests.support.commands import run_main
from tests.support.run_factory import make_table_arguments
from tests.support.tables import get_row


def test_ceiling_counts_every_problem():
    problems = [{"problem_id": str(i), "difficulty": "hard" if i < 3 else "easy"} for i in range(5)]
    grades = [{"problem_id": str(i), "correct": j < i} for i in range(5) for j in range(4)]
    numbers = figures.ceiling_numbers(problems, grades)
    assert numbers["problems"].sum() == 5
    assert set(zip(numbers["difficulty"], numbers["correct"], strict=True)) == {
        ("hard", 0),
        ("hard", 1),
        ("hard", 2),
        ("easy", 3),
        ("easy", 4),
    }


def test_accuracy_figure_has_equal_bytes_and_the_table_s_numbers(run, table, monkeypatch):
    axes = make_table_arguments(run, run / "unused")[
        : -len(["--methods-json", "", "--reference-method", "", "--out", ""])
    ]
    for name in ("one", "two"):
        run_main(monkeypatch, figures.main, "accuracy", *axes, "--out", str(run / name / "accuracy.svg"))
    for suffix in ("svg", "png", "csv"):
        one, two = ((run / name / f"accuracy.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
    numbers = pd.read_csv(run / "one/accuracy.csv")
    heal = numbers[(numbers["method"] == "heal") & (numbers["benchmark"] == "b")].iloc[0]
    assert heal["mean"] == get_row(table, "heal")["mean"]
    assert len(heal["seeds"].split()) == 3


def test_figures_import_no_torch():
    code = "import evals.figures.accuracy, sys; print(json.dumps(sorted({'torch', 'transformers', 'trl'} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
