"""A small synthetic run on disk, for the tests of tables, audits and figures: mini puzzles, no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heal import records
from heal.config.experiment import Primary
from heal.config.run_config import ComparisonView, MethodSpec
from heal.method.steps import split_text
from heal.records import Row, hash_content
from heal.registry import build_method
from heal.worlds.mini import puzzles

METHODS = {"rs": "rejection_sampling", "heal": "heal", "oracle": "reference_sft"}
PRIMARY = Primary(method="heal", baseline="rs", benchmark="b", teacher="t", student="s")
USAGE = {"prefill": 1000, "generated": 5000, "scored": 0}


def make_problem(puzzle: puzzles.Puzzle) -> Row:
    return {
        "problem_id": hash_content(puzzle.question),
        "question": puzzle.question,
        "answer": puzzle.answer,
        "solution": puzzles.build_solution(puzzle),
        "source": "mini/train",
        "difficulty": puzzle.difficulty,
    }


def make_answers(ids: list[str], solved_QR: np.ndarray) -> list[Row]:
    constants = {"gold": "1", "text": "", "truncated": False, "n_tokens": 3}
    verdicts = {True: {"extracted": "1", "reason": ""}, False: {"extracted": "7", "reason": "wrong"}}
    return [
        {"problem_id": i, "repeat": r, "strict": bool(right), "flexible": bool(right)}
        | constants
        | verdicts[bool(right)]
        for i, row in zip(ids, solved_QR, strict=True)
        for r, right in enumerate(row)
    ]


def write_run(
    folder: Path,
    *,
    accuracy: Mapping[str, float],
    training_seeds: int = 3,
    teacher_seeds: int = 1,
    questions: int = 60,
    repeats: int = 4,
    holds: bool = True,
    greedy: float = 0.0,
    order: Callable[[list[Row]], list[Row]] = list,
    methods: Mapping[str, str] = METHODS,
) -> Path:
    """Answers, curricula, training logs and token counts of one teacher `t` and student `s` on the benchmark `b`.

    Methods with the same accuracy get the same answers; `order` reorders the rows of every answers file.
    """
    train = [make_problem(puzzle) for puzzle in puzzles.generate("train", 12, seed=0)]
    records.write(folder / "problems/train.parquet", "problems", train)
    test = [make_problem(puzzle) for puzzle in puzzles.generate("hard", questions, seed=0)]
    records.write(folder / "problems/hard.parquet", "problems", test)
    ids = [row["problem_id"] for row in test]
    hardness = np.random.default_rng(1).uniform(size=(questions, 1))

    def evaluate(path: Path, share: float, *seed: int) -> None:
        # hard questions need luck: solved where share + noise exceeds their hardness
        noise = np.random.default_rng([5, *seed]).normal(0, 0.15, size=(questions, repeats))
        solved_QR = share + noise > hardness
        for benchmark, columns in (("b", solved_QR), ("greedy", solved_QR[:, :1])):
            records.write(path / benchmark / "answers.parquet", "answers", order(make_answers(ids, columns)))
            records.write_json(path / benchmark / "results.json", {"settings": {"temperature": 1.0, "repeats": 4}})

    evaluate(folder / "evals/t/teacher", 0.45, 0)
    evaluate(folder / "evals/students/s", 0.05, 1)
    for teacher_seed in range(teacher_seeds):
        traces = folder / f"traces/t/teacher_seed{teacher_seed}"
        ceiling = {"greedy": greedy, "majority": 0.0, "of_sampling": greedy > 0.1}
        premise = {"holds": holds, "reasons": [] if holds else ["no hint uplift"], "ceiling": ceiling}
        records.write_json(traces / "premise.json", premise)
        for name, share in accuracy.items():
            for file in build_method(methods[name], {}, where="test", field=name).needs():
                usage = {} if file.schema == "grades" else USAGE
                records.write(traces / file.path, file.schema, [], usage=usage)
            place = f"t/teacher_seed{teacher_seed}/s/{name}"
            curriculum = [make_conversation(row, 1 + i % 3) for i, row in enumerate(train)]
            records.write_jsonl(folder / "curricula" / place / "curriculum.jsonl", curriculum)
            for seed in range(training_seeds):
                evaluate(folder / "evals" / place / f"seed{seed}", share, 2 + teacher_seed, seed)
                student = folder / "students" / place / f"seed{seed}"
                records.write_json(student / "training.json", {"tokens": {"total": 100 + seed, "supervised": 50}})
                lines = [f"{row['id']},{row['stage']},sample,{2 + i % 2}" for i, row in enumerate(curriculum)]
                records.write_text(student / "exposures.csv", "id,stage,origin,exposures\n" + "\n".join(lines) + "\n")
    return folder


def make_conversation(row: Row, stage: int) -> Row:
    roles = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["solution"]}]
    return {
        "id": row["problem_id"],
        "problem_id": row["problem_id"],
        "stage": stage,
        "origin": "sample",
        "messages": roles,
    }


def make_view(
    run: Path, *, training_seeds: int = 3, teacher_seeds: int = 1, methods: Mapping[str, str] = METHODS, **changes: Any
) -> ComparisonView:
    """The comparison `main` of a run that `write_run` wrote."""
    fields = {
        "name": "main",
        "title": "Methods compared",
        "run": str(run),
        "reference": "rs",
        "teachers": ["t"],
        "students": ["s"],
        "methods": {name: MethodSpec(method=method) for name, method in methods.items()},
        "benchmarks": ["b", "greedy"],
        "teacher_seeds": teacher_seeds,
        "training_seeds": training_seeds,
        "main_methods": list(methods),
        "primary": PRIMARY,
    }
    return ComparisonView(**fields | changes)


def make_wrong_steps(puzzle: puzzles.Puzzle, error: int) -> list[str]:
    """A worked solution whose step `error` (from 1) states a wrong number, with consistent arithmetic after it."""
    steps, value = [], puzzle.result
    for number, op in enumerate(reversed(puzzle.ops), 1):
        before = puzzles.undo(op, value)
        before = (before + 1) % puzzles.MODULUS if number == error else before
        steps.append(puzzles.format_step(op, value, before))
        value = before
    return [*steps, puzzles.format_answer(value)]


def make_trace(row: Row, index: int, steps: list[str], entropies: list[float]) -> Row:
    """A sample with one token per step; `entropies` in nats, one per step."""
    return {
        "trace_id": hash_content("sample", row["problem_id"], index),
        "problem_id": row["problem_id"],
        "index": index,
        "text": puzzles.BLANK.join(steps),
        "token_ids": list(range(len(steps))),
        "logprobs": [-0.1] * len(steps),
        "entropies": entropies,
        "entropies_upper": None,
        "finish_reason": "stop",
    }


def make_repair(source: Row, kept_steps: int | None, steps: list[str], accepted: bool = True, index: int = 0) -> Row:
    """A repair of a sample that keeps `kept` steps (None: no breakpoint was found); `steps`: the whole text."""
    tried = kept_steps is not None
    text = puzzles.BLANK.join(steps) if tried else ""
    before = "".join(step + puzzles.BLANK for step in split_text(source["text"])[: kept_steps or 0])
    entropies = np.array(source["entropies"])
    new = len(steps) - (kept_steps or 0) if tried else 0
    return {
        "trace_id": hash_content("repair", source["trace_id"], text, index) if tried else None,
        "problem_id": source["problem_id"],
        "source_id": source["trace_id"],
        "index": index,
        "detector": "entropy_surge",
        "step_entropies": entropies,
        "surges": np.diff(entropies, prepend=0.3),
        "breakpoint": kept_steps + 1 if tried else None,
        "kept_steps": kept_steps or 0,
        "cut_certain": None,
        "kept": before,
        "hint": "Hint: the answer is 7." if tried else None,
        "continuation": text.removeprefix(before),
        "text": text,
        "token_ids": list(range(len(steps))) if tried else [],
        "logprobs": [-0.1] * new,
        "entropies": [0.2] * new,
        "finish_reason": "stop" if tried else "none",
        "extracted": "7" if tried else None,
        "accepted": accepted and tried,
        "reason": "" if accepted and tried else "wrong",
    }


def make_score(row: Row, surprise: float, origin: str = "repair") -> Row:
    """Scores of a trace whose most surprising step (the second) has the given NLL per token."""
    steps = [step + puzzles.BLANK for step in split_text(row["text"])]
    nll = [0.1] * len(steps)
    nll[min(1, len(steps) - 2)] = surprise
    sure = [1.0] * (len(steps) - 2) + [0.05, 0.0]
    return {
        "trace_id": row["trace_id"],
        "problem_id": row["problem_id"],
        "origin": origin,
        "steps": steps,
        "statement": len(steps),
        "nll_mean": nll,
        "nll_top20": nll,
        "nll_max": nll,
        "uncertainty_product": sure,
        "uncertainty_mean": sure,
        "statement_nll": 0.1,
    }
