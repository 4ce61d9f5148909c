"""Tables that several evaluation tests read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from evals.tables import comparison as tables
from tests.support.commands import run_main
from tests.support.run_factory import make_table_arguments, write_run
from tests.support.tables import ACCURACY, write_detail_tables


@pytest.fixture
def detail_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_detail_tables(monkeypatch, write_run(tmp_path / "run", accuracy=ACCURACY))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", accuracy=ACCURACY)


@pytest.fixture
def table(run: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    run_main(monkeypatch, tables.main, *make_table_arguments(run, run / "tables/main.csv"))
    return pd.read_csv(run / "tables/main.csv")
