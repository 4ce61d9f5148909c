"""RSR selection: of a problem's correct traces, those that surprise the student although their tokens rank high.

Arxiv 2601.14249 (rank-surprisal ratio). A trace suits a student that finds it informative (high surprisal) yet within
reach (its tokens are among the likelier ones). Known: the ratio is the sum of the tokens' ranks under the student, each
clipped at 100, over the sum of their negative log-likelihoods; lower is better.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from heal.config import experiment as config
from heal.config.options import Count, OptionGroup
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples, take_distinct
from heal.records import Row
from heal.trace_files import GRADES, RANKS, SAMPLES, TraceFile


class Options(OptionGroup):
    rank_clip: Count = 100
    """Ranks above this count as this (as in the paper)."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only, the number of traces that are selected: there is one stage."""


class Rsr(Method):
    name = "rsr"
    paper = "arXiv 2601.14249 (rank-surprisal ratio)"
    summary = "the correct traces of each problem with the lowest rank-surprisal ratio under the student"
    differs = (
        "chosen among one teacher's correct samples, not among several teachers'; as many per problem as for every "
        "other method; under the untrained student, whose end token counts too; the run's optimizer steps"
    )
    sources: ClassVar = {
        "mean rank over mean negative log-likelihood; lower is better": "abstract",
        "ranks clipped at 100": NOT_CHECKED,
    }
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, RANKS]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        ratios = {}
        for row in traces.read(RANKS):
            ratios[row["trace_id"]] = compute_ratio(row, self.options.rank_clip)
        ranked = {}
        for problem_id, rows in traces.read_correct().items():
            # A trace that the student's tokenizer cannot represent has no ranks.
            known = [row for row in rows if row["trace_id"] in ratios]
            ranked[problem_id] = sorted(take_distinct(known, len(known)), key=lambda row: ratios[row["trace_id"]])
        return build_examples(ranked, 1, "sample", self.options.pace.max_per_problem)


def compute_ratio(row: Row, clip: int) -> float:
    """Sum of clipped ranks over the sum of NLL in nats."""
    nll = -np.sum(row["logprobs"], dtype=np.float64)
    return float(np.minimum(row["ranks"], clip).sum() / max(nll, 1e-9))
