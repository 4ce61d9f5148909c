"""The tables' intervals on simulated tables whose truth is known: a small version of benchmarks/coverage.py."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.support.paths import ROOT

NAMES = ("benchmark_of_coverage", ROOT / "benchmarks/coverage.py")


@pytest.fixture(scope="module")
def coverage():
    import sys

    spec = importlib.util.spec_from_file_location(*NAMES)
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAMES[0]] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_claims_cover_what_they_say_and_no_more(coverage):
    designs = [coverage.Design(1, 5, 40), coverage.Design(3, 5, 40)]
    frame = coverage.run_checks(designs, n_tables=300, seed=1, bootstraps=100)
    claims = frame[(frame["check"] == "claim") & frame["nominal"].notna()]
    assert list(claims["estimand"]) == [
        "these questions, this teacher seed",
        "these questions, all teacher seeds",
    ]
    assert claims["share"].between(0.91, 0.99).all()
    # One teacher seed says nothing about others, and (teacher seed, training seed) pairs are not independent.
    is_claim = (frame["teacher_seeds"] == 1) & (frame["check"] == "claim")
    beyond = frame[is_claim & frame["estimand"].str.endswith("all teacher seeds")]
    pairs = frame[frame["check"] == "t over seed pairs"]
    assert (beyond["share"] < 0.91).all() and len(pairs) and (pairs["share"] < 0.91).all()
    assert frame.loc[frame["check"] == "false positives", "share"].between(0.02, 0.09).all()


def compute_truths(coverage, design, tables):
    return {truth.estimand: truth.means_MN for truth in coverage.compute_truths(design, tables)}


def test_the_simulated_truth_is_the_mean_of_many_tables(coverage):
    design = replace(coverage.Design(1, 400, 30), teacher_seed=0.0, method_teacher_seed=0.0)
    tables = coverage.simulate_tables(design, 3, np.random.default_rng(0))
    true = compute_truths(coverage, design, tables)
    these_questions = true["these questions, this teacher seed"]
    assert tables.scores_MNTSQ.mean(axis=(2, 3, 4)) == pytest.approx(these_questions, abs=0.02)
    assert these_questions == pytest.approx(true["these questions, all teacher seeds"])
    assert (np.ptp(true["all questions, all teacher seeds"], axis=1) == 0).all()
    same = replace(design.equal, questions=50_000, training_seeds=1)
    tables = coverage.simulate_tables(same, 1, np.random.default_rng(0))
    a, b = compute_truths(coverage, same, tables)["these questions, all teacher seeds"]
    assert a == pytest.approx(b)


def test_the_reference_simulation_has_claims_within_two_points_of_95():
    """results/reference/coverage.csv, of 1,000 tables per design."""
    frame = pd.read_csv(ROOT / "results/reference/coverage.csv")
    assert (frame["tables"] >= 1000).all()
    claims = frame[(frame["check"] == "claim") & frame["nominal"].notna()]
    sizes = set(zip(claims["teacher_seeds"], claims["training_seeds"], strict=True))
    assert {(1, 3), (1, 5), (1, 10), (3, 3), (3, 5), (3, 10)} <= sizes
    assert claims["share"].between(0.93, 0.97).all(), claims
    positives = frame[frame["check"] == "false positives"]
    assert (positives["share"] <= 0.07).all(), positives
    discoveries = frame[frame["check"] == "false discoveries"]
    assert (discoveries["share"] <= discoveries["nominal"] + 0.015).all(), discoveries
