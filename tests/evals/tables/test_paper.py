"""The paper's numbers beside a run's: what agrees, what differs, and everything of which nothing can be said."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pandas as pd
import pytest

from evals.results import Run
from evals.tables import paper
from heal import records, registry
from heal.config import experiment as config
from heal.config.options import read_yaml, validate
from heal.errors import HealError
from tests.support.paths import ROOT
from tests.support.run_factory import write_run

PAPER = validate(paper.Paper, read_yaml(paper.FILE), where="paper.yaml")
METHODS = {name: {"kind": name} for name in ("rejection_sampling", "heal")}
GAIN, UNSOLVED = "HEAL's gain on challenging math benchmarks", "AIME 2025 unsolved by the teacher at N = 64"


def make_setting(folder, heal=0.4, draws=5, seeds=1, repeats=4):
    """A run whose benchmark `b` asks AIME 2024 and `greedy` AIME 2025, of the paper's teacher and its 4B student."""
    accuracy = {"rejection_sampling": 0.3, "heal": heal}
    write_run(folder, accuracy=accuracy, methods=METHODS, draws=draws, seeds=seeds, repeats=repeats, questions=60)
    e = config.load(ROOT / "config/paper.yaml")
    models = {"teachers": {"t": e.teachers["qwen3_32b"]}, "students": {"s": e.students["qwen3_4b_base"]}}
    run = Run(folder, ["t"], ["s"], list(METHODS), ["b", "greedy"], draws, seeds)
    return paper.Setting(
        run, e.model_copy(update=models), registry.resolve(e), {"b": "aime24", "greedy": "aime25"}, hopeless=""
    )


def build_rows(chosen, changed=None):
    numbers = [number.model_copy(update=(changed or {}).get(number.item, {})) for number in PAPER.numbers]
    return paper.table(PAPER.model_copy(update={"numbers": numbers}), chosen).set_index("item")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return make_setting(tmp_path_factory.mktemp("paper") / "run")


def test_settings_agree_where_they_are_the_paper_s_and_differ_where_not(chosen):
    frame = build_rows(chosen)
    for item in (
        "samples per problem",
        "part of the trace searched",
        "breakpoint",
        "teacher",
        "student",
        "PACE stages",
    ):
        assert frame.loc[item, "verdict"] == "agrees", item
    assert frame.loc["passes over the data", "verdict"] == "agrees"
    assert frame.loc["second student", "verdict"] == "differs"
    e = chosen.experiment
    other = e.model_copy(
        update={"sampling": e.sampling.model_copy(update={"n": 8}), "train": e.train.model_copy(update={"steps": 300})}
    )
    frame = build_rows(replace(chosen, experiment=other))
    assert frame.loc["samples per problem", ["ours", "verdict"]].tolist() == ["8", "differs"]
    assert frame.loc["passes over the data", ["ours", "verdict"]].tolist() == ["300 steps", "differs"]
    assert frame.loc["GPUs", "verdict"] == "cannot say" and frame.loc["GPUs", "why"]


def test_every_verdict_has_a_source_and_every_silence_a_reason(chosen):
    frame = build_rows(chosen)
    assert set(frame["verdict"]) <= {"agrees", "differs", "cannot say"}
    assert (frame.loc[frame["verdict"] == "cannot say", "why"] != "").all()
    assert (frame["source"] != "").all() and set(frame["confidence"]) <= {"high", "medium", "low"}
    assert (frame.loc[frame["low"].notna(), "covers"] != "").all()


def test_a_gain_is_judged_by_its_interval(chosen):
    gain = build_rows(chosen).loc[GAIN]
    ours = float(gain["ours"])
    assert 0 < gain["low"] < ours < gain["high"] and gain["covers"] == "draws, seeds; these questions"
    for value, verdict in ((ours, "agrees"), (gain["high"] + 0.05, "differs"), (gain["low"] - 0.05, "differs")):
        assert build_rows(chosen, {GAIN: {"paper": value}}).loc[GAIN, "verdict"] == verdict
    assert build_rows(chosen, {GAIN: {"paper": gain["high"] + 0.05, "rounding": 0.06}}).loc[GAIN, "verdict"] == "agrees"
    helps = build_rows(chosen).loc["HEAL helps the 4B base model"]
    assert helps["verdict"] == "agrees" and helps["low"] > 0
    opposite = build_rows(chosen, {"HEAL helps the 4B base model": {"paper": "negative"}})
    assert opposite.loc["HEAL helps the 4B base model", "verdict"] == "differs"


