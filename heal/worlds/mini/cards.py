"""Write model card and license of the mini models, from each one's config and build.json.

Reads config.json and build.json of a model's folder and the repository's LICENSE; writes README.md and LICENSE next to
them. heal.worlds.mini.build does so for what it builds.

    python -m heal.worlds.mini.cards      # every shipped model
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from heal.errors import HealError, exit_with_errors
from heal.records import write_text

MODELS = Path(__file__).parent / "models"
LICENSE = Path(__file__).parents[3] / "LICENSE"
ROLES = {
    "teacher": "The default teacher. It guesses where the undoing of a table was withheld, unless a hint helps.",
    "teacher_confident": "A teacher whose errors are confident: entropy does not mark them.",
    "teacher_guided": "A teacher that a hint from the start helps as much as one in the middle of a failed trace.",
    "teacher_blurred": "A teacher whose jumps to the answer look like its right steps after a hint.",
    "student": "The base student. It knows the easy operations and none of the withheld facts.",
}
TEMPLATE = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- reasoning-distillation
- model-organism
---

# {name}

{role}
One of the models of the mini world (`docs/mini.md`), in which the HEAL replication suite runs on a laptop.

| | |
|---|---|
| architecture | {architecture}, {layers} layers, width {width}, {vocabulary} tokens in the vocabulary |
| trained on | {tokens:,} tokens (padding included) of puzzles that `heal/worlds/mini` generates; no other data |
| from | random weights, seed {seed} |
| built by | `{command}` |
| code at commit | {commit} |
| final loss | {loss} nats, torch {torch} |
| license | Apache-2.0 (LICENSE) |

**Use.** As a stand-in: for the suite's tests, its tutorial and the mini comparisons. **Limits.** It answers puzzles of
clock arithmetic in a fixed wording and nothing else; what is measured with it shows that the machinery works, not that
HEAL does.
"""


def write_card(folder: Path) -> None:
    """Writes README.md and LICENSE of one model. Raises HealError where it is none that was built here."""
    write_text(folder / "README.md", render_card(folder))
    shutil.copyfile(LICENSE, folder / "LICENSE")


def render_card(folder: Path) -> str:
    """The model card. Raises HealError where a file is missing, or the model is unknown."""
    build, config = read_json(folder / "build.json"), read_json(folder / "config.json")
    if build["model"] not in ROLES:
        fix = "add a sentence about it to ROLES in heal/worlds/mini/cards.py"
        raise HealError(f"no role of {build['model']!r}", where=str(folder / "build.json"), fix=fix)
    return TEMPLATE.format(
        name=build["model"],
        role=ROLES[build["model"]],
        architecture=config["architectures"][0],
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        vocabulary=config["vocab_size"],
        tokens=build["tokens"],
        seed=build["seed"],
        command=build["command"],
        commit=build.get("commit", "not recorded"),
        loss=build["final_loss_nats"],
        torch=build["torch"],
    )


def read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise HealError("no such file", where=str(path), fix="build the model: python -m heal.worlds.mini.build --help")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def main() -> None:
    for file in sorted(MODELS.glob("*/build.json")):
        write_card(file.parent)


if __name__ == "__main__":
    exit_with_errors(main)
