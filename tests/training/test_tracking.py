"""Trackers get what training and evaluation made, under the student's name; and nothing where none is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from heal.config.models import Train
from heal.errors import HealError
from heal.training import tracking
from heal.training.trainers import build_trainer_settings

SENT: list[tuple[str | None, dict[str, Any]]] = []


class Tracker(TrainerCallback):
    """Stands in for TensorBoard's, trackio's or W&B's callback."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        SENT.append((args.run_name, logs or {}))


@pytest.fixture(autouse=True)
def tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    SENT.clear()
    monkeypatch.setattr("transformers.integrations.integration_utils.INTEGRATION_TO_CALLBACK", {"wandb": Tracker})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "trackio" else object())
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "unused")


def test_scores_are_sent_under_the_students_name(tmp_path: Path) -> None:
    tracking.send(["wandb"], "mini/heal/seed0", {"mini_hard": 0.25}, tmp_path)
    assert SENT == [("mini/heal/seed0", {"eval_mini_hard": 0.25})]


def test_nothing_is_sent_unasked(tmp_path: Path) -> None:
    tracking.send([], "mini/heal/seed0", {"mini_hard": 0.25}, tmp_path)
    assert SENT == []
    assert build_trainer_settings(Train(), 1, 0, tmp_path, "name", gpu=False, recompute=False)["report_to"] == []


def test_training_hands_trackers_and_name_to_trl(tmp_path: Path) -> None:
    options = Train(report_to=["wandb"])
    arguments = build_trainer_settings(options, 1, 0, tmp_path, "mini/heal/seed0", gpu=False, recompute=False)
    assert arguments["report_to"] == ["wandb"] and arguments["run_name"] == "mini/heal/seed0"


def test_a_tracker_that_is_not_installed_is_told_with_the_cure() -> None:
    with pytest.raises(HealError, match="pip install trackio"):
        tracking.check(["wandb", "trackio"])
