"""What every figure command does: numbers, a figure of them, and one name for svg, png and csv.

Each module of this package defines one command. It imports no torch; equal numbers give equal bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import pandas as pd
from matplotlib.figure import Figure

from evals.figures.style import STYLE, plt
from evals.tables.render import format_frame_csv
from heal.command import Command
from heal.errors import HealError
from heal.provenance import record_run
from heal.records import open_whole, write_text


class FigureCommand(Command):
    """A command that writes one figure and the numbers that it shows."""

    name: ClassVar[str]
    """The subcommand, for the provenance."""

    out: Path
    """The svg to write; png and csv are written next to it."""

    @abstractmethod
    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        """The figure, and the numbers that it shows."""

    def run(self) -> None:
        facts = {"options": self.describe_options()}
        with record_run(self.out, self.name, self.get_version(), facts), plt.rc_context(STYLE):
            figure, numbers = self.build_figure()
            save_figure(figure, self.out, numbers)


def save_figure(figure: Figure, out: Path, numbers: pd.DataFrame) -> None:
    """Writes out.svg, out.png and out.csv (the numbers), without dates; the svg has the figure's label as its title.

    Raises HealError unless `out` ends in .svg.
    """
    if out.suffix != ".svg":
        raise HealError(f"found {out.name!r}", where="--out", fix="give a name that ends in .svg")
    label = {"Title": figure.get_label()} if figure.get_label() else {}
    metadata = {".svg": {"Date": None, "Creator": None} | label, ".png": {"Software": None}}
    for suffix, dates in metadata.items():
        with open_whole(out.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=160, metadata=dates)
    plt.close(figure)
    write_text(out.with_suffix(".csv"), format_frame_csv(numbers))
