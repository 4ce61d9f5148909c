"""Traces → one method's training data: one conversation a row, with its PACE stage, weight and origin.

Reads the problems and the trace files that the method needs; writes curriculum.jsonl for heal.training.train.

    python -m heal.pipeline.curriculum --problems problems/train.parquet --traces traces/default/draw0 --student tiny \\
        --method '{"kind": "rejection_sampling"}' --out curriculum.jsonl
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from heal import records
from heal.errors import HealError, exit_with_errors
from heal.method.base import Example, Method, Traces
from heal.method.steps import with_opening
from heal.pipeline.runner import arguments_parser
from heal.provenance import recorded
from heal.records import Row, content_id
from heal.registry import build, file_of


def rows(examples: Sequence[Example], problems: Sequence[Row], what: str) -> list[Row]:
    """The file's rows. Raises HealError where the method gives nothing, or an example that cannot be trained on."""
    questions = {problem["problem_id"]: problem["question"] for problem in problems}
    if not isinstance(examples, Sequence) or not all(isinstance(example, Example) for example in examples):
        fix = "return a list of heal.method.base.Example from curriculum()"
        raise HealError(f"the method returns {examples!r:.60}, no list of examples", where=what, fix=fix)
    if not examples:
        raise HealError(
            "the method leaves no training example",
            where=what,
            fix="look at grades.parquet: has the teacher solved anything? loosen the filter, or raise limit",
        )
    for number, example in enumerate(examples, 1):
        where = f"{what}, example {number}"
        if not (math.isfinite(example.weight) and example.weight >= 0):
            raise HealError(f"weight {example.weight}", where=where, fix="give a finite weight >= 0")
        if not example.text:
            raise HealError("empty text", where=where, fix="leave empty traces out")
        if not example.text.startswith(example.given) or example.text == example.given:
            found = f"given {example.given!r:.60} is not how the text begins, or is all of it"
            raise HealError(found, where=where, fix="give the text's beginning, as it stands there")
        if example.problem_id not in questions:
            fix = "take problem_id from the traces"
            raise HealError(f"no training problem {example.problem_id!r}", where=where, fix=fix)
    if not any(example.weight for example in examples):
        raise HealError("every weight is 0", where=what, fix="give at least one example a weight above 0")
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
            **({"given": given_of(example)} if example.given else {}),
        }
        for example in examples
    ]


def given_of(example: Example) -> str:
    """How the student's text begins as far as it is given: with the opening of a thinking block, where it gets one."""
    text = with_opening(example.text)
    return text[: len(text) - len(example.text) + len(example.given)]


def make(method: Method, traces: Traces) -> list[Row]:
    return rows(method.curriculum(traces), traces.problems, f"{file_of(method)}, method {method.kind}")


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "traces")
    parser.add_argument("--method", required=True, help="the method with its options, as JSON")
    parser.add_argument("--student", default="", help="whose files a method's `{student}` means")
    arguments = parser.parse_args()
    method = build(json.loads(arguments.method), where="--method", field="method")
    with recorded(arguments.out, "heal.pipeline.curriculum", options=json.loads(arguments.method)):
        traces = Traces(arguments.traces, arguments.problems, method.needs(), arguments.seed, arguments.student)
        records.write_jsonl(arguments.out, make(method, traces))


if __name__ == "__main__":
    exit_with_errors(main)
