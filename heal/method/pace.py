"""PACE: which example the student sees at which step. Pure functions from stage sets to an order of exposures.

Three stages (abstract): base samples, answer-guided samples, GEAR's repairs. How the stages follow each other is
unknown to us; the schedules are ours (docs/method.md, PACE). An order, not a loader, is what decides: training walks
through it once, so that every schedule, every resume and every control sees exactly these exposures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STAGES = (1, 2, 3)


def stage_sets(stages: Sequence[int], schedule: str) -> list[tuple[int, np.ndarray]]:
    """(stage, example indices) in the order of training; empty stages are skipped."""
    labels = np.asarray(stages, dtype=int)
    if schedule == "mixed":
        return [(1, np.arange(len(labels)))]
    order = STAGES[::-1] if schedule == "reversed" else STAGES
    present = [stage for stage in order if (labels == stage).any()]
    if schedule == "sequential":
        return [(stage, np.flatnonzero(labels == stage)) for stage in present]
    return [(stage, np.flatnonzero(np.isin(labels, present[: i + 1]))) for i, stage in enumerate(present)]


def share_steps(sizes: Sequence[int], steps: int) -> list[int]:
    """Steps per stage in proportion to its set, each at least one where there are enough; largest remainders first."""
    exact = np.asarray(sizes, dtype=float) * steps / sum(sizes)
    shares = np.floor(exact).astype(int)
    if steps >= len(sizes):
        shares = np.maximum(shares, 1)
    while shares.sum() != steps:
        step = 1 if shares.sum() < steps else -1
        excess = (exact - shares) * step
        excess[(shares + step < 1) & (steps >= len(sizes))] = -np.inf
        shares[int(np.argmax(excess))] += step
    return shares.tolist()


def passes(examples: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` exposures in whole shuffled passes: no example is seen twice more often than another."""
    rounds = -(-count // len(examples))
    return np.concatenate([examples[:0], *(rng.permutation(examples) for _ in range(rounds))])[:count]


def exposures(
    stages: Sequence[int], *, schedule: str, steps: int, batch: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The example of every exposure, shape [steps·batch], and the stage of every step, shape [steps].

    stages[i] is the stage (1, 2, 3) of example i. `mixed_matched` holds exactly the exposures of `cumulative`,
    shuffled: the control for order. Raises ValueError where there is no example.
    """
    if not len(stages):
        raise ValueError("a curriculum needs at least one example")
    rng = np.random.default_rng([seed, 0x5041])
    sets = stage_sets(stages, "cumulative" if schedule == "mixed_matched" else schedule)
    shares = share_steps([len(examples) for _, examples in sets], steps)
    order = np.concatenate([passes(examples, n * batch, rng) for (_, examples), n in zip(sets, shares, strict=True)])
    labels = np.concatenate([np.full(n, stage) for (stage, _), n in zip(sets, shares, strict=True)])
    if schedule == "mixed_matched":
        order = np.random.default_rng([seed, 0x4D4D]).permutation(order)
        labels = np.ones(steps, dtype=int)
    return order, labels
