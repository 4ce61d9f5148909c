"""Print a few problems of a world, with the verdict of its checker on each step of the worked solutions.

heal show-problems mini                   # the world's splits
heal show-problems mini hard
heal show-problems gsm_symbolic weak --count 20 --seed 1
"""

from __future__ import annotations

from typing import Any

from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.config.data import Dataset
from heal.method.steps import split_text
from heal.records import Row
from heal.worlds.registry import check_steps, generate_problems, get_world


class ShowProblems(Command):
    world: CliPositionalArg[str]
    """Name of the world."""
    split: CliPositionalArg[str | None] = None
    """Its split; without one, the splits are listed."""
    count: int = 5
    """Number of problems."""
    seed: int = 0
    """Seed of the problems."""
    options: dict[str, Any] = {}
    """The world's own options, as in wrong_gold_share=0.1."""

    def run(self) -> None:
        world = get_world(self.world, where="heal show-problems", field="world")
        if self.split is None:
            print(f"{world.name}: {', '.join(world.splits)}")
            return
        dataset = Dataset(source=self.world, split=self.split, n=self.count, options=self.options)
        for row in generate_problems(dataset, self.seed):
            print(format_problem(row), end="\n---\n\n")


def format_problem(row: Row) -> str:
    """Source, difficulty, question, gold answer, and each step of the worked solution with the checker's verdict."""
    steps = split_text(row["solution"] or "")
    lines = [f"{row['source']} ({row['difficulty']})", "", row["question"], "", f"Gold answer: {row['answer']}", ""]
    for step, valid in zip(steps, check_steps(row | {"problem_id": ""}, steps), strict=True):
        lines.append(f"  {'valid' if valid else 'WRONG'}  {step}")
    return "\n".join([*lines, ""])
