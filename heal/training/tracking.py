"""Send loss and scores to TensorBoard, trackio or Weights & Biases, through transformers' own callbacks.

Off by default. Training passes `train.report_to` to TRL; an evaluation sends its scores by `send`. Projects, tokens and
servers come from the trackers' own environment variables (WANDB_PROJECT, WANDB_API_KEY, TRACKIO_PROJECT …). TensorBoard
writes to the folder tensorboard/ of the student and of its evaluation, unless TENSORBOARD_LOGGING_DIR is set.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from heal.errors import HealError

TENSORBOARD_VARIABLE = "TENSORBOARD_LOGGING_DIR"


def check(trackers: Sequence[str], where: str = "train.report_to") -> None:
    """Raises HealError for a tracker whose package is not installed."""
    for name in trackers:
        if importlib.util.find_spec(name) is None:
            raise HealError(f"{name} is not installed", where=where, fix=f"pip install {name}, or remove it here")


@contextmanager
def open_run(folder: Path) -> Iterator[None]:
    """The block is one run of the trackers: TensorBoard writes below the folder, unless the environment names another.

    W&B's callback would add the next student of the process to the run that is open.
    """
    is_given = TENSORBOARD_VARIABLE in os.environ
    os.environ.setdefault(TENSORBOARD_VARIABLE, str(folder / "tensorboard"))
    try:
        yield
    finally:
        if not is_given:
            del os.environ[TENSORBOARD_VARIABLE]
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()


def send(trackers: Sequence[str], name: str, scores: Mapping[str, float], folder: Path) -> None:
    """Sends benchmark → share of correct answers as the run `name`. Raises HealError as `check`."""
    if not trackers:
        return
    check(trackers)
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations import get_reporting_integration_callbacks

    arguments = TrainingArguments(output_dir=str(folder), run_name=name, report_to=list(trackers), use_cpu=True)
    state, control = TrainerState(), TrainerControl()
    logs = {f"eval_{benchmark}": score for benchmark, score in scores.items()}
    with open_run(folder):
        for make_callback in get_reporting_integration_callbacks(list(trackers)):
            callback = make_callback()
            callback.on_train_begin(arguments, state, control)
            callback.on_log(arguments, state, control, logs=logs)
            callback.on_train_end(arguments, state, control)
