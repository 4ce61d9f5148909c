"""Runs whose figures are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evals.results import Run
from evals.tables.exposures import TabulateExposures
from heal import records
from tests.support.run_factory import METHODS, make_view, write_run
from tests.support.tables import write_comparison

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.9}


@pytest.fixture
def study_run(tmp_path: Path) -> Path:
    """A run of two teacher seeds with its table and exposures."""
    folder = write_run(tmp_path / "run", accuracy=ACCURACY, teacher_seeds=2)
    write_comparison(folder, teacher_seeds=2)
    outputs = {"coverage": folder / "coverage.csv", "exposures": folder / "exposures.csv"}
    TabulateExposures(comparison="main", view=make_view(folder, teacher_seeds=2), **outputs).run()
    return folder


@pytest.fixture
def compared_run(tmp_path: Path) -> Run:
    """Three students of each of two teacher seeds; losses of three stages, of different lengths."""
    folder = write_run(tmp_path / "run", accuracy={"rs": 0.3, "heal": 0.6, "oracle": 0.9}, teacher_seeds=2)
    for number, file in enumerate(sorted(folder.glob("students/**/training.json"))):
        lengths = (60, 30 + number, 2)
        stages = np.repeat((1, 2, 3), lengths)
        losses = pd.DataFrame({"step": np.arange(1, len(stages) + 1), "stage": stages, "loss": stages + number / 100})
        records.write_text(file.with_name("loss.csv"), losses.to_csv(index=False))
    return Run(folder, ["t"], ["s"], list(METHODS), ["b", "greedy"], 2, 3)
