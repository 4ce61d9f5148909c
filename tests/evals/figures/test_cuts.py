"""What cuts are worth: the audits' numbers, under the method that uses the variant."""

from __future__ import annotations

import pandas as pd
import pytest

from evals.figures.cuts import PlotCuts, find_methods_by_variant, select_cut_quantities
from evals.results import build_methods
from heal.config.run_config import MethodSpec
from heal.errors import HealError
from tests.support.audit_rows import ONE
from tests.support.run_factory import make_view


def test_cuts_are_the_audits_numbers():
    repairs = ONE.assign(audit="repairs", quantity="valid repairs per 1,000 teacher tokens")
    frame = pd.concat([ONE, ONE.assign(variant="w-2"), repairs])
    numbers = select_cut_quantities({"t": frame, "u": frame}, {"v-1": "heal"})
    exact = numbers[(numbers["quantity"] == "exact") & (numbers["teacher"] == "u")]
    assert exact[["variant", "method", "value", "low", "high"]].to_numpy().tolist() == [
        ["v-1", "heal", 0.5, 0.3, 0.7],
        ["w-2", "", 0.5, 0.3, 0.7],
    ]
    assert not numbers["quantity"].isin(["after", "distance +1"]).any()
    with pytest.raises(HealError, match="no quantity of cuts for teacher t"):
        select_cut_quantities({"t": ONE[ONE["quantity"] == "after"]}, {})


def test_a_variant_belongs_to_the_method_that_trains_on_its_repairs_heal_first(tmp_path):
    view = make_view(tmp_path, methods={"matched": "rs_matched", "control": "mix_distillation", "heal": "heal"})
    view.methods["other"] = MethodSpec(method="heal", options={"gear": "no_hint"})
    assert find_methods_by_variant(build_methods(view)) == {"default": "heal", "no_hint": "other"}


def test_teachers_and_audits_must_pair_up(tmp_path):
    command = PlotCuts(
        comparison="main", view=make_view(tmp_path), audits=[tmp_path / "a.csv", tmp_path / "b.csv"], out="cuts.svg"
    )
    with pytest.raises(HealError, match="1 teachers, 2 files"):
        command.read_audits()
