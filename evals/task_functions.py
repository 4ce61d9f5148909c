"""What the benchmark tasks below evals/tasks/ share: problems from a run's own files, and the suite's one grader.

lm-eval calls these through each task's YAML. With lm-eval's own command, --metadata names the folder of the problems:

    lm_eval run --model hf --model_args \\
        pretrained=results/mini/students/default/teacher_seed0/tiny/heal/seed0/model \\
        --include_path evals/tasks --tasks mini_hard --metadata '{"problems": "results/mini/problems"}' \\
        --apply_chat_template --batch_size 512 --seed 0
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import datasets

from heal import records
from heal.errors import HealError
from heal.grading.grader import Grade, Grader
from heal.method.steps import is_thinking_cut_off

CUT_OFF = "\x00cut off"
"""Stands behind an answer that reached its token limit, until it is graded and stored. No tokenizer writes it."""
NO_ROOM = "\x00no room" + CUT_OFF
"""The answer to a prompt that leaves no room for one."""


def load_problems(split: str, problems: str | None = None, **_: Any) -> dict[str, datasets.Dataset]:
    """One split of a run's problems as lm-eval's `test` split. problems: the folder, from --metadata.

    Raises HealError without a folder, and for a missing or empty file.
    """
    if not problems:
        raise HealError(
            "no folder of problems",
            where="--metadata",
            fix="""add --metadata '{"problems": "results/<run>/problems"}'""",
        )
    rows = records.read(Path(problems) / f"{split}.parquet", "problems")
    if not rows:
        raise HealError("no problems", where=f"{problems}/{split}.parquet", fix="delete it and run snakemake again")
    return {"test": datasets.Dataset.from_list(rows)}


def get_question(problem: dict[str, Any]) -> str:
    """The user turn."""
    return problem["question"]


@cache
def get_grader() -> Grader:
    """One grader per process; its worker ends with the process."""
    return Grader()


def grade(text: str, gold: str, truncated: bool = False) -> Grade:
    """The suite's verdict of one answer. One that is cut off is wrong in both readings, whatever it has in a box."""
    if truncated or is_thinking_cut_off(text):
        return Grade(extracted=None, correct=False, flexible=False, strict=False, reason="truncated")
    return get_grader().grade(text, gold)


def score(problem: dict[str, Any], results: Sequence[str | Sequence[str]]) -> dict[str, float]:
    """Means over the repeats: `strict` (the boxed answer verifies), `flexible` (the last answer does).

    results: the answers, or lists of them, as lm-eval's filters leave them.
    """
    grades = []
    for result in results:
        for text in [result] if isinstance(result, str) else result:
            grades.append(grade(text, problem["answer"], truncated=text.endswith(CUT_OFF)))
    return {
        "strict": sum(grade.correct for grade in grades) / len(grades),
        "flexible": sum(grade.flexible for grade in grades) / len(grades),
    }
