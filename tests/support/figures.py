"""Reads points and texts from a figure, and compares the files of figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from evals.figures import style
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


def list_texts(figure: Figure) -> list[Text]:
    """The visible texts of a figure that has been laid out."""
    figure.draw_without_rendering()
    hidden = {text for axis in figure.axes if not axis.get_visible() for text in axis.findobj(Text)}
    for line in (line for axis in figure.axes for line in (axis.xaxis, axis.yaxis)):
        low, high = sorted(line.get_view_interval())
        hidden |= {tick.label1 for tick in line.get_major_ticks() if not low <= tick.get_loc() <= high}
    return [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def find_faults(figure: Figure) -> list[str]:
    """What cannot be read in a column: a wider figure, small texts, texts that reach over the page or each other."""
    texts, page = list_texts(figure), figure.bbox
    faults = [] if figure.get_figwidth() <= style.WIDTH_IN else [f"{figure.get_figwidth()} inches wide"]
    boxes = []
    for text in texts:
        points = text.get_fontsize() * style.COLUMN_IN / figure.get_figwidth()
        if points < style.SMALLEST_POINTS:
            faults.append(f"{points:.1f} points: {text.get_text()}")
        box = text.get_window_extent()
        if box.x0 < page.x0 - 1 or box.y0 < page.y0 - 1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1:
            faults.append(f"outside the page: {text.get_text()}")
        for other, name in boxes:
            inside = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
            if min(inside) > 1:
                faults.append(f"overlap: {text.get_text()} and {name}")
        boxes.append((box, text.get_text()))
    return faults
