"""Laws of the gates: a world in which all holds passes, and each fault alone fails the gate that is there for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evals import gates
from evals.gates import EASY, HARD, NEGATIVE, PLAIN, POSITIVE, REFERENCE, SAMPLED, UPPER

QUESTIONS, TEACHER_SEEDS, SEEDS = 300, 3, 2
SHARES = {PLAIN: 0.02, REFERENCE: 0.03, UPPER: 0.9, POSITIVE: 0.6, NEGATIVE: 0.03}
AUDITS = {
    ("entropy", "largest surge is a wrong step"): 0.97,
    ("start or mid-trace", "gap, mean over problems"): 0.3,
    ("pure", "AUROC fresh: anomaly"): 0.95,
    ("start or mid-trace", "valid of accepted, hint at start"): 0.55,
    ("repairs", "valid of accepted"): 0.8,
    ("repairs", "inherited error of accepted"): 0.05,
    ("repairs", "fresh error of accepted"): 0.15,
    ("repairs", "treated problems with an accepted repair"): 0.8,
}


def draw(share: float, *shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(size=(*shape, QUESTIONS)) < share).astype(float)


class World:
    """A run by its scores: every gate holds until one is changed."""

    def __init__(self) -> None:
        self.teacher = {EASY: 0.99, HARD: 0.01, SAMPLED: 0.02}
        self.majority = 0.01
        self.untrained = {EASY: 0.98, HARD: 0.02}
        self.easy_after_training = 0.97
        self.hard = dict(SHARES)
        self.audits = dict(AUDITS)
        self.teacher_seeds = TEACHER_SEEDS
        self.drift = 0.0  # of the second half of the training seeds

    def get_student_scores(self, teacher: str, student: str, method: str, benchmark: str) -> np.ndarray:
        share = self.easy_after_training if benchmark == EASY else self.hard[method]
        scores_TSQ = draw(share, TEACHER_SEEDS, SEEDS, seed=len(method))
        if method == PLAIN and benchmark == HARD and self.drift:
            scores_TSQ[:, SEEDS // 2 :] = draw(self.drift, TEACHER_SEEDS, SEEDS - SEEDS // 2, seed=9)
        return scores_TSQ

    def list_gates(self, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
        """(gate, quantity) → whether it holds."""
        run: Any = SimpleNamespace(
            teachers=["t"],
            students=["s"],
            methods=list(SHARES),
            teacher_seeds=self.teacher_seeds,
            reading="strict",
            get_teacher_scores=lambda teacher, benchmark: draw(self.teacher[benchmark]),
            get_untrained_scores=lambda teacher, student, benchmark: draw(self.untrained[benchmark]),
            get_student_scores=self.get_student_scores,
            has_mixed_engines=lambda *names: False,
            compute_truncated_share=lambda *names: 0.0,
        )
        monkeypatch.setattr(gates, "compute_majority", lambda *arguments: draw(self.majority))
        rows = [(audit, "default", quantity, value) for (audit, quantity), value in self.audits.items()]
        audits = pd.DataFrame(rows, columns=["audit", "variant", "quantity", "value"]).assign(low=0.0, high=1.0)
        found = [*gates.list_design_gates(run), *gates.list_teacher_gates(run, "t", Path("none"))]
        found += [*gates.list_trace_gates("t", audits), *gates.list_student_gates(run, "t", "s")]
        return {(gate.gate, gate.quantity): gate.holds for gate in found}


def test_a_world_in_which_all_holds_passes_every_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(World().list_gates(monkeypatch).values()) == {"yes"}


FAULTS: dict[str, tuple[Callable[[World], None], str]] = {
    "the teacher fails easy puzzles": (lambda world: world.teacher.update({EASY: 0.9}), "easy, greedily"),
    "greedy decoding lifts the ceiling": (lambda world: world.teacher.update({HARD: 0.4}), "hard, greedily"),
    "luck lifts the ceiling": (lambda world: world.teacher.update({SAMPLED: 0.2}), "hard, at temperature 1"),
    "a vote lifts the ceiling": (lambda world: setattr(world, "majority", 0.3), "hard, by the majority of 16"),
    "one teacher seed": (lambda world: setattr(world, "teacher_seeds", 1), "teacher sampling seeds"),
    "no guided sample is valid": (
        lambda world: world.audits.update({("start or mid-trace", "valid of accepted, hint at start"): 0.1}),
        "valid of accepted guided samples",
    ),
    "repairs are no better than guided samples": (
        lambda world: world.audits.update({("repairs", "valid of accepted"): 0.6}),
        "valid of accepted: repairs minus guided",
    ),
    "nothing for PURE to drop": (
        lambda world: world.audits.update({("repairs", "valid of accepted"): 0.99}),
        "invalid of accepted repairs",
    ),
    "few problems are repaired": (
        lambda world: world.audits.update({("repairs", "treated problems with an accepted repair"): 0.2}),
        "treated problems with an accepted repair",
    ),
    "training forgets": (lambda world: setattr(world, "easy_after_training", 0.7), f"easy, {PLAIN} over untrained"),
    "the student knows the facts": (lambda world: world.untrained.update({HARD: 0.3}), "hard, untrained"),
    "worked solutions do not teach": (lambda world: world.hard.update({UPPER: 0.5}), f"hard, {UPPER}"),
    "the comparison is blind": (
        lambda world: world.hard.update({POSITIVE: 0.03}),
        f"{POSITIVE} minus {REFERENCE} on {HARD}, over the detectable difference",
    ),
    "the control without a hint wins": (
        lambda world: world.hard.update({NEGATIVE: 0.4}),
        f"{NEGATIVE} minus {REFERENCE} on {HARD}: lower bound",
    ),
    "a method differs from itself": (
        lambda world: setattr(world, "drift", 0.5),
        f"{PLAIN} with other training seeds: |difference| on {HARD} beyond its interval",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_gate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_world, quantity = FAULTS[name]
    world = World()
    break_world(world)
    verdicts = {quantity: holds for (_, quantity), holds in world.list_gates(monkeypatch).items()}
    assert verdicts[quantity] == "no"


def test_a_quantity_that_was_not_measured_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.audits.clear()
    verdicts = world.list_gates(monkeypatch)
    assert verdicts["traces", "valid of accepted guided samples"] == "cannot say"
