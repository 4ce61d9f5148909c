"""A student's scores as the hub reads them: https://huggingface.co/docs/hub/eval-results, pushed by `heal push`.

An entry claims a whole benchmark. So a benchmark has one only where its task file names the hub's task and its number
of questions (`metadata: hub`), and the student has answered that many, from the data set at a fixed commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from evals.answers import Answers
from heal.config.data import Dataset
from heal.registry import read_tasks


def render_hub_results(answers: Mapping[str, Answers], problem_sets: Mapping[str, Dataset]) -> str:
    """The content of a file in .eval_results/; an empty list where the hub knows none of the benchmarks.

    answers: by benchmark. problem_sets: `problems.test` of the config.
    """
    entries = eval_result_entries_to_yaml(list(list_entries(answers, problem_sets)))
    return yaml.safe_dump(entries, sort_keys=False)


def list_entries(answers: Mapping[str, Answers], problem_sets: Mapping[str, Dataset]) -> Iterator[EvalResultEntry]:
    """One entry per benchmark that the hub knows and that was answered as a whole."""
    tasks = read_tasks()
    for benchmark, answered in answers.items():
        task = tasks.get(benchmark, {})
        hub = task.get("metadata", {}).get("hub")
        dataset = problem_sets.get(task["dataset_kwargs"]["split"]) if hub else None
        questions, repeats = answered.scores_QR.shape
        if dataset is None or dataset.path != hub["dataset"] or questions != hub["questions"]:
            continue
        yield EvalResultEntry(
            dataset_id=hub["dataset"],
            task_id=hub["task"],
            value=round(100 * float(answered.scores_Q.mean()), 2),
            dataset_revision=dataset.revision,
            notes=describe_setup(task, repeats, float(answered.truncated_Q.mean())),
        )


def describe_setup(task: Mapping[str, Any], repeats: int, truncated: float) -> str:
    """How the answers were made and read, in words."""
    generation = task["generation_kwargs"]
    sampling = f"temperature {generation['temperature']}" if generation["do_sample"] else "greedy"
    answers = "1 answer" if repeats == 1 else f"mean of {repeats} answers"
    return (
        f"lm-eval task {task['task']}, version {task['metadata']['version']}: {answers} per question, {sampling}, "
        f"{generation['max_gen_toks']} tokens ({100 * truncated:.1f} % cut off), last \\boxed{{}}; one checkpoint"
    )
