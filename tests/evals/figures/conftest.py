"""Runs whose figures are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evals.results import Run
from evals.tables import comparison as tables
from evals.tables import exposures as doses
from heal import records
from tests.support.commands import run_main
from tests.support.figure_data import (
    make_axes_arguments,
)
from tests.support.run_factory import METHODS, make_table_arguments, write_run

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.9}


@pytest.fixture
def study_run(tmp_path: Path, monkeypatch) -> Path:
    """A run of two draws with its table and exposures."""
    folder = write_run(tmp_path / "run", accuracy=ACCURACY, draws=2)
    run_main(monkeypatch, tables.main, *make_table_arguments(folder, folder / "tables/main.csv", draws=2))
    outputs = ("--coverage", folder / "coverage.csv", "--exposures", folder / "exposures.csv")
    run_main(monkeypatch, doses.main, *make_axes_arguments(folder), *outputs)
    return folder


@pytest.fixture
def compared_run(tmp_path: Path) -> Run:
    """Two draws of three students; losses of three stages, of other length in every draw."""
    folder = write_run(tmp_path / "run", accuracy={"rs": 0.3, "heal": 0.6, "oracle": 0.9}, draws=2)
    for number, file in enumerate(sorted(folder.glob("students/**/training.json"))):
        lengths = (60, 30 + number, 2)
        stages = np.repeat((1, 2, 3), lengths)
        losses = pd.DataFrame({"step": np.arange(1, len(stages) + 1), "stage": stages, "loss": stages + number / 100})
        records.write_text(file.with_name("loss.csv"), losses.to_csv(index=False))
    return Run(folder, ["t"], ["s"], list(METHODS), ["b", "greedy"], 2, 3)
