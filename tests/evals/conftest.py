"""Runs and tables that several evaluation tests read: written once, and copied for each test, which may edit them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.support.run_factory import write_run
from tests.support.tables import ACCURACY, write_comparison, write_detail_tables


@pytest.fixture(scope="session")
def written_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("written") / "run", accuracy=ACCURACY)


@pytest.fixture(scope="session")
def tabulated_run(written_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = shutil.copytree(written_run, tmp_path_factory.mktemp("tabulated") / "run")
    write_detail_tables(run)
    return run


@pytest.fixture
def detail_folder(tabulated_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tabulated_run, tmp_path / "run") / "tables"


@pytest.fixture
def run(written_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written_run, tmp_path / "run")


@pytest.fixture
def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(write_comparison(run))
