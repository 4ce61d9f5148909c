"""The template world: sums of a few numbers, added one by one. Copy this file to heal/worlds/NAME.py and change it.

Say here where the problems come from (package, paper), what makes some of them hard, and what the checker accepts.
heal/worlds/base.py has the checklist and every method that a world may have.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from heal.config.options import Count, OptionGroup
from heal.worlds.base import Problem, World

SPLITS = ("train", "dev", "test")
SUM = re.compile(r"(\d+) \+ (\d+) = (\d+)")


class TemplateOptions(OptionGroup):
    """What `options:` of a problem set may contain; leave the class out where there is nothing to choose."""

    terms: Count = 4
    """Numbers per sum (your own options: type, default, one sentence)."""


class TemplateWorld(World):
    name = "template"
    splits = SPLITS
    note = "template: sums, which show how a world is written and nothing else."
    checker_note = "Steps are judged by the template's checker: each adds the next number to the sum so far."
    Options = TemplateOptions

    def generate(self, split: str, n: int, seed: int, options: TemplateOptions) -> list[Problem]:
        rng = random.Random(f"{split} {seed}")  # text, so that the seeds of two splits differ
        problems: dict[str, Problem] = {}
        while len(problems) < n:
            numbers = rng.sample(range(1, 1000), options.terms + 1)
            if sum(numbers) % len(SPLITS) == SPLITS.index(split):  # a rule, not a seed, keeps splits apart
                problem = self.build_problem(numbers, split)
                problems[problem.question] = problem
        return list(problems.values())

    def build_problem(self, numbers: Sequence[int], split: str) -> Problem:
        """The sum as question, gold answer, and worked solution with the answer in its last step."""
        total = numbers[0]
        steps = []
        for number in numbers[1:]:
            steps.append(f"{total} + {number} = {total + number}")
            total += number
        steps.append(f"The answer is \\boxed{{{total}}}.")
        question = f"What is {' + '.join(map(str, numbers))}?"
        return Problem(question, str(total), "\n\n".join(steps), f"{self.name}/{split}")

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        numbers = [int(number) for number in re.findall(r"\d+", problem.question)]
        if not numbers:
            raise ValueError("its question has no number")
        total = numbers.pop(0)
        verdicts = []
        for step in map(str, steps):
            match = SUM.fullmatch(step.strip())
            if match:
                before, number, after = map(int, match.groups())
                expected = numbers.pop(0) if numbers else None
                verdicts.append(before == total and number == expected and after == before + number)
                total = after  # the next step is judged from what this one states
            else:
                verdicts.append(not numbers and step.strip() == f"The answer is \\boxed{{{total}}}.")
        return verdicts
