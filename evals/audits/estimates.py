"""Ratios with intervals over problems: what every quantity of an audit is made of.

Reads nothing, writes nothing. Problems are the unit that varies: repairs and cuts of one problem are not independent,
so intervals come from resampling whole problems.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evals.stats import ROUNDING, Interval, compute_wilson_interval
from heal.records import Row

RESAMPLES = 1000
UNIT = "problems"


@dataclass(frozen=True)
class Estimate:
    """A quantity with its interval, and the number of items that it is computed from."""

    interval: Interval
    n: int


Quantities = dict[str, Estimate]
"""Name of a quantity → its estimate, in the order of the table."""


def compute_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[Hashable] | np.ndarray,
    *,
    share: bool = True,
    level: float = 0.95,
) -> Interval:
    """Sum over sum, with a percentile bootstrap over whole groups (problems); NaN for a denominator of 0.

    Where all groups have the same ratio the bootstrap has no width: a share (of 0 or 1) then takes Wilson's interval
    with as many trials as groups, and any other ratio has NaN bounds.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not bottom.sum() > 0:
        return Interval(math.nan, math.nan, math.nan, UNIT)
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    tops, bottoms = np.bincount(group, top), np.bincount(group, bottom)
    value = float(top.sum() / bottom.sum())
    if share and value in (0.0, 1.0):
        used = int((bottoms > 0).sum())
        bounds = compute_wilson_interval(round(value) * used, used, level)
        return Interval(value, bounds.low, bounds.high, UNIT)
    picks = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    resampled_top, resampled_bottom = tops[picks].sum(axis=1), bottoms[picks].sum(axis=1)
    defined = resampled_bottom > 0
    values = resampled_top[defined] / resampled_bottom[defined]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    if high - low <= ROUNDING:
        low = high = math.nan
    return Interval(value, float(low), float(high), UNIT)


def compute_mean(values: ArrayLike, groups: Sequence[Hashable] | np.ndarray, *, share: bool = True) -> Interval:
    """Mean of items with the interval over their groups; NaN without items."""
    return compute_ratio(values, np.ones(np.size(values)), groups, share=share)


def estimate_share(passed: np.ndarray, of: np.ndarray, groups: Sequence[Hashable] | np.ndarray) -> Estimate:
    """Share of the items in `of` that pass. Both are boolean masks over the same items."""
    return Estimate(compute_ratio(passed & of, of, groups), int(of.sum()))


def estimate_mean(
    values: np.ndarray, groups: Sequence[Hashable] | np.ndarray, mask: np.ndarray | None = None, *, share: bool = False
) -> Estimate:
    """Mean of the items in the mask (all of them without one)."""
    if mask is not None:
        values, groups = values[mask], np.asarray(groups)[mask]
    return Estimate(compute_mean(values, groups, share=share), len(values))


def collect_column(rows: Sequence[Row], name: str, dtype: Any = object) -> np.ndarray:
    """One column of the rows as an array, shape [rows]."""
    return np.array([row[name] for row in rows], dtype=dtype)


def mark_present(rows: Sequence[Row], name: str) -> np.ndarray:
    """Whether each row has a value in the column, shape [rows]."""
    return np.array([row[name] is not None for row in rows], dtype=bool)
