"""The gsm_symbolic world: grade-school word problems from reasoning-gym's templates, for a small language model.

In this folder, templates.py divides the templates, problems.py fills them with numbers, checker.py judges steps (with
equations.py), and warm_up.py writes the worked examples that make teachers and students (docs/smol.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from heal.config.options import OptionGroup
from heal.records import Row
from heal.worlds.base import Problem, Prompts, World
from heal.worlds.gsm_symbolic import checker, problems, warm_up


class GsmSymbolic(World):
    name = "gsm_symbolic"
    splits = tuple(problems.SPLITS)
    checker_note = (
        "Steps are judged by heal/worlds/gsm_symbolic/checker.py: true equations, and numbers that come from the "
        "question, earlier steps or the worked solution's own way, so that another right way counts as wrong."
    )
    WarmUpOptions = warm_up.GsmSymbolicWarmUp

    def generate(self, split: str, n: int, seed: int, options: OptionGroup) -> list[Problem]:
        return problems.generate(split, n, seed)

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        return checker.check_steps(problem, steps)

    def build_warmup_examples(self, options: warm_up.GsmSymbolicWarmUp, prompts: Prompts, seed: int) -> list[Row]:
        return warm_up.build_examples(options, prompts, seed)

    def count_warmup_examples(self, options: warm_up.GsmSymbolicWarmUp) -> int:
        return sum(warm_up.count_per_template(options).values())
