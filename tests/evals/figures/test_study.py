"""Laws of a study: its draws joined, the numbers behind its figures, and what the workflow plans for it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from evals.audits import combine_draws as audit_draws
from evals.audits import run as audits
from evals.audits.checker_truth import Truth
from evals.figures import mechanism as mechanism_figures
from evals.figures import outcomes as outcome_figures
from evals.figures import study as study_figures
from evals.figures import style
from evals.results import UNSOLVED, Run
from evals.stats import auroc
from evals.tables import comparison as tables
from evals.tables import exposures as doses
from heal import records
from heal.config import experiment as config
from heal.config.experiment import Pure
from heal.errors import HealError
from heal.planning import costs as plan
from heal.worlds.mini import puzzles
from tests.support.paths import ROOT
from tests.support.run_factory import METHODS, problem, repair, score, table_arguments, trace, write_run, wrong_steps

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.9}


def made(monkeypatch, main, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    main()


def audit_rows(**values: tuple[float, float, float]) -> pd.DataFrame:
    """One draw's audits: quantity → value, low, high; those named distance_… are bars of the histogram."""
    rows = [
        ["cut", "v-1", name.replace("distance_m", "distance -").replace("distance_p", "distance +"), *interval, 10, "p"]
        for name, interval in values.items()
    ]
    return pd.DataFrame(rows, columns=audits.COLUMNS)


ONE = audit_rows(exact=(0.5, 0.3, 0.7), after=(0.1, 0.0, 0.2), distance_p1=(0.5, 0.2, 0.8), distance_m1=(0.5, 0.1, 0.9))
TWO = audit_rows(exact=(0.7, 0.6, 0.8), after=(math.nan,) * 3, distance_p1=(1.0, 0.8, 1.0))


def quantity(frame: pd.DataFrame, name: str) -> pd.Series:
    (row,) = (row for _, row in frame.iterrows() if row["quantity"] == name)
    return row


def test_one_draw_joined_says_what_it_said():
    pd.testing.assert_frame_equal(audit_draws.joined([ONE])[audits.COLUMNS], ONE)


def test_draws_are_averaged_and_their_order_does_not_matter():
    found = audit_draws.joined([ONE, TWO])
    exact = quantity(found, "exact")
    assert exact[["value", "low", "high", "n", "least", "most", "draws"]].tolist() == pytest.approx(
        [0.6, 0.45, 0.75, 20, 0.5, 0.7, 2]
    )
    again = audit_draws.joined([TWO, ONE]).set_index("quantity").loc[found["quantity"]].reset_index()
    pd.testing.assert_frame_equal(again[found.columns], found)


def test_a_draw_that_cannot_say_is_left_out_and_a_bar_that_it_lacks_is_zero():
    found = audit_draws.joined([ONE, TWO])
    assert quantity(found, "after")[["value", "draws"]].tolist() == [0.1, 1]
    bars = found[found["quantity"].str.startswith("distance")]
    assert bars["value"].sum() == pytest.approx(1) and (bars["n"] == 20).all()
    only_one = quantity(found, "distance -1")
    assert only_one["value"] == 0.25 and math.isnan(only_one["low"]) and only_one["draws"] == 2


def test_the_joined_interval_covers_a_mean_of_draws_that_share_all_or_nothing():
    rng, kept = np.random.default_rng(0), 0
    for _ in range(300):
        shared, own = rng.normal(size=1), rng.normal(size=3)
        for values in (np.repeat(shared, 3), own):
            draws = [audit_rows(exact=(value, value - 1.96, value + 1.96)) for value in values]
            row = quantity(audit_draws.joined(draws), "exact")
            kept += row["low"] <= 0 <= row["high"]
    assert kept / 600 > 0.93


