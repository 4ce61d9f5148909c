"""Which repairs the viewer shows: spread evenly over variants, verdicts and problems.

Reads nothing, writes nothing. The order depends on the repairs alone, not on that of rows or files, and any beginning
of it is spread too: so a smaller page holds a part of a larger one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

from heal.viewer.found import Repair

T = TypeVar("T")


def in_turn(groups: Iterable[Sequence[T]]) -> list[T]:
    """The first of every group, then the second of every group, and so on."""
    end: Any = object()
    return [item for turn in zip_longest(*groups, fillvalue=end) for item in turn if item is not end]


def reading_order(repair: Repair) -> tuple[str, str, str, int, str]:
    """By problem, so that what detectors make of it stands together."""
    row = repair.row
    return row["problem_id"], row["source_id"], repair.variant, row["index"], repair.id


def spread(repairs: Iterable[Repair]) -> list[Repair]:
    """All repairs: in turn from each kind (variant, verdict, PURE's decision), and within a kind from each problem.

    Problems come in the same order in every kind, so that a page shows one problem under many detectors.
    """
    kinds: dict[tuple[str, ...], dict[str, list[Repair]]] = defaultdict(lambda: defaultdict(list))
    for repair in sorted(repairs, key=reading_order):
        kinds[repair.variant, repair.verdict, repair.pure][repair.row["problem_id"]].append(repair)
    return in_turn(in_turn(problems.values()) for _, problems in sorted(kinds.items()))
