"""Figures of traces: cut positions, one trace token by token, PURE."""

from __future__ import annotations

import math

import pandas as pd

from evals.audits.checker_truth import Truth
from evals.figures import accuracy as figures
from evals.figures import traces as trace_figures
from heal.worlds.mini import puzzles
from tests.support.audit_factory import (
    ERROR,
    SAMPLES,
    make_repairs,
    write_traces,
)
from tests.support.commands import run_main
from tests.support.cut_repairs import PROBLEMS, make_cut_repairs


def test_positions_count_every_cut_trace_once_and_valid_is_a_part_of_accepted():
    rows = make_cut_repairs([0, 0, 1, 2, 2, None])
    numbers = trace_figures.positions_numbers(rows, Truth(PROBLEMS))
    assert numbers["traces"].sum() == 5 and numbers["repairs"].sum() == 10
    assert numbers.iloc[0][["from_share", "to_share", "traces"]].tolist() == [0, 0, 2]
    assert (numbers["accepted"] == 1).all() and (numbers["valid"] == 0.5).all()
    assert (numbers["from_share"] <= numbers["to_share"]).all() and numbers["from_share"].is_monotonic_increasing
    pd.testing.assert_frame_equal(trace_figures.positions_numbers(rows[::-1], Truth(PROBLEMS)), numbers)
    unchecked = trace_figures.positions_numbers(rows, None)
    assert unchecked["valid"].isna().all() and (unchecked["accepted"] == numbers["accepted"]).all()
    shown = trace_figures.positions_figure(trace_figures.positions_numbers(make_cut_repairs([None] * 6), None))
    assert not shown.axes


def test_trace_figure_knows_kept_and_new_tokens():
    source = SAMPLES[0]
    row = make_repairs(2, "valid")[0]
    pieces = [[step + puzzles.BLANK for step in text.split(puzzles.BLANK)] for text in (source["text"], row["text"])]
    numbers = trace_figures.trace_numbers(source, row, pieces, 1)
    steps = len(pieces[0])
    assert numbers["part"].value_counts().to_dict() == {"trace": steps, "kept": 2, "continuation": steps - 2}
    assert numbers["step"].tolist() == [*range(1, steps + 1)] * 2
    kept_entropies = numbers[numbers["part"] == "kept"]["entropy_nats"].tolist()
    assert kept_entropies == source["entropies"][:2]


def test_pure_figure_drops_the_rule_s_share(tmp_path, monkeypatch):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    traces = run / "traces/t/draw0"
    files = {"problems": run / "problems/train.parquet"}
    files |= {kind: traces / kind / "main.parquet" for kind in ("repairs", "scores")}
    arguments = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    for name in ("one", "two"):
        run_main(monkeypatch, figures.main, "pure", *arguments, "--out", run / name / "pure.svg")
    assert (run / "one/pure.svg").read_bytes() == (run / "two/pure.svg").read_bytes()
    numbers = pd.read_csv(run / "one/pure.csv")
    assert (~numbers["kept"]).sum() == math.floor(0.2 * len(numbers))
    assert set(numbers["error"]) == {"valid", "fresh"}
