"""PURE's scores: the threshold drops the share of its quantile rule."""

from __future__ import annotations

import math

import pandas as pd

from evals.figures.pure import PlotPure
from tests.support.audit_factory import ERROR, write_traces
from tests.support.figures import assert_equal_pictures


def test_pure_figure_drops_the_share_of_the_quantile_rule(tmp_path):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    traces = run / "traces/t/teacher_seed0"
    for name in ("one", "two"):
        PlotPure(
            problems=run / "problems/train.parquet",
            repairs=traces / "repairs/main.parquet",
            scores=traces / "scores/main.parquet",
            out=run / name / "pure.svg",
        ).run()
    assert_equal_pictures(run / "one/pure.svg", run / "two/pure.svg")
    numbers = pd.read_csv(run / "one/pure.csv")
    assert (~numbers["kept"]).sum() == math.floor(0.2 * len(numbers))
    assert set(numbers["error"]) == {"valid", "fresh"}
