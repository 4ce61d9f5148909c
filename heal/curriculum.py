"""Traces → one method's training data: one conversation a row, with its PACE stage, weight and origin.

    python -m heal.curriculum --problems problems/train.parquet --traces traces/default/draw0 \\
        --method '{"kind": "rejection_sampling"}' --out curriculum.jsonl
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from heal import records
from heal.errors import HealError, exit_with_errors
from heal.methods import Example, Method, Traces
from heal.provenance import recorded
from heal.records import Row, content_id
from heal.registry import build
from heal.stage import arguments_parser
from heal.steps import with_opening


def rows(examples: Sequence[Example], problems: Sequence[Row], what: str) -> list[Row]:
    """The file's rows. Raises HealError where the method gives nothing, or an example that cannot be trained on."""
    questions = {problem["problem_id"]: problem["question"] for problem in problems}
    if not examples:
        raise HealError(
            "the method leaves no training example",
            where=what,
            cure="look at grades.parquet: has the teacher solved anything? loosen the filter, or raise limit",
        )
    for number, example in enumerate(examples, 1):
        if not (math.isfinite(example.weight) and example.weight >= 0):
            raise HealError(f"weight {example.weight}", where=f"{what}, example {number}", cure="give a weight >= 0")
        if not example.text:
            raise HealError("empty text", where=f"{what}, example {number}", cure="leave empty traces out")
    return [
        {
            "id": content_id(example.problem_id, example.text, example.stage),
            "problem_id": example.problem_id,
            "stage": example.stage,
            "weight": example.weight,
            "origin": example.origin,
            "origin_id": example.origin_id,
            "messages": [
                {"role": "user", "content": questions[example.problem_id]},
                {"role": "assistant", "content": with_opening(example.text)},
            ],
        }
        for example in examples
    ]


def make(method: Method, traces: Traces) -> list[Row]:
    return rows(method.curriculum(traces), traces.problems, f"method {method.kind}")


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "traces")
    parser.add_argument("--method", required=True, help="the method with its options, as JSON")
    arguments = parser.parse_args()
    method = build(json.loads(arguments.method), where="--method", field="method")
    with recorded(arguments.out, "heal.curriculum", options=json.loads(arguments.method)):
        traces = Traces(arguments.traces, arguments.problems, method.needs(), arguments.seed)
        records.write_jsonl(arguments.out, make(method, traces))


if __name__ == "__main__":
    exit_with_errors(main)
