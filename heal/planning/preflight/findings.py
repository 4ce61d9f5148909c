"""What a check reports: a fault stops `heal check`, a caution does not."""

from __future__ import annotations

from collections.abc import Iterator

from heal.errors import HealError

Findings = Iterator[HealError]


class Caution(HealError):
    """Something that a run survives, at a cost: skipped requests, shortened answers, idle GPUs."""
