"""Colors, markers and sizes of every figure.

The colors are those of Okabe and Ito (2008), which color-blind readers can tell apart; markers and hatches tell the
same groups apart in gray. Reads nothing, writes nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first: machines without a screen)
from matplotlib.figure import Figure  # noqa: E402

BLACK, GRAY, LIGHT = "#000000", "#737373", "#D9D9D9"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"

METHODS = {
    "teacher": (BLACK, "*"),
    "untrained": (GRAY, "x"),
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
    "heal_oracle": (GREEN, "*"),
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
"""Method → (color, marker). Every other method takes one of UNUSED_LOOKS."""

ALL_LOOKS = [(color, marker) for marker in "^<>phXdH8" for color in (PURPLE, BLUE, GREEN, ORANGE, SKY)]
UNUSED_LOOKS = [pair for pair in ALL_LOOKS if pair not in METHODS.values()]

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "heal",  # otherwise the ids in the svg are random
    "font.family": "DejaVu Sans",  # part of matplotlib: the same glyphs on every machine
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
"""matplotlib's settings while a figure is built and saved."""


def get_look(method: str) -> tuple[str, str]:
    """Color and marker of a method, the same in every figure."""
    if method in METHODS:
        return METHODS[method]
    return UNUSED_LOOKS[int(hashlib.sha256(method.encode()).hexdigest(), 16) % len(UNUSED_LOOKS)]


def plot_message(message: str) -> Figure:
    """A figure that says why it is empty: a finished run has every figure."""
    figure = plt.figure(figsize=(6.8, 1.2))
    figure.text(0.02, 0.5, message, va="center")
    return figure
