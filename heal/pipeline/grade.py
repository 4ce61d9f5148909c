"""Grading sampled traces: the extracted answer of each, whether it is right, and why not.

Reads problems and samples; writes one verdict a sample (schema `grades`).

    python -m heal.pipeline.grade --problems problems/train.parquet --samples samples.parquet --out grades.parquet
"""

from __future__ import annotations

from heal import records
from heal.errors import exit_with_errors
from heal.grading.grader import Grader
from heal.pipeline.runner import arguments_parser
from heal.provenance import recorded
from heal.records import Row


def grade(problems: list[Row], samples: list[Row]) -> list[Row]:
    """One row per sample; correct is the strict reading: the boxed answer verifies and the trace ended by itself."""
    gold = {problem["problem_id"]: problem["answer"] for problem in problems}
    with Grader() as grader:
        rows = []
        for sample in samples:
            result = grader.grade(sample["text"], gold[sample["problem_id"]])
            ended = sample["finish_reason"] == "stop"
            rows.append(
                {
                    "trace_id": sample["trace_id"],
                    "problem_id": sample["problem_id"],
                    "extracted": result.extracted,
                    "correct": result.correct and ended,
                    "reason": result.reason if ended else "truncated",
                }
            )
    return rows


def main() -> None:
    arguments = arguments_parser(__doc__, "problems", "samples").parse_args()
    with recorded(arguments.out, "heal.pipeline.grade", options=vars(arguments)):
        problems = records.read(arguments.problems, "problems")
        samples = records.read(arguments.samples, "samples")
        records.write(arguments.out, "grades", grade(problems, samples))


if __name__ == "__main__":
    exit_with_errors(main)
