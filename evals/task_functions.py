"""What the benchmark tasks under evals/tasks/ share: problems from a run's own files, and the suite's one grader.

lm-eval calls these through each task's YAML; from the command line, say where the problems lie:

    lm_eval run --model hf --model_args pretrained=results/mini/students/default/draw0/tiny/heal/seed0/model \\
        --include_path evals/tasks --tasks mini_hard --metadata '{"problems": "results/mini/problems"}' \\
        --apply_chat_template --batch_size 512 --seed 0
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import datasets

from heal import records
from heal.errors import HealError
from heal.grading.grader import Grade, Grader


def problems(split: str, problems: str | None = None, **_: Any) -> dict[str, datasets.Dataset]:
    """One split of a run's problems as lm-eval's `test` split. `problems`: the folder, from --metadata."""
    if not problems:
        raise HealError(
            "it is not known where the problems lie",
            where="--metadata",
            fix="""add --metadata '{"problems": "results/<run>/problems"}'""",
        )
    rows = records.read(Path(problems) / f"{split}.parquet", "problems")
    if not rows:
        raise HealError("no problems", where=f"{problems}/{split}.parquet", fix="delete it and run snakemake again")
    return {"test": datasets.Dataset.from_list(rows)}


def question(problem: dict[str, Any]) -> str:
    return problem["question"]


@cache
def grader() -> Grader:
    """One grader per process; its worker ends with the process."""
    return Grader()


def grade(text: str, gold: str) -> Grade:
    return grader().grade(text, gold)


def score(problem: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Means over the repeats: `strict` (the boxed answer verifies), `flexible` (the last answer does)."""
    texts = [text for result in results for text in ([result] if isinstance(result, str) else result)]
    grades = [grade(text, problem["answer"]) for text in texts]
    return {
        "strict": sum(grade.correct for grade in grades) / len(grades),
        "flexible": sum(grade.flexible for grade in grades) / len(grades),
    }
