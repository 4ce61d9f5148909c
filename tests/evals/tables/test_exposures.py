"""What students were shown: facts covered, exposures per example."""

from __future__ import annotations

import pandas as pd

from evals.tables import exposures
from heal.worlds.mini import puzzles
from heal.worlds.registry import get_world
from tests.support.run_factory import METHODS, make_view, write_run
from tests.support.tables import ACCURACY


def tabulate(run, **view):
    paths = {"coverage": run / "coverage.csv", "exposures": run / "exposures.csv"}
    exposures.TabulateExposures(comparison="main", view=make_view(run, **view), **paths).run()
    return pd.read_csv(paths["coverage"]), pd.read_csv(paths["exposures"])


def test_exposures_are_counted_per_stage(run):
    coverage, shown = tabulate(run)
    assert (coverage["coverage"] == 1).all()  # worked solutions of all problems state every fact
    heal = shown[shown["method"] == "heal"]
    assert heal["examples"].sum() == 12 and heal["exposures"].sum() == 30
    assert (heal["least"].min(), heal["most"].max()) == (2, 3)
    assert list(dict.fromkeys(shown["method"])) == list(METHODS)


def test_exposures_are_means_over_training_seeds_of_each_teacher_seed(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, teacher_seeds=2, training_seeds=2)
    path = run / "students/t/teacher_seed1/s/heal/seed1/exposures.csv"
    frame = pd.read_csv(path)
    frame.assign(exposures=frame["exposures"] + 2).to_csv(path, index=False)
    _, shown = tabulate(run, teacher_seeds=2, training_seeds=2)
    heal = shown[(shown["method"] == "heal") & (shown["stage"] == 1)].set_index("teacher_seed")
    assert heal.loc[1, "exposures"] == heal.loc[0, "exposures"] + heal.loc[0, "examples"]
    assert heal.loc[1, "per_example"] == heal.loc[0, "per_example"] + 1
    assert (heal.loc[0, "most"], heal.loc[1, "most"]) == (3, 5)


def test_coverage_counts_only_true_facts():
    question = "Start with x. Apply table K. The result is 5 (mod 61). Find x."
    row = {"messages": [{"content": question}, {"content": ""}]}
    true_input = puzzles.INVERSE["K"][5]
    for value, known in ((true_input, 1), ((true_input + 1) % 61, 0)):
        row["messages"][1]["content"] = f"Undo table K: 5 comes from {value}."
        assert len(exposures.find_stated_facts(get_world("mini"), [row])) == known
