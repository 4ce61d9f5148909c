"""Whether two runs of the same settings agree: the rule, in one place.

Reads nothing, writes nothing. A cell is one model or method on one benchmark. The rule (ours): two runs agree where no
cell's two means differ by more than chance, at a false-alarm rate of FALSE_ALARM_RATE over all cells (Bonferroni). So a
correct replication is told that it agrees in at least 95 of 100 cases; tests/evals/test_agreement.py simulates it.

The variance of a trained cell's replicate is the largest of three, so that no estimate that is small by luck raises an
alarm: the cell's own over the replicates of both runs; that of all methods on the benchmark, at the cell's scale as in
evals.pooled_model; and that of independent answers, mean · (1 - mean) / answers. A teacher and an untrained
student have the last one only. Replicates of one seed on two CPUs are alike rather than independent, which makes the
rule stricter about alarms, not laxer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy import stats as distributions

from evals.pooled_model import SCALE_POWER
from evals.results import TEACHER, UNTRAINED

FALSE_ALARM_RATE = 0.05
"""Probability, over all cells together, that a correct replication is told that it does not agree."""


@dataclass(frozen=True)
class Cell:
    """Accuracy of one model or method on one benchmark, in one run."""

    teacher: str
    student: str
    """Empty for the teacher itself."""
    method: str
    benchmark: str
    hardware: str
    """What the run was made on, in words."""
    n_replicates: int
    """Teacher seeds (means over their training seeds), or the training seeds of a single one; 1 without training."""
    n_answers: int
    """Of one replicate."""
    mean: float
    spread: float
    """Standard deviation over replicates; NaN for one."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.teacher, self.student, self.method, self.benchmark

    @property
    def group(self) -> tuple[str, str, str]:
        """The cells whose variance is pooled."""
        return self.teacher, self.student, self.benchmark

    @property
    def is_trained(self) -> bool:
        return self.method not in (TEACHER, UNTRAINED)

    @property
    def scale(self) -> float:
        """What the standard deviation of a replicate is proportional to."""
        mean = self.smoothed_mean
        return float((mean * (1 - mean)) ** SCALE_POWER)

    @property
    def smoothed_mean(self) -> float:
        """Never 0 or 1."""
        answers = self.n_answers * self.n_replicates
        return (self.mean * answers + 1) / (answers + 2)


@dataclass(frozen=True)
class Agreement:
    """One cell of a run next to the reference. NaN: cannot be said."""

    cell: Cell
    reference: float
    """Mean of the reference's replicates."""
    p: float
    """Two-sided, unadjusted."""
    agrees: str
    """yes | no | cannot say"""


def compare_runs(own: Sequence[Cell], reference: Sequence[Cell]) -> list[Agreement]:
    """Every cell of a run that the reference has, next to it. reference: of the run's hardware, if it has that."""
    cells_by_key: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in select_hardware(reference, {cell.hardware for cell in own}):
        cells_by_key.setdefault(cell.key, []).append(cell)
    compared = [cell for cell in own if cell.key in cells_by_key]
    group_cells: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in compared:
        if cell.is_trained:
            group_cells.setdefault(cell.group, []).extend([cell, *cells_by_key[cell.key]])
    pairs = []
    for cell in compared:
        others = cells_by_key[cell.key]
        pairs.append((cell, average(others), compute_p(cell, others, group_cells.get(cell.group, []))))
    tests = sum(not math.isnan(p) for _, _, p in pairs)
    agreements = []
    for cell, mean, p in pairs:
        verdict = "cannot say" if math.isnan(p) else "yes" if p >= FALSE_ALARM_RATE / tests else "no"
        agreements.append(Agreement(cell, mean, p, verdict))
    return agreements


def select_hardware(reference: Sequence[Cell], hardware: set[str]) -> list[Cell]:
    """The cells measured on this hardware; all of them where there are none."""
    return [cell for cell in reference if cell.hardware in hardware] or list(reference)


def average(cells: Sequence[Cell]) -> float:
    """Mean over all replicates; of one cell exactly its own."""
    first = cells[0].mean
    replicates = sum(cell.n_replicates for cell in cells)
    return first + sum((cell.mean - first) * cell.n_replicates for cell in cells) / replicates


def compute_p(cell: Cell, others: Sequence[Cell], group: Iterable[Cell]) -> float:
    """p of the difference of a cell to the reference's; NaN for a method with one replicate.

    others: the same cell in the reference. group: of both runs, the trained cells whose variance is pooled.
    """
    both = [cell, *others]
    mean = sum(one.smoothed_mean * one.n_replicates for one in both) / sum(one.n_replicates for one in both)
    variance = mean * (1 - mean) / cell.n_answers
    dof = math.inf
    if cell.is_trained:
        relative, dof = pool_variance((one.spread / one.scale, one.n_replicates) for one in group)
        if not dof:
            return math.nan
        scale = (mean * (1 - mean)) ** SCALE_POWER
        own, _ = pool_variance((one.spread, one.n_replicates) for one in both)
        variance = max(variance, own, relative * scale**2)
    replicates = sum(one.n_replicates for one in others)
    error = math.sqrt(variance * (1 / cell.n_replicates + 1 / replicates))
    return float(2 * distributions.t.sf(abs(cell.mean - average(others)) / error, dof))


def pool_variance(spreads: Iterable[tuple[float, int]]) -> tuple[float, int]:
    """(variance, degrees of freedom) of (standard deviation, replicates); those of one replicate say nothing."""
    total, dof = 0.0, 0
    for spread, replicates in spreads:
        if replicates > 1:
            total += (replicates - 1) * spread**2
            dof += replicates - 1
    return (total / dof if dof else math.nan), dof
