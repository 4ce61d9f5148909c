"""PACE: which example the student sees at which optimizer step. Pure functions from stages to an order of exposures.

Three stages (abstract): base samples, answer-guided samples, GEAR's repairs. How the stages follow each other is
unknown to us; the schedules are ours (docs/method.md, PACE). The result is an order and not a data loader: training
walks through it once, so that every schedule, every resumed training and every control sees exactly these exposures.

The dose law (ours): with epochs, each stage set is passed at least that often, the last one too. With a fixed number of
optimizer steps the sets share them in proportion to their sizes, so that all have equal passes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

STAGES = (1, 2, 3)


def order_exposures(
    stages: Sequence[int], *, schedule: str, max_steps: int | None, epochs: float = 1.0, batch_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The example of each exposure, shape [steps·batch_size], and the stage of each optimizer step, [steps].

    stages[i] is the stage (1, 2, 3) of example i. max_steps: optimizer steps of all stages; None: `epochs` decides.
    `mixed_matched` holds exactly the exposures of `cumulative`, shuffled: the control for order. Raises ValueError
    where there is no example.
    """
    if not len(stages):
        raise ValueError("a curriculum needs at least one example")
    rng = np.random.default_rng([seed, 0x5041])
    sets = build_stage_sets(stages, schedule)
    steps = count_optimizer_steps([len(examples) for _, examples in sets], max_steps, epochs, batch_size)
    exposures, labels = [], []
    for (stage, examples), share in zip(sets, steps, strict=True):
        exposures.append(repeat_shuffled(examples, share * batch_size, rng))
        labels.append(np.full(share, stage))
    order = np.concatenate(exposures)
    if schedule == "mixed_matched":
        order = np.random.default_rng([seed, 0x4D4D]).permutation(order)
        return order, np.ones(sum(steps), dtype=int)
    return order, np.concatenate(labels)


def list_stage_sets(present: Collection[int], schedule: str) -> list[tuple[int, list[int]]]:
    """(stage, the stages whose examples its set holds) in the order of training. present: stages that are not empty.

    `cumulative`, `mixed_matched` and `reversed` keep the examples of the stages before; `sequential` does not.
    """
    if schedule == "mixed":
        return [(1, sorted(present))]
    sets = []
    included: list[int] = []
    for stage in STAGES[::-1] if schedule == "reversed" else STAGES:
        if stage in present:
            included = [stage] if schedule == "sequential" else [*included, stage]
            sets.append((stage, included))
    return sets


def build_stage_sets(stages: Sequence[int], schedule: str) -> list[tuple[int, np.ndarray]]:
    """(stage, indices of its set's examples) in the order of training."""
    labels = np.asarray(stages, dtype=int)
    sets = []
    for stage, included in list_stage_sets(set(labels.tolist()), schedule):
        sets.append((stage, np.flatnonzero(np.isin(labels, included))))
    return sets


def count_optimizer_steps(sizes: Sequence[float], max_steps: int | None, epochs: float, batch_size: int) -> list[int]:
    """Optimizer steps of each stage set: its share of `max_steps`, or else `epochs` whole passes over it (ours)."""
    if max_steps:
        return share_optimizer_steps(sizes, max_steps)
    return [max(1, math.ceil(epochs * size / batch_size - 1e-9)) for size in sizes]


def count_passes(stages: Sequence[int], schedule: str, step_stages: np.ndarray, batch_size: int) -> dict[str, float]:
    """Passes over each stage's set, by stage; of `mixed_matched` over those of `cumulative`, which it shuffles.

    step_stages: the stage of each optimizer step, of `order_exposures`.
    """
    passes = {}
    sets = build_stage_sets(stages, schedule)
    if schedule == "mixed_matched":
        total = sum(len(examples) for _, examples in sets)
        return {str(stage): len(step_stages) * batch_size / total for stage, _ in sets}
    for stage, examples in sets:
        passes[str(stage)] = int((step_stages == stage).sum()) * batch_size / len(examples)
    return passes


def share_optimizer_steps(sizes: Sequence[float], max_steps: int) -> list[int]:
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
