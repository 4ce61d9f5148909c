"""PACE: which example the student sees at which optimizer step. Pure functions from stages to an order of exposures.

Three stages (abstract): base samples, answer-guided samples, GEAR's repairs. How the stages follow each other is
unknown to us; the schedules are ours (docs/method.md, PACE). The result is an order and not a data loader: training
walks through it once, so that every schedule, every resumed training and every control sees exactly these exposures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STAGES = (1, 2, 3)


def order_exposures(
    stages: Sequence[int], *, schedule: str, max_steps: int, batch_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The example of each exposure, shape [max_steps·batch_size], and the stage of each optimizer step, [max_steps].

    stages[i] is the stage (1, 2, 3) of example i. `mixed_matched` holds exactly the exposures of `cumulative`,
    shuffled: the control for order. Raises ValueError where there is no example.
    """
    if not len(stages):
        raise ValueError("a curriculum needs at least one example")
    rng = np.random.default_rng([seed, 0x5041])
    sets = build_stage_sets(stages, "cumulative" if schedule == "mixed_matched" else schedule)
    shares = share_optimizer_steps([len(examples) for _, examples in sets], max_steps)
    exposures, labels = [], []
    for (stage, examples), share in zip(sets, shares, strict=True):
        exposures.append(repeat_shuffled(examples, share * batch_size, rng))
        labels.append(np.full(share, stage))
    order = np.concatenate(exposures)
    if schedule == "mixed_matched":
        order = np.random.default_rng([seed, 0x4D4D]).permutation(order)
        return order, np.ones(max_steps, dtype=int)
    return order, np.concatenate(labels)


def build_stage_sets(stages: Sequence[int], schedule: str) -> list[tuple[int, np.ndarray]]:
    """(stage, indices of its examples) in the order of training; empty stages are skipped.

    `cumulative` and `reversed` keep the examples of the stages before; `sequential` does not.
    """
    labels = np.asarray(stages, dtype=int)
    if schedule == "mixed":
        return [(1, np.arange(len(labels)))]
    sets = []
    included: list[int] = []
    for stage in STAGES[::-1] if schedule == "reversed" else STAGES:
        if not (labels == stage).any():
            continue
        included = [stage] if schedule == "sequential" else [*included, stage]
        sets.append((stage, np.flatnonzero(np.isin(labels, included))))
    return sets


def share_optimizer_steps(sizes: Sequence[int], max_steps: int) -> list[int]:
    """Optimizer steps per stage in proportion to its set's size; the largest remainders are rounded up first.

    Each stage has at least one optimizer step, where there are enough.
    """
    exact = np.asarray(sizes, dtype=float) * max_steps / sum(sizes)
    shares = np.floor(exact).astype(int)
    if max_steps >= len(sizes):
        shares = np.maximum(shares, 1)
    while shares.sum() != max_steps:
        change = 1 if shares.sum() < max_steps else -1
        excess = (exact - shares) * change
        excess[(shares + change < 1) & (max_steps >= len(sizes))] = -np.inf
        shares[int(np.argmax(excess))] += change
    return shares.tolist()


def repeat_shuffled(examples: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` exposures in whole shuffled epochs: the exposures of two examples differ by at most one."""
    epochs = [examples[:0]]
    for _ in range(-(-count // len(examples))):
        epochs.append(rng.permutation(examples))
    return np.concatenate(epochs)[:count]
