"""The printed plan fits a terminal, adds up and names every assumption."""

import re

import pandas as pd
import pytest

from heal.config import experiment as config
from heal.planning import assumptions
from heal.planning.costs import Task
from heal.planning.report import estimate_duration
from tests.support.paths import ROOT
from tests.support.planning import MINI, run_cli


def test_the_table_fits_a_terminal_adds_up_and_names_every_assumption(capsys, tmp_path):
    table = tmp_path / "plan.csv"
    words = ["plan", "--config", ROOT / "config/paper.yaml", "--price", 2, "--gpus", 8, "--csv", table]
    if not (ROOT / "config/paper.yaml").exists():
        words[2] = MINI
    status, output, _ = run_cli(capsys, *words)
    assert status == 0 and max(map(len, output.splitlines())) <= 120
    frame = pd.read_csv(table)
    assert frame["usd"].to_numpy() == pytest.approx((2 * frame["gpu_hours"] + frame["fees"]).to_numpy())
    total = re.search(r"^total +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", output, re.MULTILINE)
    shown = [int(number.replace(",", "")) for number in total.groups()]
    millions = [frame[field].sum() / 1e6 for field in ("tokens_read", "tokens_written")]
    assert shown == pytest.approx([frame["jobs"].sum(), frame["prompts"].sum(), *millions], abs=1)
    assert "An estimate, as good as the assumptions below" in output
    for key in assumptions.list_assumptions(config.load(MINI), "H100"):
        assert re.search(rf"^{key} ", output, re.MULTILINE), key


def test_the_duration_counts_waves_of_jobs_and_what_gpus_idle_meanwhile():
    def make_task(jobs, gpus, hours):
        return Task("sample_base", "big", jobs, 0.0, 0.0, 0.0, hours, hours * gpus, 0.0, gpus=gpus)

    assert estimate_duration([make_task(4, 2, 8.0)], 8) == pytest.approx(2.0)
    assert estimate_duration([make_task(4, 2, 8.0)], 6) == pytest.approx(4.0)  # three at once, then one
    assert estimate_duration([make_task(1, 8, 5.0), make_task(8, 1, 8.0)], 8) == pytest.approx(6.0)
    assert estimate_duration([make_task(3, 2, 9.0)], 1) == pytest.approx(9.0)  # a job gets the one GPU there is