def test_premises_are_told_by_the_mean_and_by_each_draw(tmp_path, monkeypatch):
    surge = {"audit": "entropy", "quantity": "largest surge is a wrong step"}
    paths = []
    for draw, value in enumerate((0.9, 0.5)):
        paths.append(tmp_path / f"draw{draw}/audits_t.csv")
        frame = audit_rows(exact=(value, 0.0, 1.0)).assign(**surge)
        records.write_text(paths[-1], frame.to_csv(index=False))
        records.write_text(paths[-1].with_suffix(".md"), "# Audits\n\n* the first draw's note\n")
    made(monkeypatch, audit_draws.main, "--teacher", "t", "--audits", *paths, "--out", tmp_path / "audits_t.csv")
    flags = pd.read_csv(tmp_path / "premises_t.csv").set_index("premise")
    assert flags.loc["P1", ["value", "holds", "by_draw"]].tolist() == [0.7, "no", "yes, no"]
    assert flags.loc["P2", "holds"] == "cannot say"
    told = (tmp_path / "audits_t.md").read_text()
    assert "* the first draw's note" in told and "P1 by draw: yes, no" in told and "2 draw(s)" in told


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Path:
    """A run of two draws with its table and exposures."""
    folder = write_run(tmp_path / "run", accuracy=ACCURACY, draws=2)
    made(monkeypatch, tables.main, *table_arguments(folder, folder / "tables/main.csv", draws=2))
    outputs = ("--coverage", folder / "coverage.csv", "--exposures", folder / "exposures.csv")
    made(monkeypatch, doses.main, *axes(folder), *outputs)
    return folder


def axes(folder: Path) -> list[str]:
    return ["--run", folder, "--teachers", "t", "--students", "s", "--draws", 2, "--seeds", 3, "--methods", *METHODS]


def table_of(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "tables/main.csv")


def test_costs_and_means_are_the_table_s_own_and_of_the_unsolved_questions_only(run):
    table, numbers = table_of(run), outcome_figures.cost_numbers(table_of(run))
    assert set(numbers["benchmark"]) == {f"b{UNSOLVED}"}
    assert set(numbers["method"]) == {"untrained", *METHODS}
    merged = numbers.merge(table, on=["benchmark", "method"])
    assert (merged["mean_x"] == merged["mean_y"]).all() and (merged["ci_low_x"] == merged["ci_low_y"]).all()
    heal = numbers[numbers["method"] == "heal"].iloc[0]
    assert heal["teacher_tokens"] == 24_000  # four files of 5,000 generated and 1,000 prefilled
    assert math.isnan(numbers[numbers["method"] == "untrained"]["teacher_tokens"].iloc[0])
    no_stratum = table[~table["benchmark"].str.endswith(UNSOLVED)]
    assert set(outcome_figures.cost_numbers(no_stratum)["benchmark"]) == {"b", "greedy"}
    with pytest.raises(HealError, match="no row of a student"):
        outcome_figures.cost_numbers(table[table["method"] == "teacher"])


def dose_numbers(run: Path, methods=METHODS) -> pd.DataFrame:
    exposures = pd.read_csv(run / "exposures.csv")
    return outcome_figures.dose_numbers(Run(run, "t", "s", list(methods), [], 2, 3), table_of(run), exposures)


def test_doses_are_what_students_were_shown(run):
    numbers = dose_numbers(run)
    assert numbers["exposures_per_example"].tolist() == pytest.approx([30 / 12] * 3)
    assert numbers["supervised_tokens"].tolist() == [50] * 3
    assert numbers["rank_exposures"].isna().all()  # a dose that does not vary explains nothing


def test_a_dose_that_rises_with_accuracy_is_told_and_a_missing_one_refused(run):
    for tokens, name in enumerate(METHODS):  # accuracies rise in this order
        for path in (run / "students/t").glob(f"*/s/{name}/*/training.json"):
            records.write_json(path, {"tokens": {"total": 100, "supervised": 50 + tokens}})
    numbers = dose_numbers(run)
    assert numbers["supervised_tokens"].tolist() == [50, 51, 52]
    assert numbers["rank_supervised"].tolist() == [1, 1, 1]
    with pytest.raises(HealError, match="no dose of method 'oracle'"):
        dose_numbers(run, ["rs", "heal"])
    next((run / "students/t/draw1/s/heal").glob("*/training.json")).unlink()
    with pytest.raises(HealError, match="no such file"):
        dose_numbers(run)


