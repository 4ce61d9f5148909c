"""Checkpoints of an unfinished training: when they are written, which are complete, and progress on stderr."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from heal import records
from heal.config.options import changed_options
from heal.errors import HealError
from heal.records import Row
from heal.training.processes import IS_MAIN, decide_in_main, wait_for_all

COMPLETE = "complete.json"
"""Written last into a checkpoint: its files and their sizes in bytes."""
NEUTRAL_OPTIONS = ("save_minutes", "report_to")
"""Training options that change no weight: another value resumes the same checkpoints."""
PROGRESS_LINES = 10
"""Progress lines per training."""


def locate_checkpoints(out: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> Path:
    """The hidden folder next to `out` that holds the checkpoints of this training.

    Its name is a hash of everything that decides the weights: the examples and the settings. Of a group of options only
    those count that differ from their defaults, so that a new option with a default resumes old checkpoints.
    """
    identity = {name: changed_options(value) for name, value in settings.items()}
    for name in NEUTRAL_OPTIONS:
        identity["options"].pop(name, None)
    return out.parent / f".partial-{out.name}-{records.hash_content(rows, identity)}"


def dump_settings(settings: Mapping[str, Any]) -> Row:
    """The settings as training.json lists them: groups of options with every option."""
    dumped = {}
    for name, value in settings.items():
        dumped[name] = value.model_dump() if isinstance(value, BaseModel) else value
    return dumped


def remove_checkpoints(out: Path) -> None:
    """Removes the checkpoints of `out`, also those of abandoned trainings with other settings."""
    for folder in out.parent.glob(f".partial-{out.name}-{'[0-9a-f]' * 16}"):
        shutil.rmtree(folder)


def remove_unfinished(folder: Path, keep: str) -> None:
    """Removes everything but `keep` from the hidden folder of a finished student."""
    for path in folder.iterdir():
        if path.name == keep:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def list_file_sizes(checkpoint: Path) -> dict[str, int]:
    """File name → size in bytes, without COMPLETE itself."""
    files = [file for file in sorted(checkpoint.iterdir()) if file.name != COMPLETE]
    return {file.name: file.stat().st_size for file in files}


def is_complete(checkpoint: Path) -> bool:
    """Whether the checkpoint was written to its end."""
    try:
        return json.loads((checkpoint / COMPLETE).read_text()) == list_file_sizes(checkpoint)
    except (OSError, ValueError):
        return False


def find_last_complete(folder: Path) -> Path | None:
    """The newest complete checkpoint in the folder; removes incomplete ones."""
    last = None
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        if is_complete(checkpoint):
            last = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return last


def make_callback(stages: Sequence[int], label: str, save_minutes: float) -> Any:
    """A Trainer callback that asks for checkpoints, marks them as complete and prints progress.

    stages: PACE stage of each optimizer step. save_minutes: minutes between two checkpoints; none follows the last
    optimizer step. Raises HealError at the first loss that is not finite.
    """
    from transformers import TrainerCallback

    began, total = time.monotonic(), len(stages)

    class Watcher(TrainerCallback):
        last_save = began

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # Saving is collective: were each process to read its own clock, one could save alone and wait forever.
            is_due = decide_in_main(time.monotonic() - self.last_save >= 60 * save_minutes)
            if is_due and state.global_step < total:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            wait_for_all()  # each process has written its own files
            if IS_MAIN:
                checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                records.write_json(checkpoint / COMPLETE, list_file_sizes(checkpoint))
            self.last_save = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            number, loss = state.global_step, logs.get("loss")
            if loss is None:
                return
            if not math.isfinite(loss):
                problem = f"the loss is {loss} at optimizer step {number}"
                raise HealError(problem, where=label, fix="lower train.learning_rate")
            due = number * PROGRESS_LINES // total > (number - 1) * PROGRESS_LINES // total
            if IS_MAIN and (due or number == total):
                seconds = time.monotonic() - began
                progress = f"optimizer step {number}/{total}, stage {stages[number - 1]}, loss {loss:.4f}"
                print(f"{label}: {progress}, {seconds:.0f} s", file=sys.stderr, flush=True)

    return Watcher()
