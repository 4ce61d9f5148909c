"""Every figure command: equal bytes, its numbers and provenance next to the figure, and no heavy import."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from evals.audits.combine_teacher_seeds import combine_audits
from evals.figures.base import save_figure
from evals.figures.cost import PlotCost
from evals.figures.cuts import PlotCuts
from evals.figures.differences import PlotDifferences
from evals.figures.exposures import PlotExposures
from evals.figures.roc import PlotRoc
from evals.figures.style import plot_message
from heal import records
from heal.cli import COMMANDS
from heal.errors import HealError
from tests.support.audit_rows import ONE, TWO
from tests.support.figure_data import collect_run_exposures, write_scored_repairs
from tests.support.figures import assert_equal_pictures
from tests.support.run_factory import make_view

PLOTS = {name: entry for name, entry in COMMANDS.items() if name.startswith("plot-")}


def test_every_figure_has_equal_bytes_and_its_numbers_next_to_it(study_run):
    write_scored_repairs(study_run)
    for number, path in enumerate(sorted((study_run / "students/t").glob("*/s/*/*/training.json"))):
        records.write_json(path, {"tokens": {"total": 100, "supervised": 300 * number}})
    records.write_text(study_run / "audits_t.csv", combine_audits([ONE, TWO]).to_csv(index=False))
    compared = {"comparison": "main", "view": make_view(study_run, teacher_seeds=2)}
    table = study_run / "tables/main.csv"
    for place in ("one", "two"):
        out = study_run / place
        PlotDifferences(table=table, out=out / "differences.svg").run()
        PlotCost(**compared, table=table, out=out / "cost.svg").run()
        PlotExposures(**compared, table=table, exposures=study_run / "exposures.csv", out=out / "exposures.svg").run()
        PlotCuts(**compared, audits=[study_run / "audits_t.csv"], out=out / "cuts.svg").run()
        PlotRoc(run_folder=study_run, teachers=["t"], teacher_seeds=2, variant="v", out=out / "roc.svg").run()
    for name in ("differences", "cost", "exposures", "cuts", "roc"):
        assert_equal_pictures(study_run / f"one/{name}.svg", study_run / f"two/{name}.svg")
        assert (study_run / f"one/{name}.svg.provenance.json").exists()
    assert set(pd.read_csv(study_run / "one/roc.csv")["teacher"]) == {"t"}
    written = pd.read_csv(study_run / "one/exposures.csv")
    pd.testing.assert_frame_equal(written, collect_run_exposures(study_run), check_dtype=False, atol=1e-4)


def test_a_figure_is_an_svg(tmp_path):
    with pytest.raises(HealError, match="found 'figure.pdf'"):
        save_figure(plot_message("empty"), tmp_path / "figure.pdf", pd.DataFrame())


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_s_command_has_the_name_that_its_provenance_says(name):
    assert PLOTS[name].load().name == name


def test_figures_import_no_torch():
    imports = "; ".join(f"import {entry.module}" for entry in PLOTS.values())
    code = f"import sys; {imports}; print({{'torch', 'transformers', 'trl'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
