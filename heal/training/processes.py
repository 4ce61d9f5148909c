"""The processes of one training: this one alone, or one per GPU, started by torchrun."""

from __future__ import annotations

import os
from typing import Any

IS_MAIN = int(os.environ.get("RANK", 0)) == 0
"""Whether this process writes the output."""
PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
"""Number of processes, as torchrun sets it."""


def decide_in_main(decision: bool) -> bool:
    """The main process's decision, in every process; each of them has to call it."""
    import torch.distributed

    if PROCESSES == 1 or not torch.distributed.is_initialized():
        return decision
    decisions = [decision]
    torch.distributed.broadcast_object_list(decisions, src=0)
    return decisions[0]


def find_maximum(number: int) -> int:
    """The largest of the processes' numbers, in every process; each of them has to call it."""
    import torch.distributed

    if PROCESSES == 1 or not torch.distributed.is_initialized():
        return number
    numbers: list[Any] = [None] * PROCESSES
    torch.distributed.all_gather_object(numbers, number)
    return max(numbers)


def wait_for_all() -> None:
    """Returns when every process of this training has called it."""
    import torch.distributed

    if PROCESSES > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
