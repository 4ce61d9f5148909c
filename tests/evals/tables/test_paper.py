"""The paper's numbers next to a run's: what agrees, what differs, and what cannot be said."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import yaml

from evals.results import Run
from evals.tables import paper
from evals.tables.paper_numbers import FILE, OurValue, Paper, read_paper
from heal import records
from heal.config.experiment import Primary
from heal.config.options import validate
from heal.config.run_config import RunConfig, read_run_config
from heal.config.yaml_files import read_yaml
from heal.errors import HealError
from tests.support.paths import ROOT
from tests.support.run_factory import write_run

PAPER = read_paper()
METHODS = {"rejection_sampling": "rejection_sampling", "heal": "heal"}
GAIN, UNSOLVED = "HEAL's gain on challenging math benchmarks", "AIME 2025 unsolved by the teacher at N = 64"


def make_our_run(folder, heal=0.4, teacher_seeds=5, training_seeds=1, repeats=4):
    """A run whose benchmark `b` asks AIME 2024 and `greedy` AIME 2025, of the paper's teacher and its 4B student."""
    accuracy = {"rejection_sampling": 0.3, "heal": heal}
    seeds = {"teacher_seeds": teacher_seeds, "training_seeds": training_seeds}
    write_run(folder, accuracy=accuracy, methods=METHODS, repeats=repeats, questions=60, **seeds)
    experiment = read_run_config(ROOT / "config/paper.yaml").experiment
    models = {
        "teachers": {"t": experiment.teachers["qwen3_32b"]},
        "students": {"s": experiment.students["qwen3_4b_base"]},
    }
    run = Run(folder, ["t"], ["s"], list(METHODS), ["b", "greedy"], **seeds)
    run_config = RunConfig(experiment.model_copy(update=models))
    return paper.OurRun(run, run_config, {"b": "aime24", "greedy": "aime25"}, incomparable="")


def change_config(ours, **changes):
    return replace(ours, run_config=RunConfig(ours.run_config.experiment.model_copy(update=changes)))


def build_rows(ours, changed=None):
    numbers = [number.model_copy(update=(changed or {}).get(number.item, {})) for number in PAPER.numbers]
    rows = paper.build_paper_rows(PAPER.model_copy(update={"numbers": numbers}), ours)
    return pd.DataFrame(rows).set_index("item")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return make_our_run(tmp_path_factory.mktemp("paper") / "run")


def test_settings_agree_where_they_are_the_paper_s_and_differ_where_not(chosen):
    frame = build_rows(chosen)
    for item in (
        "samples per problem",
        "part of the trace searched",
        "breakpoint",
        "hint, one reading",
        "teacher",
        "student",
        "PACE stages",
    ):
        assert frame.loc[item, "verdict"] == "agrees", item
    assert frame.loc["epochs", "verdict"] == "agrees"
    assert frame.loc["second student", "verdict"] == "differs"
    assert frame.loc["hint, another reading", "verdict"] == "differs"
    for item in ("hint, one reading", "hint, another reading", "teacher", "PURE's λ"):
        assert frame.loc[item, "why"], item
    assert set(frame.loc[["hint, one reading", "hint, another reading", "teacher"], "confidence"]) == {"low"}
    assert not frame.index.str.contains("place").any()  # unknown of the paper
    e = chosen.run_config.experiment
    sampling = e.sampling.model_copy(update={"n": 8})
    train = e.train.model_copy(update={"max_steps": 300})
    frame = build_rows(change_config(chosen, sampling=sampling, train=train))
    assert frame.loc["samples per problem", ["ours", "verdict"]].tolist() == ["8", "differs"]
    assert frame.loc["epochs", ["ours", "verdict"]].tolist() == ["max_steps 300", "differs"]
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
    assert 0 < gain["low"] < ours < gain["high"] and gain["covers"] == "teacher seeds, training seeds; these questions"
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
    assert paper.judge_interval(number, interval, is_difference=True)[0] == "cannot say"
    assert paper.judge_interval(number, interval, is_difference=False)[0] == "agrees"
    positive = number.model_copy(update={"paper": "positive"})
    assert paper.judge_interval(positive, interval, is_difference=True)[0] == "cannot say"
    unknown = paper.stats.Interval(0.1, float("nan"), float("nan"), "")
    assert paper.judge_interval(number, unknown, is_difference=True)[0] == "cannot say"


