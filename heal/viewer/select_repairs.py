"""Which repairs the viewer shows: spread evenly over variants, verdicts and problems.

Reads nothing, writes nothing. The order depends on the repairs alone, not on the order of rows or files, and each
beginning of it is spread too: a smaller page holds a part of a larger one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

from heal.viewer.read_run import ViewedRepair

T = TypeVar("T")


def interleave(groups: Iterable[Sequence[T]]) -> list[T]:
    """The first item of every group, then the second of every group, and so on."""
    end: Any = object()
    items = []
    for turn in zip_longest(*groups, fillvalue=end):
        items += [item for item in turn if item is not end]
    return items


def get_reading_order(repair: ViewedRepair) -> tuple[str, str, str, int, str]:
    """Sort key: by problem, so that the repairs of one wrong trace follow each other."""
    row = repair.row
    return row["problem_id"], row["source_id"], repair.variant, row["index"], repair.id


def spread_repairs(repairs: Iterable[ViewedRepair]) -> list[ViewedRepair]:
    """All repairs: in turn from each group of one variant, verdict and PURE decision, and in turn from each problem.

    Problems come in the same order in every group, so that a page shows one problem under many detectors.
    """
    groups: dict[tuple[str, ...], dict[str, list[ViewedRepair]]] = defaultdict(lambda: defaultdict(list))
    for repair in sorted(repairs, key=get_reading_order):
        groups[repair.variant, repair.verdict, repair.pure][repair.row["problem_id"]].append(repair)
    spread_groups = []
    for _, problems in sorted(groups.items()):
        spread_groups.append(interleave(problems.values()))
    return interleave(spread_groups)
