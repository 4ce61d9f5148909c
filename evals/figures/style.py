"""Colors, markers and sizes of every figure.

The colors are those of Okabe and Ito (2008), which color-blind readers can tell apart; markers and hatches tell the
same groups apart in gray. Every figure is WIDTH_IN wide and has texts of one size, TEXT_POINTS: scaled to a column of
COLUMN_IN they have at least SMALLEST_POINTS. Reads nothing, writes nothing.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first: machines without a screen)
from matplotlib.figure import Figure  # noqa: E402

WIDTH_IN = 5.4
"""Width of every figure, inches."""
TEXT_POINTS = 10
"""Size of every text in it."""
COLUMN_IN = 3.25
"""Column of a two-column paper (ICML), inches; about the width of a phone."""
SMALLEST_POINTS = 6
"""Minimum size of a text that can be read."""
LINE_CHARACTERS = 58
"""Characters in a line over the whole width at most."""

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
    "rs_low_temperature": (BLUE, "v"),
    "extra_easy": (SKY, "<"),
    "failed_traces": (SKY, "X"),
    "heal_no_hint": (PURPLE, "X"),
    "heal_wrong_answer": (PURPLE, "P"),
    "heal_noise": (PURPLE, "*"),
    "heal_retry": (PURPLE, "v"),
    "heal_hint_teacher": (PURPLE, "p"),
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
    "heal_unfiltered_guided": (ORANGE, "^"),
    "heal_all_steps": (ORANGE, "v"),
    "heal_no_stage_two": (VERMILLION, "s"),
    "heal_mixed": (VERMILLION, "^"),
    "heal_mixed_matched": (VERMILLION, "p"),
    "heal_sequential": (VERMILLION, "v"),
    "heal_reversed": (VERMILLION, "<"),
    # The baselines of the literature: sky selects problems or traces, blue weighs or filters, purple uses the student.
    "star": (SKY, "*"),
    "limo": (SKY, "o"),
    "s1": (SKY, "s"),
    "mix_short": (SKY, "^"),
    "mix_long": (SKY, ">"),
    "rsr": (BLUE, "o"),
    "likely_repairs": (BLUE, "D"),
    "paced": (BLUE, "p"),
    "east": (BLUE, "*"),
    "bread": (PURPLE, "o"),
    "p_align": (PURPLE, "s"),
    "on_policy": (PURPLE, "^"),
    "reference_sft": (GREEN, "o"),
}
"""Method → (color, marker). Every other method takes one of UNUSED_LOOKS."""

ALL_LOOKS = [
    (color, marker) for marker in "o^sDvp<>hXdP*H8" for color in (PURPLE, BLUE, GREEN, ORANGE, SKY, VERMILLION)
]
UNUSED_LOOKS = [look for look in ALL_LOOKS if look not in METHODS.values()]

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "heal",  # otherwise the ids in the svg are random
    "font.family": "DejaVu Sans",  # part of matplotlib: the same glyphs on every machine
    "font.size": TEXT_POINTS,
    "axes.titlesize": TEXT_POINTS,
    "axes.labelsize": TEXT_POINTS,
    "figure.labelsize": TEXT_POINTS,
    "figure.titlesize": TEXT_POINTS,
    "legend.fontsize": TEXT_POINTS,
    "legend.title_fontsize": TEXT_POINTS,
    "xtick.labelsize": TEXT_POINTS,
    "ytick.labelsize": TEXT_POINTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "hatch.linewidth": 0.6,
}
"""matplotlib's settings while a figure is built and saved."""


def assign_looks(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Method → (color, marker): no two are alike, and those of METHODS are the same in every figure.

    An unknown method takes the look that its name hashes to, or the next that is free.
    """
    looks = {}
    taken: set[int] = set()
    for method in sorted(set(methods) - set(METHODS)):
        place = int(hashlib.sha256(method.encode()).hexdigest(), 16)
        if len(taken) == len(UNUSED_LOOKS):
            taken.clear()  # more unknown methods than looks: some are alike
        while place % len(UNUSED_LOOKS) in taken:
            place += 1
        taken.add(place % len(UNUSED_LOOKS))
        looks[method] = UNUSED_LOOKS[place % len(UNUSED_LOOKS)]
    return METHODS | looks


def wrap(text: str, characters: int = LINE_CHARACTERS) -> str:
    """The text in lines that fit into the figure; line breaks of the text stay."""
    return "\n".join(textwrap.fill(line, characters) for line in text.split("\n"))


def plot_message(message: str) -> Figure:
    """A figure that says why it is empty: a finished run has every figure. Its label is the message."""
    text = wrap(message)
    figure = plt.figure(figsize=(WIDTH_IN, 0.4 + 0.2 * len(text.splitlines())))
    figure.set_label(message)
    figure.text(0.02, 0.5, text, va="center")
    return figure
