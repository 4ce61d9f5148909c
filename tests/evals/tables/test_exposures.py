"""What students were shown: facts covered, exposures per example."""

from __future__ import annotations

import pandas as pd

from evals.tables import exposures as doses
from tests.support.commands import run_main
from tests.support.run_factory import METHODS, make_table_arguments


def test_doses(run, monkeypatch):
    axes = make_table_arguments(run, run / "unused")[
        : -len(["--methods-json", "", "--reference-method", "", "--out", ""])
    ]
    outputs = ["--coverage", str(run / "coverage.csv"), "--exposures", str(run / "exposures.csv")]
    run_main(monkeypatch, doses.main, *axes, *outputs)
    coverage = pd.read_csv(run / "coverage.csv")
    assert (coverage["coverage"] == 1).all()  # worked solutions of all problems state every fact
    shown = pd.read_csv(run / "exposures.csv")
    heal = shown[shown["method"] == "heal"]
    assert heal["examples"].sum() == 12 and heal["exposures"].sum() == 30
    assert (heal["least"].min(), heal["most"].max()) == (2, 3)
    assert list(dict.fromkeys(shown["method"])) == list(METHODS)


def test_coverage_counts_only_true_facts():
    wrong = {
        "messages": [{"content": "Start with x. Apply table K. The result is 5 (mod 61). Find x."}, {"content": ""}]
    }
    true_input = doses.puzzles.INVERSE["K"][5]
    for value, known in ((true_input, 1), ((true_input + 1) % 61, 0)):
        wrong["messages"][1]["content"] = f"Undo table K: 5 comes from {value}."
        assert len(doses.facts_shown([wrong])) == known
