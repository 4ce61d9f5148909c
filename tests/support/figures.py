"""Reads points from a drawn figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection

from evals.figures.style import plt


def find_points(axis: plt.Axes) -> list[PathCollection]:
    return [item for item in axis.collections if isinstance(item, PathCollection)]


def make_cost_table(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers.assign(teacher_tokens=np.arange(len(numbers)) * 1000.0)
