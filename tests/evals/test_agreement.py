"""Laws of the agreement rule: a correct replication agrees, a shifted method does not and is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from evals.agreement import FALSE_ALARM_RATE, Cell, compare_runs

QUESTIONS = 300
MEANS = {"rejection_sampling": 0.02, "rs_matched": 0.06, "guided": 0.25, "heal": 0.5}
SIMULATIONS = 400


def simulate_run(
    rng: np.random.Generator,
    *,
    means: Mapping[str, float] = MEANS,
    replicates: int = 3,
    noise: float = 0.4,
    block: float = 0.2,
    hardware: str = "CPU A",
    loud: str = "",
) -> list[Cell]:
    """Cells of two benchmarks. Replicates vary in the logit: by their own noise, and by one that all methods share.

    loud: a method whose own noise is twice that of the others.
    """
    cells = []
    for benchmark in ("easy", "hard"):
        shared_R = rng.normal(0, block, replicates)
        for method, mean in means.items():
            own_R = rng.normal(0, noise * (2 if method == loud else 1), replicates)
            share_R = 1 / (1 + np.exp(-(math.log(mean / (1 - mean)) + shared_R + own_R)))
            accuracy_R = rng.binomial(QUESTIONS, share_R) / QUESTIONS
            key = ("t", "s", method, benchmark)
            spread = float(accuracy_R.std(ddof=1)) if replicates > 1 else math.nan
            cells.append(Cell(*key, hardware, replicates, QUESTIONS, float(accuracy_R.mean()), spread))
        teacher = rng.binomial(QUESTIONS, 0.1) / QUESTIONS
        cells.append(Cell("t", "", "teacher", benchmark, hardware, 1, QUESTIONS, teacher, math.nan))
    return cells


def list_differing(own: list[Cell], reference: list[Cell]) -> list[str]:
    return [f"{one.cell.method} {one.cell.benchmark}" for one in compare_runs(own, reference) if one.agrees == "no"]


@pytest.mark.parametrize(
    "design",
    [
        {},
        {"noise": 0.0, "block": 0.0},
        {"noise": 0.8, "block": 0.8},
        {"loud": "heal"},
        {"means": dict.fromkeys(MEANS, 0.01)},
    ],
    ids=["usual", "answers vary only", "noisy", "one method varies more", "near zero"],
)
def test_a_correct_replication_agrees_at_least_as_often_as_promised(design):
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(SIMULATIONS):
        reference = simulate_run(rng, **design)
        alarms += bool(list_differing(simulate_run(rng, hardware="CPU B", **design), reference))
    standard_error = math.sqrt(FALSE_ALARM_RATE * (1 - FALSE_ALARM_RATE) / SIMULATIONS)
    assert alarms / SIMULATIONS <= FALSE_ALARM_RATE + 2 * standard_error


def test_a_shifted_method_does_not_agree_and_is_named():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        found.append(list_differing(simulate_run(rng, means=MEANS | {"rs_matched": 0.4}), simulate_run(rng)))
    shifted = ["rs_matched easy", "rs_matched hard"]
    assert sum(differing == shifted for differing in found) >= 15


def test_a_run_agrees_with_itself_even_without_any_spread():
    run = simulate_run(np.random.default_rng(2))
    still = [replace(cell, spread=0.0 if cell.is_trained else math.nan) for cell in run]
    for cells in (run, still):
        assert {(one.p, one.agrees) for one in compare_runs(cells, cells)} == {(1.0, "yes")}


def test_the_same_hardware_is_compared_with_where_the_reference_has_it():
    rng = np.random.default_rng(3)
    own, other = simulate_run(rng), simulate_run(rng, hardware="CPU B")
    assert all(one.reference == one.cell.mean for one in compare_runs(own, [*other, *own]))
    elsewhere = [replace(cell, hardware="CPU C") for cell in own]
    for one in compare_runs(elsewhere, [*other, *own]):
        mean = np.mean([cell.mean for cell in (*own, *other) if cell.key == one.cell.key])
        assert one.reference == pytest.approx(mean)


def test_one_seed_cannot_say_and_the_untrained_models_still_can():
    run = simulate_run(np.random.default_rng(4), replicates=1)
    agreements = compare_runs(run, run)
    assert {one.agrees for one in agreements if one.cell.is_trained} == {"cannot say"}
    assert {one.agrees for one in agreements if not one.cell.is_trained} == {"yes"}
