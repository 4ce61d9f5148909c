"""A method's training set in the formats of other trainers, so that its students can be trained elsewhere.

Reads curriculum.jsonl; writes a folder. `trl`: train.jsonl with `messages`, as TRL's SFTTrainer takes it.
`llamafactory`: train.json (ShareGPT form) with the dataset_info.json that LLaMA-Factory reads. Stage and origin of each
conversation stand beside it. Neither says in which order PACE shows the examples: --schedule writes them in that order,
exposure by exposure, for a trainer that does not shuffle.

    python -m heal.training.export --curriculum results/mini/curricula/default/draw0/tiny/heal/curriculum.jsonl \\
        --format llamafactory --out heal-for-llamafactory
    python -m heal.training.export … --format trl --schedule cumulative --steps 300 --batch 8 --out heal-in-order
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from heal import records
from heal.command import command_parser
from heal.config.experiment import Pace
from heal.errors import HealError, exit_with_errors
from heal.method.pace import exposures
from heal.records import Row
from heal.training.conversations import read_curriculum

FROM = {"user": "human", "assistant": "gpt", "system": "system"}


def as_trl(rows: Sequence[Row]) -> dict[str, str]:
    """File name → content."""
    kept = [{key: row[key] for key in ("messages", "stage", "origin", "id")} for row in rows]
    return {"train.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)}


def as_llamafactory(rows: Sequence[Row]) -> dict[str, str]:
    """File name → content."""
    conversations = [
        {
            "conversations": [{"from": FROM[m["role"]], "value": m["content"]} for m in row["messages"]],
            "stage": row["stage"],
            "origin": row["origin"],
        }
        for row in rows
    ]
    info = {"heal": {"file_name": "train.json", "formatting": "sharegpt", "columns": {"messages": "conversations"}}}
    return {"train.json": as_json(conversations), "dataset_info.json": as_json(info)}


def as_json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


FORMATS = {"trl": as_trl, "llamafactory": as_llamafactory}


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--curriculum", required=True, help="a method's curriculum.jsonl")
    parser.add_argument("--format", required=True, choices=FORMATS, help="whose trainer will read it")
    parser.add_argument("--out", required=True, help="the folder")
    parser.add_argument(
        "--schedule",
        choices=get_args(Pace.model_fields["schedule"].annotation),
        help="write every exposure in this order, in place of each conversation once",
    )
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps, for --schedule")
    parser.add_argument("--batch", type=int, default=8, help="conversations per step, for --schedule")
    parser.add_argument("--seed", type=int, default=0, help="training seed, for --schedule")
    arguments = parser.parse_args()
    rows = read_curriculum(arguments.curriculum)
    if masked := [row["id"] for row in rows if row.get("given")]:
        found = f"{len(masked)} examples begin with a part that is not to be learnt, the first is {masked[0]}"
        fix = "train it with heal.training.train: neither format can say so"
        raise HealError(found, where=f"{arguments.curriculum}, field given", fix=fix)
    if arguments.schedule:
        shown = {"schedule": arguments.schedule, "steps": arguments.steps, "batch": arguments.batch}
        order, _ = exposures([row["stage"] for row in rows], **shown, seed=arguments.seed)
        rows = [rows[number] for number in order]
    for name, content in FORMATS[arguments.format](rows).items():
        records.write_text(Path(arguments.out) / name, content)
    print(f"{len(rows)} conversations: {arguments.out}")


if __name__ == "__main__":
    exit_with_errors(main)
