"""Tables that several evaluation tests read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.support.run_factory import write_run
from tests.support.tables import ACCURACY, write_comparison, write_detail_tables


@pytest.fixture
def detail_folder(tmp_path: Path) -> Path:
    return write_detail_tables(write_run(tmp_path / "run", accuracy=ACCURACY))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", accuracy=ACCURACY)


@pytest.fixture
def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(write_comparison(run))