def test_one_teacher_seed_says_nothing_of_the_paper(tmp_path):
    gain = build_rows(make_our_run(tmp_path / "run", teacher_seeds=1, training_seeds=5)).loc[GAIN]
    assert gain["verdict"] == "cannot say" and "one teacher sampling seed" in gain["why"]
    assert gain["low"] < float(gain["ours"]) < gain["high"] and gain["covers"].endswith("this teacher seed")


def test_other_models_benchmarks_methods_and_a_broken_premise_say_nothing(chosen):
    e = chosen.run_config.experiment
    cases = {
        "another teacher": change_config(chosen, teachers={"t": e.students["s"]}),
        "other students": change_config(chosen, students={"s": e.teachers["t"]}),
        "this run asks none of aime24, aime25": replace(chosen, problem_sets={"b": "gsm8k", "greedy": "math500"}),
        "premise absent": replace(chosen, incomparable="premise absent: no hint uplift"),
        "no method rejection_sampling": replace(chosen, run=replace(chosen.run, methods=["heal"])),
    }
    for why, case in cases.items():
        gain = build_rows(case).loc[GAIN]
        assert gain["verdict"] == "cannot say" and why in gain["why"], why
    assert "no method limo" in build_rows(chosen).loc["LIMO helps the 4B base model", "why"]
    results = chosen.run.folder / "evals/t/teacher_seed1/s/heal/seed0/b/results.json"
    before = results.read_text()
    records.write_json(results, {"settings": {"engine": "vllm 0.32"}})
    fresh = replace(chosen, run=replace(chosen.run))
    assert build_rows(fresh).loc[GAIN, "why"] == "answered on different engines"
    results.write_text(before)


def test_the_teacher_s_unsolved_share_needs_as_many_repeats(tmp_path, chosen):
    assert build_rows(chosen).loc[UNSOLVED, "why"] == "1 repeats of greedy, where 64 are needed"
    enough = make_our_run(tmp_path / "run", repeats=64, teacher_seeds=1)
    frame = build_rows(replace(enough, problem_sets={"b": "aime25", "greedy": "aime24"})).loc[UNSOLVED]
    scores = enough.run.load_answers(enough.run.get_teacher_path("t", "b"), "b").scores_QR
    assert float(frame["ours"]) == pytest.approx((~scores.any(axis=1)).mean(), abs=1e-3)
    assert frame["low"] < float(frame["ours"]) < frame["high"] and frame["covers"] == "questions"


def test_the_mini_world_is_no_test_of_the_paper(tmp_path, monkeypatch):
    experiment = read_run_config(ROOT / "config/config.yaml").experiment
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results/toy", accuracy=dict.fromkeys(METHODS, 0.3), methods=METHODS)
    changed = {
        "run": "toy",
        "teacher_seeds": 1,
        "training_seeds": 3,
        "methods": {name: {"method": name} for name in METHODS},
        "ablations": {},
        "comparisons": {},
        "primary": Primary(),
        "teachers": {"t": experiment.teachers["default"]},
        "students": {"s": experiment.students["tiny"]},
    }
    config, out = tmp_path / "config.yaml", tmp_path / "paper.csv"
    content = experiment.model_copy(update=changed).model_dump(mode="json", exclude_defaults=True)
    config.write_text(yaml.safe_dump(content))
    paper.TabulatePaper(config=config, out=out).run()
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
        ({"ours": None, "why": ""}, "or `why` nothing is compared"),
        ({"item": "GPUs"}, "duplicate item 'GPUs'"),
        ({"confidence": "sure"}, "confidence"),
    ],
)
def test_a_mistake_in_the_paper_s_numbers_is_told(change, message):
    content = read_yaml(FILE)
    content["numbers"][0] |= change
    with pytest.raises(HealError, match=message):
        validate(Paper, content, where="paper.yaml")


def test_a_field_that_is_not_in_the_config_is_told(chosen):
    with pytest.raises(HealError, match="no field 'samplng.n' in the config"):
        build_rows(chosen, {"samples per problem": {"ours": OurValue(option="samplng.n")}})
