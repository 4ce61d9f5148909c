"""The tables' intervals on simulated tables whose truth is known: a small version of benchmarks/coverage.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import coverage, simulated_tables
from tests.support.paths import ROOT

CLAIMS = ("claim", "claim of all methods", "new questions")


def test_claims_cover_what_they_say_and_no_more():
    designs = [simulated_tables.Design(6, 1, 5, 100), simulated_tables.Design(6, 3, 5, 100, accuracies="alike")]
    frame = coverage.run_checks(designs, n_tables=200, seed=1, bootstraps=50)
    claims = frame[(frame["check"] == "claim") & frame["nominal"].notna()]
    assert list(claims["estimand"]) == [
        "these questions, this teacher seed",
        "these questions, all teacher seeds",
    ]
    assert (claims["share"] > 0.9).all()
    # One teacher seed says nothing about others, and (teacher seed, training seed) pairs are not independent.
    is_claim = (frame["teacher_seeds"] == 1) & (frame["check"] == "claim")
    beyond = frame[is_claim & frame["estimand"].str.endswith("all teacher seeds")]
    pairs = frame[frame["check"] == "t over seed pairs"]
    assert (beyond["share"] < 0.91).all() and len(pairs) and (pairs["share"] < 0.91).all()
    assert (frame.loc[frame["check"] == "false positives", "share"] < 0.1).all()
    assert "| 6 | alike | 0.25 | 3 | 5 | 100 | 1 |" in coverage.render_report(frame, seed_sd=0.25)


def compute_truths(design, tables):
    return {truth.estimand: truth.means_MN for truth in simulated_tables.compute_truths(design, tables)}


def test_the_simulated_truth_is_the_mean_of_many_tables():
    design = replace(simulated_tables.Design(2, 1, 400, 30), teacher_seed=0.0, method_teacher_seed=0.0)
    tables = simulated_tables.simulate_tables(design, 3, np.random.default_rng(0))
    true = compute_truths(design, tables)
    these_questions = true["these questions, this teacher seed"]
    assert tables.scores_MNTSQ.mean(axis=(2, 3, 4)) == pytest.approx(these_questions, abs=0.02)
    assert these_questions == pytest.approx(true["these questions, all teacher seeds"])
    assert (np.ptp(true["all questions, all teacher seeds"], axis=1) == 0).all()
    same = replace(design.equal, questions=50_000, training_seeds=1)
    tables = simulated_tables.simulate_tables(same, 1, np.random.default_rng(0))
    a, b = compute_truths(same, tables)["these questions, all teacher seeds"]
    assert a == pytest.approx(b)


def test_the_seeds_spread_is_measured_from_answers(tmp_path):
    rng = np.random.default_rng(0)
    logits_MSQ = rng.normal(0, 1, 400) + rng.normal(0, 0.4, (30, 5, 1))
    right_MSQ = rng.random(logits_MSQ.shape) < 1 / (1 + np.exp(-logits_MSQ))
    method, seed, question = np.indices(right_MSQ.shape).reshape(3, -1)
    columns = {"method": method, "seed": seed, "problem_id": question, "strict": right_MSQ.ravel()}
    frame = pd.DataFrame(columns | {"teacher": "t", "student": "s", "benchmark": "b"})
    frame.to_parquet(tmp_path / "outcomes.parquet")
    assert simulated_tables.measure_seed_sd(tmp_path / "outcomes.parquet", "b") == pytest.approx(0.4, rel=0.1)


@pytest.fixture(scope="module")
def reference():
    """results/reference/coverage.csv."""
    return pd.read_csv(ROOT / "results/reference/coverage.csv")


def test_the_reference_simulation_has_claims_within_two_points_of_95(reference):
    claims = reference[reference["nominal"].notna() & reference["check"].isin(CLAIMS)]
    sizes = set(zip(claims["methods"], claims["teacher_seeds"], claims["training_seeds"], strict=True))
    assert {(6, 1, 3), (6, 1, 5), (6, 2, 3), (6, 3, 2), (6, 3, 3), (6, 3, 5), (4, 3, 3), (14, 3, 3)} <= sizes
    positives = reference[reference["check"] == "false positives"]
    assert (claims["tables"] >= 1000).all() and (positives["tables"] >= 1000).all()
    for rows, lowest, highest in ((claims, 0.93, 0.97), (positives, 0.03, 0.07)):
        as_measured = rows[rows["method_seed"] == reference["method_seed"].max()]
        assert as_measured["share"].between(lowest, highest).all(), as_measured
    assert (claims["share"] > 0.93).all() and (positives["share"] < 0.07).all()  # seeds that vary little as well
    discoveries = reference[reference["check"] == "false discoveries"]
    assert (discoveries["share"] <= discoveries["nominal"] + 0.02).all(), discoveries


def test_the_reference_simulation_has_a_power_curve_above_the_paired_t_s(reference):
    power = reference[reference["check"].str.startswith("power")]
    sizes = ["method_seed", "teacher_seeds", "training_seeds"]
    curves = power.pivot(index=[*sizes, "difference"], columns="check", values="share")
    assert (curves["power"] > curves["power, paired t"] - 0.02).all()
    for _, curve in curves.groupby(sizes):
        assert curve["power"].is_monotonic_increasing and len(curve) >= 5
        assert curve["power"].iloc[-1] > curve["power, paired t"].iloc[-1] + 0.05
