"""One look for every figure: colours, markers, sizes, and saving with equal bytes for equal numbers.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart; markers and hatches say the same in grey.
Reads nothing; `save` writes a figure as svg and png, and the numbers behind it as csv.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

from evals.tables.render import csv_of
from heal.errors import HealError
from heal.records import whole_file, write_text

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first: machines without a screen)
from matplotlib.figure import Figure  # noqa: E402

BLACK, GREY, LIGHT = "#000000", "#737373", "#D9D9D9"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
METHODS = {
    "teacher": (BLACK, "*"),
    "untrained": (GREY, "x"),
    "rejection_sampling": (SKY, "v"),
    "rs_matched": (BLUE, "s"),
    "guided": (ORANGE, "D"),
    "heal": (VERMILLION, "o"),
    "oracle": (GREEN, "P"),
    # The shipped configs' controls: blue spends tokens otherwise; purple is GEAR's hint, green its cut; orange is PURE,
    # vermillion PACE.
    "rs_matched_treated": (BLUE, "^"),
    "extra_easy": (SKY, "<"),
    "heal_no_hint": (PURPLE, "X"),
    "heal_hint_user": (PURPLE, "d"),
    "heal_hint_solution": (PURPLE, "H"),
    "heal_entropy_level": (GREEN, "s"),
    "heal_surprisal": (GREEN, "D"),
    "heal_confidence_window": (GREEN, "v"),
    "heal_random_cut": (GREEN, "^"),
    "heal_position_matched": (GREEN, ">"),
    "heal_shortest_step": (GREEN, "<"),
    "heal_first_step": (GREEN, "X"),
    "heal_oracle_cut": (GREEN, "h"),
    "heal_no_pure": (ORANGE, "o"),
    "heal_calibrated": (ORANGE, "s"),
    "heal_random_drop": (ORANGE, "d"),
    "heal_oracle_filter": (ORANGE, "8"),
    "heal_all_steps": (ORANGE, "v"),
    "heal_mixed": (VERMILLION, "^"),
    "heal_mixed_matched": (VERMILLION, "p"),
    "heal_sequential": (VERMILLION, "v"),
    "heal_reversed": (VERMILLION, "<"),
}
EVERY = [(color, marker) for marker in "^<>phXdH8" for color in (PURPLE, BLUE, GREEN, ORANGE, SKY)]
OTHERS = [pair for pair in EVERY if pair not in METHODS.values()]
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "heal",  # else ids in the svg are random
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "hatch.linewidth": 0.6,
}


def look(method: str) -> tuple[str, str]:
    """Colour and marker of a method, the same in every figure whatever else is shown."""
    if method in METHODS:
        return METHODS[method]
    return OTHERS[int(hashlib.sha256(method.encode()).hexdigest(), 16) % len(OTHERS)]


def nothing(said: str) -> Figure:
    """The figure of a run that has nothing to show: a finished run has every figure."""
    figure = plt.figure(figsize=(6.8, 1.2))
    figure.text(0.02, 0.5, said, va="center")
    return figure


def save(figure: Figure, out: str | Path, numbers: pd.DataFrame) -> None:
    """Writes out.svg, out.png and out.csv (the numbers), without dates. Raises HealError unless `out` ends in .svg."""
    path = Path(out)
    if path.suffix != ".svg":
        raise HealError(f"found {path.name!r}", where="--out", fix="give a name that ends in .svg")
    made = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
    for suffix, metadata in made.items():
        with whole_file(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=160, metadata=metadata)
    plt.close(figure)
    write_text(path.with_suffix(".csv"), csv_of(numbers))
