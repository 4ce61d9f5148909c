"""Comparison tables of a synthetic run, their details, and the check of both."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from evals import check_reference as check
from evals.tables import comparison as tables
from evals.tables import details
from heal import records
from tests.support.run_factory import make_table_arguments

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.3}


def write_detail_tables(monkeypatch: pytest.MonkeyPatch, run: Path, **axes: int) -> Path:
    """The folder with the comparison and its details."""
    arguments = make_table_arguments(run, run / "tables/main.csv", **axes)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    tables.main()
    costs = arguments.index("--methods-json")
    monkeypatch.setattr(sys, "argv", ["command", *arguments[:costs], *arguments[costs + 2 :]])
    details.main()
    return run / "tables"


def use_other_engine(run: Path, seed: int) -> None:
    for benchmark in ("b", "greedy"):
        results = run / f"evals/t/draw0/s/heal/seed{seed}/{benchmark}/results.json"
        records.write_json(results, {"settings": {"temperature": 1.0, "repeats": 4, "engine": "vllm 0.32"}})


def run_check(monkeypatch: pytest.MonkeyPatch, *runs: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, runs)])
    check.main()


def get_row(table: pd.DataFrame, method: str, benchmark: str = "b") -> pd.Series:
    rows = table[(table["method"] == method) & (table["benchmark"] == benchmark)]
    assert len(rows) == 1
    return rows.iloc[0]
