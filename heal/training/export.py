"""Export a method's training set in the formats of other trainers, so that its students can be trained elsewhere.

Reads curriculum.jsonl; writes a folder. `trl`: train.jsonl with `messages`, as TRL's SFTTrainer takes it.
`llamafactory`: train.json (ShareGPT form) with the dataset_info.json that LLaMA-Factory reads. Each conversation has
its stage and origin. Neither format has an order of training: --schedule writes every exposure in PACE's order, for a
trainer that does not shuffle.

    heal export --curriculum curriculum.jsonl --format llamafactory --out heal-for-llamafactory
    heal export --curriculum curriculum.jsonl --format trl --schedule cumulative --max-steps 300 --out DIR
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from heal import records
from heal.command import Command
from heal.config.experiment import Schedule
from heal.errors import HealError
from heal.method.pace import order_exposures
from heal.records import Row
from heal.training.conversations import read_curriculum

SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


class Export(Command):
    curriculum: Path
    """A method's curriculum.jsonl."""
    format: Literal["trl", "llamafactory"]
    """The trainer that will read it."""
    out: Path
    """The folder to write."""
    schedule: Schedule | None = None
    """Write every exposure in this order, instead of every conversation once."""
    max_steps: int = 300
    """Optimizer steps, for --schedule."""
    batch_size: int = 8
    """Conversations per optimizer step, for --schedule."""
    seed: int = 0
    """Training seed, for --schedule."""

    def run(self) -> None:
        rows = read_curriculum(self.curriculum)
        masked = [row["id"] for row in rows if row.get("prefix")]
        if masked:
            problem = f"{len(masked)} examples have a prefix that is not to be learned, the first is {masked[0]}"
            fix = "train it with `heal train`: neither format can express a prefix"
            raise HealError(problem, where=f"{self.curriculum}, field prefix", fix=fix)
        if self.schedule:
            stages = [row["stage"] for row in rows]
            order, _ = order_exposures(
                stages, schedule=self.schedule, max_steps=self.max_steps, batch_size=self.batch_size, seed=self.seed
            )
            rows = [rows[number] for number in order]
        files = format_trl(rows) if self.format == "trl" else format_llamafactory(rows)
        for name, content in files.items():
            records.write_text(self.out / name, content)
        print(f"{len(rows)} conversations: {self.out}")


def format_trl(rows: Sequence[Row]) -> dict[str, str]:
    """File name → content."""
    lines = []
    for row in rows:
        fields = {key: row[key] for key in ("messages", "stage", "origin", "id")}
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    return {"train.jsonl": "".join(lines)}


def format_llamafactory(rows: Sequence[Row]) -> dict[str, str]:
    """File name → content."""
    conversations = []
    for row in rows:
        turns = []
        for message in row["messages"]:
            turns.append({"from": SHAREGPT_ROLES[message["role"]], "value": message["content"]})
        conversations.append({"conversations": turns, "stage": row["stage"], "origin": row["origin"]})
    info = {"heal": {"file_name": "train.json", "formatting": "sharegpt", "columns": {"messages": "conversations"}}}
    return {"train.json": format_json(conversations), "dataset_info.json": format_json(info)}


def format_json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
