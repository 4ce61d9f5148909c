"""The mini world: clock-arithmetic puzzles with tables that can only be known, and tiny teachers that lack some.

heal/worlds/mini/puzzles.py defines the problems, checker.py judges their steps, and build.py trains the shipped models
on what teacher_text.py writes (docs/mini.md).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from heal.config.options import OptionGroup, Share
from heal.worlds.base import Problem, World
from heal.worlds.mini import checker, puzzles


class MiniOptions(OptionGroup):
    """What `options` of a problem set may contain, with `source: mini`."""

    wrong_gold_share: Share = 0.0
    """This share of the gold answers is replaced by wrong ones, to see what the filters let through."""
    hard_share: Share = puzzles.HARD_SHARE
    """Share of hard puzzles in `train` and `dev`; the other splits have one kind."""


class Mini(World):
    name = "mini"
    splits = puzzles.SPLITS
    note = "mini: a model organism: shows the machinery, not that the paper is right."
    checker_note = "Steps are judged by the mini world's checker."
    Options = MiniOptions

    def generate(self, split: str, n: int, seed: int, options: MiniOptions) -> list[Problem]:
        rng = random.Random(f"wrong gold {seed} {split}")
        problems = []
        for puzzle in puzzles.generate(split, n, seed, options.hard_share):
            answer = puzzle.answer
            if rng.random() < options.wrong_gold_share:
                answer = str((int(answer) + rng.randrange(1, puzzles.MODULUS)) % puzzles.MODULUS)
            problem = Problem(
                question=puzzle.question,
                answer=answer,
                solution=puzzles.build_solution(puzzle),
                source=f"{self.name}/{split}",
                difficulty=puzzle.difficulty,
            )
            problems.append(problem)
        return problems

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        return checker.check_steps(problem.question, steps)

    def find_withheld_steps(self, problem: Problem) -> list[int]:
        return checker.find_withheld_steps(problem.question)

    def find_needed_facts(self, question: str) -> set[Hashable]:
        return set(puzzles.parse(question).facts)

    def find_stated_facts(self, question: str, text: str) -> set[Hashable]:
        return set(checker.find_stated_facts(question, text))

    def solve(self, problem: Problem) -> str:
        return puzzles.parse(problem.question).answer
