"""The printed plan fits a terminal, adds up and names every assumption."""

import re

import pandas as pd
import pytest

from heal.config import experiment as config
from heal.planning import assumptions
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
    assert (frame["usd"] == 2 * frame["gpu_hours"] + frame["fees"]).all()
    total = re.search(r"^total +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", output, re.MULTILINE)
    shown = [int(number.replace(",", "")) for number in total.groups()]
    fields = ["jobs", "prompts", "tokens_read", "tokens_written"]
    assert shown == pytest.approx([frame[field].sum() for field in fields], abs=1)
    assert "An estimate, as good as the assumptions below" in output
    for key in assumptions.list_assumptions(config.load(MINI), "H100"):
        assert re.search(rf"^{key} ", output, re.MULTILINE), key