def test_marks_of_equal_cost_stand_side_by_side_and_others_where_they_are():
    x = np.array([5.0, 1.0, 5.0, 9.0, 5.0])
    places = outcome_figures.side_by_side(x, 0.1)
    assert places[[1, 3]].tolist() == [0, 0]
    assert sorted(places[[0, 2, 4]]) == [-1, 0, 1]
    assert sorted(outcome_figures.side_by_side(np.array([1.0, 1.0]), 0.1)) == [-0.5, 0.5]


def test_cuts_are_the_audits_numbers():
    frame = pd.concat(
        [
            ONE,
            ONE.assign(variant="w-2"),
            ONE.assign(audit="repairs", quantity="valid repairs per 1,000 teacher tokens"),
        ]
    )
    numbers = mechanism_figures.cuts_numbers({"t": frame, "u": frame}, {"v-1": "heal"})
    exact = numbers[(numbers["quantity"] == "exact") & (numbers["teacher"] == "u")]
    assert exact[["variant", "method", "value", "low", "high"]].to_numpy().tolist() == [
        ["v-1", "heal", 0.5, 0.3, 0.7],
        ["w-2", "", 0.5, 0.3, 0.7],
    ]
    assert not numbers["quantity"].isin(["after", "distance +1"]).any()
    with pytest.raises(HealError, match="no quantity of cuts for teacher t"):
        mechanism_figures.cuts_numbers({"t": ONE[ONE["quantity"] == "after"]}, {})


N = 24
PUZZLES = puzzles.generate("train", N, seed=1)
PROBLEMS = [problem(puzzle) for puzzle in PUZZLES]
GOLD = {row["problem_id"]: row["answer"] for row in PROBLEMS}


def scored_draw(jumps: float, insights: float, fresh: bool = True) -> tuple[list, list]:
    """Scores and accepted repairs, every second one a jump to the answer unless `fresh` is off."""
    repairs = []
    for number, (row, puzzle) in enumerate(zip(PROBLEMS, PUZZLES, strict=True)):
        steps = wrong_steps(puzzle, 3)
        source = trace(row, 0, steps, [0.3] * len(steps))
        right = steps[:2] + puzzles.worked_steps(puzzle)[2:]
        jump = [*steps[:2], f"The start must be {puzzle.answer}.", puzzles.answer_text(puzzle.answer)]
        repairs.append(repair(source, 2, jump if fresh and number % 2 else right))
    truth = Truth(PROBLEMS)
    return [score(row, insights if truth.is_valid(row) else jumps) for row in repairs], repairs


def roc(*draws: tuple[list, list]) -> pd.DataFrame:
    return mechanism_figures.roc_numbers(draws, Truth(PROBLEMS), Pure(), GOLD, 0)


def curve_of(numbers: pd.DataFrame, name: str, error: str = "fresh") -> pd.DataFrame:
    return numbers[(numbers["error"] == error) & (numbers["score"] == name)]


def test_a_score_that_tells_jumps_finds_them_all_and_a_blind_one_lies_on_the_diagonal():
    told, blind = curve_of(roc(scored_draw(3.0, 0.5)), "anomaly"), curve_of(roc(scored_draw(1.0, 1.0)), "anomaly")
    assert (told["auroc"] == 1).all() and (told["true_positive_rate"].iloc[1:] == 1).all()
    assert blind["true_positive_rate"].tolist() == pytest.approx(blind["false_positive_rate"].tolist())
    assert (curve_of(roc(scored_draw(0.5, 3.0)), "anomaly")["auroc"] == 0).all()
    assert told[["invalid", "valid"]].iloc[0].tolist() == [N / 2, N / 2]


