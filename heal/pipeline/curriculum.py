"""Build one method's training data from traces: one conversation per row, with its PACE stage, weight and origin.

Reads the problems and the trace files that the method needs; writes curriculum.jsonl for `heal train`.

    heal build-curriculum --config config/config.yaml --method heal --problems problems/train.parquet \\
        --traces traces/default/teacher_seed0 --student tiny --out curriculum.jsonl
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from heal import records
from heal.command import Command, Section
from heal.config.run_config import MethodSpec
from heal.errors import HealError
from heal.method.base import Example, Method, Traces
from heal.method.steps import add_opening, split_text
from heal.outcome import Outcome, record_outcome
from heal.provenance import record_run
from heal.records import Row, hash_content
from heal.registry import build_method, locate_file
from heal.worlds import registry as worlds

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""


class BuildCurriculum(Command):
    method: str
    """The method's name in the config."""
    spec: Annotated[MethodSpec, Section("methods.{method}")]
    """The method with its options."""
    problems: Path
    """The problems file."""
    traces: Path
    """The folder of the teacher's trace files."""
    student: str = ""
    """The student that `{student}` in a trace file's path stands for."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run."""
    out: Path
    """The jsonl file to write."""

    def run(self) -> None:
        method = build_method(self.spec.method, self.spec.options, where="--spec", field=self.method)
        with record_run(self.out, "build-curriculum", VERSION, {"options": self.describe_options()}) as facts:
            traces = Traces(self.traces, self.problems, method.needs(), self.seed, self.student, is_valid)
            stages: Counter[str] = Counter()

            def count_stages() -> Iterator[Row]:
                for row in build_rows(method, traces):
                    stages[f"in stage {row['stage']}"] += 1
                    yield row

            records.write_jsonl(self.out, count_stages())
            facts |= record_outcome(Outcome(stages.total(), reasons=dict(stages)))


def is_valid(problem: Row, text: str) -> bool:
    """Whether every step of a trace is right, by the checker of the problem's world."""
    return worlds.find_first_wrong_step(problem, split_text(text)) is None


def build_rows(method: Method, traces: Traces) -> Iterator[Row]:
    """The curriculum's rows. Raises HealError where the method returns nothing, or what cannot be trained on."""
    where = f"{locate_file(method)}, method {method.name}"
    questions = {problem["problem_id"]: problem["question"] for problem in traces.problems}
    for example in check_examples(method.build_curriculum(traces), questions, where):
        yield build_row(example, questions[example.problem_id])


def check_examples(examples: Any, questions: dict[str, str], where: str) -> Iterator[Example]:
    """Each example in its turn, so that one text at a time is in memory.

    Raises HealError for what holds no examples, none at all, and an example that cannot be trained on.
    """
    fix = "return a list of heal.method.base.Example from build_curriculum(), or yield them"
    if not isinstance(examples, Iterable):
        raise HealError(f"the method returns {examples!r:.60}, no list of examples", where=where, fix=fix)
    count, has_weight = 0, False
    for example in examples:
        count += 1
        if not isinstance(example, Example):
            raise HealError(f"the method returns {example!r:.60} in its list of examples", where=where, fix=fix)
        check_example(example, questions, f"{where}, example {count}")
        has_weight = has_weight or example.weight > 0
        yield example
    if not count:
        fix = "look at grades.parquet: has the teacher solved anything? loosen the filter, or raise limit"
        raise HealError("the method leaves no training example", where=where, fix=fix)
    if not has_weight:
        raise HealError("every weight is 0", where=where, fix="give at least one example a weight above 0")


def check_example(example: Example, questions: dict[str, str], where: str) -> None:
    """Raises HealError for an example that cannot be trained on."""
    if not (math.isfinite(example.weight) and example.weight >= 0):
        raise HealError(f"weight {example.weight}", where=where, fix="give a finite weight >= 0")
    if not example.text:
        raise HealError("empty text", where=where, fix="leave empty traces out")
    if not example.text.startswith(example.prefix) or example.text == example.prefix:
        problem = f"prefix {example.prefix!r:.60} is not how the text begins, or is all of it"
        raise HealError(problem, where=where, fix="give a proper beginning of the text")
    if example.problem_id not in questions:
        fix = "take problem_id from the traces"
        raise HealError(f"no training problem {example.problem_id!r}", where=where, fix=fix)


def build_row(example: Example, question: str) -> Row:
    """One training conversation."""
    row = {
        "id": hash_content(example.problem_id, example.text, example.stage),
        "problem_id": example.problem_id,
        "stage": example.stage,
        "weight": example.weight,
        "origin": example.origin,
        "origin_id": example.origin_id,
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": add_opening(example.text)},
        ],
    }
    return row | {"prefix": get_rendered_prefix(example)} if example.prefix else row


def get_rendered_prefix(example: Example) -> str:
    """The example's prefix as the student's text begins: with the opening of a thinking block, where it gets one."""
    text = add_opening(example.text)
    return text[: len(text) - len(example.text) + len(example.prefix)]
