"""Comparison tables of a synthetic run, their details, and the check of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from evals.check_reference import CheckReference
from evals.tables.comparison import TabulateComparison
from evals.tables.details import TabulateDetails
from heal import records
from tests.support.run_factory import make_view

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.3}


def write_comparison(
    run: Path,
    out: Path | None = None,
    decontamination: Path | None = None,
    gates: Path | None = None,
    **view: Any,
) -> Path:
    """The csv of the comparison; `view`: what differs from `make_view`'s defaults."""
    out = out or run / "tables/main.csv"
    comparison = make_view(run, **view)
    flags = {"decontamination": decontamination, "gates": gates, "out": out}
    TabulateComparison(comparison="main", view=comparison, **flags).run()
    return out


def write_detail_tables(run: Path, folder: str = "tables", **view: Any) -> Path:
    """The folder with the comparison and its details."""
    out = write_comparison(run, run / folder / "main.csv", **view)
    TabulateDetails(comparison="main", view=make_view(run, **view), out=out).run()
    return out.parent


def use_other_engine(run: Path, seed: int) -> None:
    for benchmark in ("b", "greedy"):
        results = run / f"evals/t/teacher_seed0/s/heal/seed{seed}/{benchmark}/results.json"
        records.write_json(results, {"settings": {"temperature": 1.0, "repeats": 4, "engine": "vllm 0.32"}})


def run_check(*runs: Path) -> None:
    CheckReference(folders=list(runs)).run()


def get_row(table: pd.DataFrame, method: str, benchmark: str = "b") -> pd.Series:
    rows = table[(table["method"] == method) & (table["benchmark"] == benchmark)]
    assert len(rows) == 1
    return rows.iloc[0]
