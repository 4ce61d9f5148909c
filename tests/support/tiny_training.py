"""Small curricula, the options of a short training, and what such a training leaves."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from heal.config.models import Train
from heal.worlds.mini.tokenizer import build_vocabulary

EVERY_STEP = 1e-9
"""`save_minutes` of a training that saves after every optimizer step."""
OPTIONS = Train(max_steps=20, batch_size=4, learning_rate=1e-2, save_minutes=EVERY_STEP)
WORDS = [word for word in build_vocabulary() if word.startswith(" ") and word[1:].isalpha()]


def make_conversation(number: int, length: int = 6) -> dict[str, Any]:
    draw = random.Random(number)
    messages = [
        {"role": "user", "content": "".join(draw.choices(WORDS, k=4))},
        {"role": "assistant", "content": "".join(draw.choices(WORDS, k=length + number % 3))},
    ]
    return {
        "id": f"e{number}",
        "problem_id": str(number),
        "stage": number % 3 + 1,
        "weight": 1.0,
        "origin": ("sample", "guided", "repair")[number % 3],
        "origin_id": "",
        "messages": messages,
    }


def write_curriculum(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def watch_forward_passes() -> Iterator[list[torch.Tensor]]:
    """The token ids of every forward pass, as the model's embedding sees them."""
    batches: list[torch.Tensor] = []

    def note(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding):
            batches.append(arguments[0].clone())

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    yield batches
    handle.remove()


def read_contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def read_csv_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))