def test_the_area_under_every_curve_is_its_auroc_and_no_curve_falls():
    rng = np.random.default_rng(2)
    values, invalid = rng.normal(size=400).round(1), rng.uniform(size=400) < 0.3
    values[invalid] += 0.7
    values[:20] = -np.inf
    false, true = np.array(mechanism_figures.curve(values, invalid)).T
    assert np.trapezoid(true, false) == pytest.approx(auroc(values, invalid).mean, abs=0.01)
    assert (np.diff(true) >= 0).all() and (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_draws_are_one_sample_and_neither_their_order_nor_that_of_their_rows_matters():
    one, two = scored_draw(3.0, 0.5), tuple(rows[::-1] for rows in scored_draw(0.2, 0.5))
    pooled = [roc(*draws) for draws in permutations([one, two])]
    pd.testing.assert_frame_equal(*pooled)
    pd.testing.assert_frame_equal(roc((one[0][::-1], one[1][::-1])), roc(one))
    first = curve_of(pooled[0], "max step perplexity").iloc[0]
    assert first["auroc"] == pytest.approx(0.5)  # one draw tells, one tells wrongly
    assert first["invalid"] == N
    both = roc(one, tuple(rows[::-1] for rows in scored_draw(5.0, 0.5)))
    assert (curve_of(both, "max step perplexity")["auroc"] == 1).all()


def test_a_kind_of_error_that_does_not_occur_is_said_to_be_empty():
    numbers = roc(scored_draw(3.0, 0.5))
    inherited = curve_of(numbers, "anomaly", "inherited")
    assert len(inherited) == 1 and inherited["true_positive_rate"].isna().all() and inherited["invalid"].iloc[0] == 0
    figure = mechanism_figures.roc_figure(numbers.assign(teacher="t"))
    assert "cannot say" in " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    style.plt.close(figure)


def write_traces(folder: Path) -> None:
    records.write(folder / "problems/train.parquet", "problems", PROBLEMS)
    for draw in range(2):
        scores, repairs = scored_draw(3.0, 0.5)
        records.write(folder / f"traces/t/draw{draw}/repairs/v.parquet", "repairs", repairs)
        records.write(folder / f"traces/t/draw{draw}/scores/v.parquet", "scores", scores)


def test_every_figure_has_equal_bytes_and_its_numbers_beside_it(run, monkeypatch):
    write_traces(run)
    for number, path in enumerate(sorted((run / "students/t").glob("*/s/*/*/training.json"))):
        records.write_json(path, {"tokens": {"total": 100, "supervised": 300 * number}})
    records.write_text(run / "audits_t.csv", audit_draws.joined([ONE, TWO]).to_csv(index=False))
    table = ["--table", run / "tables/main.csv"]
    given = {
        "cost": [*table, "--more-samples", "rs"],
        "doses": [*axes(run), *table, "--exposures", run / "exposures.csv"],
        "cuts": ["--teachers", "t", "--audits", run / "audits_t.csv"],
        "roc": ["--run", run, "--teachers", "t", "--draws", 2, "--variant", "v"],
    }
    for name, arguments in given.items():
        for place in ("one", "two"):
            made(monkeypatch, study_figures.main, name, *arguments, "--out", run / place / f"{name}.svg")
        for suffix in ("svg", "png", "csv"):
            one, two = ((run / place / f"{name}.{suffix}").read_bytes() for place in ("one", "two"))
            assert one == two and one, (name, suffix)
        assert (run / f"one/{name}.svg.provenance.json").exists()
    assert set(pd.read_csv(run / "one/roc.csv")["teacher"]) == {"t"}
    written, numbers = pd.read_csv(run / "one/doses.csv"), dose_numbers(run)
    pd.testing.assert_frame_equal(written, numbers, check_dtype=False, atol=1e-4)
    with pytest.raises(HealError, match="1 teachers, 2 files"):
        twice = ["--teachers", "t", "--audits", run / "audits_t.csv", run / "audits_t.csv"]
        made(monkeypatch, study_figures.main, "cuts", *twice, "--out", run / "cuts.svg")


def test_figures_import_no_torch():
    code = "import evals.figures.study, sys; print({'torch', 'transformers', 'trl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_two_known_methods_look_alike_and_none_looks_like_an_unknown_one():
    looks = list(style.METHODS.values())
    assert len(set(looks)) == len(looks)
    assert not {style.look(f"unknown {i}") for i in range(200)} & set(looks)
    shipped = {name for path in ROOT.glob("config/mini*.yaml") for name in config.load(path).methods}
    assert shipped <= set(style.METHODS)


def test_make_runs_studies_of_every_mini_teacher_and_the_subset_is_a_part():
    commands = re.findall(r"SNAKEMAKE,study --configfile (\S+?)\)", (ROOT / "Makefile").read_text())
    whole, part = (config.load(ROOT / path) for path in commands)
    teachers = {str(path.relative_to(ROOT)) for path in (ROOT / "heal/worlds/mini/models").glob("teacher*")}
    assert {model.path for model in whole.teachers.values()} == teachers
    assert (whole.draws, whole.seeds) == (3, 5) and part.draws <= whole.draws and part.seeds <= whole.seeds
    assert set(part.methods) <= set(whole.methods) and set(part.ablations) < set(whole.ablations)
    for field in ("teachers", "students", "problems", "train", "gear", "pure"):
        assert getattr(part, field) == getattr(whole, field), field


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The reduced configuration with two teachers and two draws."""
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    content = yaml.safe_load((ROOT / "tests/configs/smoke.yaml").read_text())
    content["teachers"]["confident"] = {"path": "heal/worlds/mini/models/teacher_confident"}
    path.write_text(yaml.safe_dump(content | {"run": "study_plan", "draws": 2}))
    return path


def snakemake(*arguments: str) -> str:
    """What Snakemake says. Raises AssertionError where it fails."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    program = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", "--nolock", *arguments]
    run = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.mark.workflow
