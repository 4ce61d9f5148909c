"""Prefix branching after BREAD: the student's own correct continuations of the shortest prefix of a teacher's trace
from which it succeeds sometimes.

Zhang et al. 2025, arXiv 2506.17211 ("BREAD: branched rollouts from expert anchors bridge SFT & RL for reasoning").
Reinforcement learning (GRPO) in which a problem whose own rollouts fail gets new ones that branch from a prefix of an
expert's trace; the prefix is searched so that the success rate from it lies in a range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

from heal.config import experiment as config
from heal.config.options import OptionGroup, Share
from heal.method.base import NOT_CHECKED, Example, Method, Traces, group_by_problem, take_distinct
from heal.records import Row
from heal.trace_files import CONTINUATIONS, GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    rate_above: Share = 0.0
    """The success rate from the prefix is above this (ours; their range was not checked)."""
    rate_below: Share = 1.0
    """And below this: where all continuations are right or all are wrong, GRPO learns nothing (ours)."""
    learn_prefix: bool = False
    """Whether the teacher's prefix is trained on too, instead of being context only (ours)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class Bread(Method):
    name = "bread"
    paper = "arXiv 2506.17211 (Zhang et al., BREAD)"
    summary = "the student's correct continuations of the shortest teacher prefixes from which it succeeds sometimes"
    differs = (
        "supervised training on the correct continuations, no reinforcement learning and no wrong ones; one round, "
        "by the untrained student; cuts on a grid of steps, where theirs are searched among episodes; a trace "
        "without a cut whose success rate is in the range is left out; the run's optimizer steps"
    )
    sources: ClassVar = {
        "branches where the student's own traces fail": "abstract",
        "a short prefix of the expert's trace, completed by the student": "abstract",
        "the range of the success rate": NOT_CHECKED,
        "no loss on the prefix": NOT_CHECKED,
    }
    version = 2
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, CONTINUATIONS]  # continuations start from the base samples: part of its cost

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        limit = self.options.pace.max_per_problem
        shortest = select_shortest(traces.read(CONTINUATIONS), self.options.rate_above, self.options.rate_below)
        correct = group_by_problem(row for row in shortest if row["accepted"] and row["continuation"].strip())
        for problem_id, rows in correct.items():
            for row in take_distinct(rows, limit):
                prefix = "" if self.options.learn_prefix else row["kept"].lstrip()
                text = row["text"].strip()
                yield Example(problem_id, text, 1, "continued", row["trace_id"], prefix=prefix)


def select_shortest(rows: Iterable[Row], above: float, below: float = math.inf) -> list[Row]:
    """Of each source trace, the rows of its first cut whose share of right continuations is between these bounds."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["source_id"], row["kept_steps"]), []).append(row)
    first: dict[str, list[Row]] = {}
    for (source, _), continuations in sorted(groups.items(), key=lambda item: item[0][1]):
        share = sum(row["accepted"] for row in continuations) / len(continuations)
        if above < share < below:
            first.setdefault(source, continuations)
    selected: list[Row] = []
    for continuations in first.values():
        selected += continuations
    return selected
