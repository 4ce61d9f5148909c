"""Prefix branching after BREAD: the student's own correct continuations of the shortest prefix of a teacher's trace
from which it succeeds.

Zhang et al. 2025, arXiv 2506.17211 ("BREAD: branched rollouts from expert anchors bridge SFT & RL for reasoning").
Reinforcement learning (GRPO) in which a problem whose rollouts all fail gets new rollouts that branch from a prefix of
an expert's trace, the shortest that gives some success, found by bisection over its sentences or steps. Known: branches
are tried only where the student fails; the prefix is context, its tokens get no gradient of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import Example, Method, Traces, group_by_problem, take_distinct
from heal.records import Row
from heal.trace_files import CONTINUATIONS, GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    learn_prefix: bool = False
    """Whether the teacher's prefix is trained on too, instead of being context only (ours)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class Bread(Method):
    name = "bread"
    paper = "arXiv 2506.17211 (Zhang et al., BREAD)"
    summary = "the student's correct continuations of the shortest teacher prefixes from which it succeeds"
    differs = (
        "supervised training on the correct continuations, no reinforcement learning and no wrong ones; one round, by "
        "the untrained student; cuts on a grid instead of bisection; a problem without a correct continuation is left "
        "out; the run's optimizer steps"
    )
    options: Options
    Options = Options

    @property
    def pace(self) -> config.Pace:
        return self.options.pace

    def needs(self) -> list[TraceFile]:
        return [
            SAMPLES,
            GRADES,
            CONTINUATIONS,
        ]  # continuations start from the base samples, so these are part of its cost

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        shortest = select_shortest(traces.read(CONTINUATIONS), 0.0)
        correct = group_by_problem(row for row in shortest if row["accepted"] and row["continuation"].strip())
        for problem_id, rows in correct.items():
            for row in take_distinct(rows, limit):
                prefix = "" if self.options.learn_prefix else row["kept"].lstrip()
                text = row["text"].strip()
                yield Example(problem_id, text, 1, "continued", row["trace_id"], prefix=prefix)


def select_shortest(rows: Iterable[Row], share: float) -> list[Row]:
    """Of each source trace, the rows of its first cut from which more than `share` of the continuations are right."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["source_id"], row["kept_steps"]), []).append(row)
    first: dict[str, list[Row]] = {}
    for (source, _), continuations in sorted(groups.items(), key=lambda item: item[0][1]):
        correct = sum(row["accepted"] for row in continuations)
        if correct > share * len(continuations):
            first.setdefault(source, continuations)
    selected: list[Row] = []
    for continuations in first.values():
        selected += continuations
    return selected