def test_an_interval_that_holds_no_difference_too_says_nothing():
    interval = paper.stats.Interval(0.05, -0.02, 0.12, "")
    number = next(number for number in PAPER.numbers if number.item == GAIN)
    assert paper.judge(number, interval, difference=True)[0] == "cannot say"
    assert paper.judge(number, interval, difference=False)[0] == "agrees"
    assert paper.judge(number.model_copy(update={"paper": "positive"}), interval, True)[0] == "cannot say"
    assert paper.judge(number, paper.stats.Interval(0.1, float("nan"), float("nan"), ""), True)[0] == "cannot say"


def test_one_draw_of_the_teacher_says_nothing_of_the_paper(tmp_path):
    gain = build_rows(make_setting(tmp_path / "run", draws=1, seeds=5)).loc[GAIN]
    assert gain["verdict"] == "cannot say" and "one draw of the teacher" in gain["why"]
    assert gain["low"] < float(gain["ours"]) < gain["high"] and gain["covers"].endswith("this draw")


def test_other_models_benchmarks_methods_and_a_broken_premise_say_nothing(chosen):
    e = chosen.experiment
    cases = {
        "another teacher": replace(chosen, experiment=e.model_copy(update={"teachers": {"t": e.students["s"]}})),
        "other students": replace(chosen, experiment=e.model_copy(update={"students": {"s": e.teachers["t"]}})),
        "this run asks none of aime24, aime25": replace(chosen, asked={"b": "gsm8k", "greedy": "math500"}),
        "premise absent": replace(chosen, hopeless="premise absent: no hint uplift"),
        "no method rejection_sampling": replace(chosen, run=replace(chosen.run, methods=["heal"])),
    }
    for why, case in cases.items():
        gain = build_rows(case).loc[GAIN]
        assert gain["verdict"] == "cannot say" and why in gain["why"], why
    assert "no method limo" in build_rows(chosen).loc["LIMO helps the 4B base model", "why"]
    results = chosen.run.folder / "evals/t/draw1/s/heal/seed0/b/results.json"
    before = results.read_text()
    records.write_json(results, {"settings": {"engine": "vllm 0.32"}})
    fresh = replace(chosen, run=replace(chosen.run))
    assert build_rows(fresh).loc[GAIN, "why"] == "answered on different engines"
    results.write_text(before)


def test_the_teacher_s_unsolved_share_needs_as_many_repeats(tmp_path, chosen):
    assert build_rows(chosen).loc[UNSOLVED, "why"] == "1 repeats of greedy, where 64 are needed"
    enough = make_setting(tmp_path / "run", repeats=64, draws=1)
    frame = build_rows(replace(enough, asked={"b": "aime25", "greedy": "aime24"})).loc[UNSOLVED]
    scores = enough.run.answers(enough.run.teacher_path("t", "b"), "b").scores_QR
    assert float(frame["ours"]) == pytest.approx((~scores.any(axis=1)).mean(), abs=1e-3)
    assert frame["low"] < float(frame["ours"]) < frame["high"] and frame["covers"] == "questions"


def test_the_mini_world_is_no_test_of_the_paper(tmp_path, monkeypatch):
    e = config.load(ROOT / "config/config.yaml")
    run = write_run(tmp_path / "run", accuracy=dict.fromkeys(METHODS, 0.3), methods=METHODS)
    changed = {
        "methods": METHODS,
        "comparisons": {},
        "teachers": {"t": e.teachers["default"]},
        "students": {"s": e.students["tiny"]},
    }
    monkeypatch.chdir(ROOT)
    experiment = json.dumps(e.model_copy(update=changed).model_dump())
    out = tmp_path / "paper.csv"
    monkeypatch.setattr(sys, "argv", ["command", "--run", str(run), "--experiment", experiment, "--out", str(out)])
    paper.main()
    frame = pd.read_csv(out).set_index("item")
    results = [number.item for number in PAPER.numbers if number.ours and not number.ours.option]
    assert (frame.loc[results, "verdict"] == "cannot say").all()
    assert (frame.loc[results, "why"] == "the mini world is no test of the paper").all()
    assert frame.loc["samples per problem", "verdict"] == "differs"
    assert "the mini world is no test of the paper" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"needs": ["no such item"]}, "needs 'no such item', which is no item"),
        ({"ours": None, "why": ""}, "nor why nothing is compared"),
        ({"item": "GPUs"}, "'GPUs' stands twice"),
        ({"confidence": "sure"}, "confidence"),
    ],
)
def test_a_mistake_in_the_paper_s_numbers_is_told(change, message):
    content = read_yaml(paper.FILE)
    content["numbers"][0] |= change
    with pytest.raises(HealError, match=message):
        validate(paper.Paper, content, where="paper.yaml")


def test_a_field_that_is_not_in_the_config_is_told(chosen):
    with pytest.raises(HealError, match="no field 'samplng.n' in the config"):
        build_rows(chosen, {"samples per problem": {"ours": paper.Ours(option="samplng.n")}})