def test_the_study_plans_every_teacher_and_draw(study):
    told = snakemake("study", "--configfile", str(study), "--dry-run", "--forceall")
    stats = told.rpartition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
    cells, kinds = 2 * 2, 2  # teachers × draws; the main methods and the ablations
    assert jobs["audits"] == cells * kinds and jobs["audits_of_draws"] == 2 * kinds
    assert {jobs[f"figure_{name}"] for name in ("ceiling", "trace", "positions", "pure")} == {cells}
    assert {jobs[f"figure_{name}"] for name in ("accuracy", "cost", "loss")} == {kinds}
    assert {jobs[f"figure_{name}"] for name in ("doses", "cuts", "roc", "hours", "rulegraph")} == {1}
    assert jobs["student"] == cells * 2 * 3  # seeds × methods
    planned = plan.plan(plan.settings(config.load(study), where=str(study), ablations=True))
    counted = pd.DataFrame(planned).groupby("rule")["jobs"].sum().to_dict()
    assert counted == {rule: jobs[rule] for rule in counted}


@pytest.mark.workflow
def test_the_study_s_files_name_teacher_and_draw(study):
    files = {
        line.partition("\t")[0] for line in snakemake("study", "--configfile", str(study), "--summary").splitlines()
    }
    results = "results/study_plan"
    for teacher in ("default", "confident"):
        for draw in (0, 1):
            assert f"{results}/traces/{teacher}/draw{draw}/premise.json" in files
            assert f"{results}/tables/ablations_audits/draw{draw}/audits_{teacher}.csv" in files
            assert f"{results}/figures/draw{draw}/pure_{teacher}.svg" in files
        assert f"{results}/tables/ablations_audits/premises_{teacher}.csv" in files
    for name in ("ablations/cost", "ablations/doses", "ablations/cuts", "roc"):
        assert {f"{results}/figures/{name}.{suffix}" for suffix in ("svg", "png", "csv")} <= files, name
