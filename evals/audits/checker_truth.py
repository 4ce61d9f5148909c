"""The truth about steps where a checker knows it (heal/worlds/registry.py), and ratios with intervals over problems.

Reads nothing, writes nothing; the audits import it. Problems are the unit that varies: repairs and cuts of one problem
are not independent, so intervals come from resampling whole problems.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from evals.stats import ROUNDING, Interval, compute_wilson_interval
from heal.method.steps import split_text
from heal.records import Row
from heal.worlds import registry as worlds

BOOTSTRAP_DRAWS = 1000


class Truth:
    """The first wrong step of traces, looked up by problem. Raises HealError for problems without a step checker."""

    def __init__(self, problems: Sequence[Row]) -> None:
        self.problems = {row["problem_id"]: row for row in problems}
        for row in problems:
            worlds.check_steps(row, [])
        self.knows_withheld = all(worlds.withheld_steps(row) is not None for row in problems)
        self.first_wrong = cache(self._first_wrong)

    def _first_wrong(self, problem_id: str, text: str) -> int | None:
        """The first step of a trace that is not valid, from 1; None where all are."""
        return worlds.first_wrong_step(self.problems[problem_id], split_text(text))

    def verdicts(self, problem_id: str, text: str) -> list[bool]:
        """Whether each step of a trace is valid."""
        return worlds.check_steps(self.problems[problem_id], split_text(text))

    def withheld(self, problem_id: str) -> set[int]:
        """The steps at which a withheld fact is needed, from 1, as long as the trace undoes one operation a step."""
        return set(worlds.withheld_steps(self.problems[problem_id]) or ())

    def is_valid(self, row: Row) -> bool:
        return self.first_wrong(row["problem_id"], row["text"]) is None

    def origin_of_error(self, repair: Row) -> str:
        """valid | inherited (the kept part was wrong already) | fresh (the continuation went wrong)."""
        first = self.first_wrong(repair["problem_id"], repair["text"])
        if first is None:
            return "valid"
        return "inherited" if first <= len(split_text(repair["kept"])) else "fresh"


def ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[Hashable],
    *,
    share: bool = True,
    level: float = 0.95,
) -> Interval:
    """Sum over sum, with a percentile bootstrap over whole groups (problems); NaN where there is nothing to divide by.

    Where every group says the same the bootstrap has no width: a share (of 0 or 1) then takes Wilson's interval with as
    many trials as groups, and anything else has NaN bounds.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not bottom.sum() > 0:
        return Interval(math.nan, math.nan, math.nan, "problems")
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    tops, bottoms = np.bincount(group, top), np.bincount(group, bottom)
    value, used = float(top.sum() / bottom.sum()), int((bottoms > 0).sum())
    if share and value in (0.0, 1.0):
        bounds = compute_wilson_interval(round(value) * used, used, level)
        return Interval(value, bounds.low, bounds.high, "problems")
    picks = np.random.default_rng(0).integers(len(names), size=(BOOTSTRAP_DRAWS, len(names)))
    drawn_top, drawn_bottom = tops[picks].sum(axis=1), bottoms[picks].sum(axis=1)
    values = drawn_top[drawn_bottom > 0] / drawn_bottom[drawn_bottom > 0]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    if high - low <= ROUNDING:
        low = high = math.nan
    return Interval(value, float(low), float(high), "problems")


def mean(values: ArrayLike, groups: Sequence[Hashable], *, share: bool = True) -> Interval:
    """Mean of items with the interval over their groups; NaN without items."""
    return ratio(values, np.ones(np.size(values)), groups, share=share)
