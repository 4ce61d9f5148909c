"""Reads points from a figure, and compares the files of figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection

from evals.figures.style import plt

SUFFIXES = ("svg", "png", "csv")


def find_points(axis: plt.Axes) -> list[PathCollection]:
    return [item for item in axis.collections if isinstance(item, PathCollection)]


def make_cost_table(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers.assign(teacher_cost=np.arange(len(numbers)) * 1000.0)


def assert_equal_pictures(one: Path, other: Path) -> None:
    """Two svg files, with the png and csv next to them, have equal bytes."""
    for suffix in SUFFIXES:
        content = one.with_suffix(f".{suffix}").read_bytes()
        assert content and content == other.with_suffix(f".{suffix}").read_bytes(), f"{one.name}: {suffix}"
