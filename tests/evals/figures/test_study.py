"""The figures of a study: equal bytes, their numbers beside them, and no heavy import."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from evals.audits import combine_teacher_seeds as audit_seeds
from evals.figures import study as study_figures
from heal import records
from heal.errors import HealError
from tests.support.audit_rows import ONE, TWO
from tests.support.commands import run_main
from tests.support.figure_data import (
    compute_dose_numbers,
    make_axes_arguments,
    write_traces,
)


def test_every_figure_has_equal_bytes_and_its_numbers_beside_it(study_run, monkeypatch):
    write_traces(study_run)
    for number, path in enumerate(sorted((study_run / "students/t").glob("*/s/*/*/training.json"))):
        records.write_json(path, {"tokens": {"total": 100, "supervised": 300 * number}})
    records.write_text(study_run / "audits_t.csv", audit_seeds.combine_audits([ONE, TWO]).to_csv(index=False))
    table = ["--table", study_run / "tables/main.csv"]
    arguments_by_figure = {
        "cost": [*table, "--more-samples", "rs"],
        "doses": [*make_axes_arguments(study_run), *table, "--exposures", study_run / "exposures.csv"],
        "cuts": ["--teachers", "t", "--audits", study_run / "audits_t.csv"],
        "roc": ["--run", study_run, "--teachers", "t", "--draws", 2, "--variant", "v"],
    }
    for name, arguments in arguments_by_figure.items():
        for place in ("one", "two"):
            run_main(monkeypatch, study_figures.main, name, *arguments, "--out", study_run / place / f"{name}.svg")
        for suffix in ("svg", "png", "csv"):
            one, two = ((study_run / place / f"{name}.{suffix}").read_bytes() for place in ("one", "two"))
            assert one == two and one, (name, suffix)
        assert (study_run / f"one/{name}.svg.provenance.json").exists()
    assert set(pd.read_csv(study_run / "one/roc.csv")["teacher"]) == {"t"}
    written, numbers = pd.read_csv(study_run / "one/doses.csv"), compute_dose_numbers(study_run)
    pd.testing.assert_frame_equal(written, numbers, check_dtype=False, atol=1e-4)
    with pytest.raises(HealError, match="1 teachers, 2 files"):
        twice = ["--teachers", "t", "--audits", study_run / "audits_t.csv", study_run / "audits_t.csv"]
        run_main(monkeypatch, study_figures.main, "cuts", *twice, "--out", study_run / "cuts.svg")


def test_figures_import_no_torch():
    code = "import evals.figures.study, sys; print({'torch', 'transformers', 'trl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
