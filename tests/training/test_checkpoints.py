"""Laws of checkpoints: one as soon as so many minutes have passed since the last, at the main process's word."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heal.config.models import ModelSource
from heal.training import checkpoints
from heal.training.train import train
from tests.support.tiny_training import EVERY_STEP, OPTIONS


class Clock:
    """Stands in for `time`: a clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def list_saves(callback: Any, clock: Clock, folder: Path, step_seconds: list[float], save_seconds: float) -> list[int]:
    """The optimizer steps after which a checkpoint is written. step_seconds: how long each step takes."""
    args, saves = SimpleNamespace(output_dir=str(folder)), []
    for number, seconds in enumerate(step_seconds, 1):
        clock.seconds += seconds
        state, control = SimpleNamespace(global_step=number), SimpleNamespace(should_save=False)
        callback.on_step_end(args, state, control)
        if control.should_save:
            (folder / f"checkpoint-{number}").mkdir()
            clock.seconds += save_seconds
            callback.on_save(args, state, control)
            saves.append(number)
    return saves


@pytest.mark.parametrize(
    ("save_minutes", "step_seconds", "save_seconds", "expected"),
    [
        (1.0, [20.0] * 10, 0.0, [3, 6, 9]),
        (1.0, [20.0] * 10, 600.0, [3, 6, 9]),  # the time that saving takes is not trained
        (1.0, [90.0, 1.0, 1.0, 90.0, 1.0], 0.0, [1, 4]),
        (1.0, [5.0] * 10, 0.0, []),
        (1.0, [20.0, 20.0, 20.0], 0.0, []),  # nothing is left to resume after the last step
        (EVERY_STEP, [0.1] * 4, 0.0, [1, 2, 3]),
    ],
)
def test_checkpoints_follow_the_minutes_and_not_the_steps(
    save_minutes: float,
    step_seconds: list[float],
    save_seconds: float,
    expected: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(checkpoints, "time", clock)
    callback = checkpoints.make_callback([1] * len(step_seconds), "s", save_minutes)
    assert list_saves(callback, clock, tmp_path, step_seconds, save_seconds) == expected


def test_every_process_follows_the_clock_of_the_main_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(checkpoints, "time", clock)
    for decision, expected in ((True, [1, 2]), (False, [])):
        monkeypatch.setattr(checkpoints, "decide_in_main", lambda own, main=decision: main)
        folder = tmp_path / str(decision)
        folder.mkdir()
        callback = checkpoints.make_callback([1] * 3, "s", 1.0)
        assert list_saves(callback, clock, folder, [30.0, 40.0, 70.0], 0.0) == expected


def test_a_short_training_writes_no_checkpoint(
    model: Path, curriculum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[Path] = []
    monkeypatch.setattr(checkpoints, "list_file_sizes", lambda folder: marked.append(folder) or {})
    options = OPTIONS.model_copy(update={"max_steps": 3, "save_minutes": 15.0})
    train(curriculum, ModelSource(path=str(model)), options, "cumulative", 0, tmp_path / "long")
    assert marked == []
    train(
        curriculum,
        ModelSource(path=str(model)),
        OPTIONS.model_copy(update={"max_steps": 3}),
        "mixed",
        0,
        tmp_path / "s",
    )
    assert [folder.name for folder in marked] == ["checkpoint-1", "checkpoint-2"]
