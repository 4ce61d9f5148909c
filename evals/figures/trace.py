"""One repaired trace, token by token: entropies, breakpoint, cut, hint and continuation.

Reads samples and repairs of one teacher sampling seed, and the teacher's tokenizer; writes --out (svg), the same as
png, and the numbers as csv.

    heal plot-trace --config config/config.yaml --teacher default --samples samples.parquet \\
        --repairs repairs/default.parquet --out figures/trace.svg
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from tokenizers import Tokenizer

from evals.figures import style
from evals.figures.base import FigureCommand
from evals.figures.style import plt
from heal import records
from heal.command import Section
from heal.config.models import ModelSource
from heal.errors import HealError
from heal.method.steps import split
from heal.records import Row

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

COLUMNS = ["part", "token", "step", "text", "entropy_nats"]
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
LABELED_STEPS = 24
"""Step numbers per panel at most."""
HINT_CHARACTERS = 60
"""Characters of the hint in the title at most."""


class PlotTrace(FigureCommand):
    name = "plot-trace"

    teacher: str
    """Name of the teacher in the config."""
    model: Annotated[ModelSource, Section("teachers.{teacher}")]
    """The teacher, for its tokenizer."""
    samples: Path
    """The teacher's base samples."""
    repairs: Path
    """Repairs of them."""
    source: str | None = None
    """trace_id of the wrong trace to show; by default the first with an accepted repair."""
    min_step_tokens: Annotated[int, Section("gear.min_step_tokens")] = 16
    """Minimum tokens of a step, as for GEAR."""

    def build_figure(self) -> tuple[Figure, pd.DataFrame]:
        repair = choose_repair(records.read(self.repairs, "repairs"), self.source)
        if repair is None:
            return style.plot_message("No wrong trace was repaired."), pd.DataFrame(columns=COLUMNS)
        trace = self.read_source(repair["source_id"])
        tokenizer = load_tokenizer_file(self.model)
        texts = [decode_tokens(tokenizer, row["token_ids"]) for row in (trace, repair)]
        numbers = build_token_table(trace, repair, texts, self.min_step_tokens)
        return plot_trace(numbers, repair), numbers

    def read_source(self, trace_id: str) -> Row:
        """The sample that was repaired. Raises HealError where the samples lack it."""
        for row in records.read(self.samples, "samples"):
            if row["trace_id"] == trace_id:
                return row
        fix = "give samples and repairs of the same teacher sampling seed"
        raise HealError(f"no trace {trace_id}", where=str(self.samples), fix=fix)


def choose_repair(repairs: Sequence[Row], source: str | None) -> Row | None:
    """The first accepted repair that keeps something, else the first accepted one, else the first.

    source: trace_id of the wrong trace that it must be of. None where no repair was tried. Raises HealError where none
    of `source` was.
    """
    tried = [row for row in repairs if row["trace_id"] is not None and source in (None, row["source_id"])]
    if not tried and source is not None:
        raise HealError(f"no repair of {source}", where="--repairs", fix="give another --source, or none")
    if not tried:
        return None
    return min(tried, key=lambda row: (not row["accepted"], not row["kept_steps"]))


def load_tokenizer_file(model: ModelSource) -> Tokenizer:
    """The tokenizer of a local folder or hub model, without transformers. Raises HealError where there is none."""
    try:
        if Path(model.path).is_dir():
            return Tokenizer.from_file(str(Path(model.path) / "tokenizer.json"))
        return Tokenizer.from_pretrained(model.path, revision=model.revision or "main")
    except Exception as error:  # the library raises bare Exception
        fix = "put the tokenizer.json into the model folder"
        raise HealError(f"no tokenizer could be loaded ({error})", where=model.path, fix=fix) from None


def decode_tokens(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    """The text of each token; special tokens have none."""
    return [tokenizer.decode([token], skip_special_tokens=True) for token in map(int, token_ids)]


def build_token_table(trace: Row, repair: Row, texts: Sequence[Sequence[str]], min_step_tokens: int) -> pd.DataFrame:
    """One row per token of the wrong trace (part `trace`) and of its repair (parts `kept` and `continuation`).

    texts: each token's text, of the trace and of the repair. Kept tokens have the entropies of the trace.
    """
    new_tokens = len(repair["entropies"])
    kept_tokens = len(repair["token_ids"]) - new_tokens
    repair_parts = ["kept"] * kept_tokens + ["continuation"] * new_tokens
    repair_entropies = [*trace["entropies"][:kept_tokens], *repair["entropies"]]
    rows: list[tuple] = []
    for token_texts, parts, entropies in (
        (texts[0], ["trace"] * len(texts[0]), trace["entropies"]),
        (texts[1], repair_parts, repair_entropies),
    ):
        steps = number_steps(token_texts, min_step_tokens)
        rows += zip(parts, range(len(token_texts)), steps, token_texts, entropies, strict=True)
    return pd.DataFrame(rows, columns=COLUMNS)


def number_steps(token_texts: Sequence[str], min_step_tokens: int) -> list[int]:
    """Each token's step, from 1; what follows the last step counts as part of it."""
    ends = [step.end for step in split(token_texts, min_step_tokens)]
    steps = np.searchsorted(ends, np.arange(len(token_texts)), side="right") + 1
    return np.minimum(steps, len(ends)).tolist()


def plot_trace(numbers: pd.DataFrame, repair: Row) -> Figure:
    """Above, the wrong trace with breakpoint and cut; below, the repair: kept tokens, hint, continuation."""
    wrong = numbers[numbers["part"] == "trace"]
    repaired = numbers[numbers["part"] != "trace"]
    cut = int((repaired["part"] == "kept").sum())
    figure, axes = plt.subplots(2, 1, figsize=(min(14.0, 7.0 + len(numbers) / 150), 4.4), sharex=True, sharey=True)
    top = max(numbers["entropy_nats"].max() * 1.22, 0.1)
    plot_entropies(axes[0], wrong, cut, top)
    plot_entropies(axes[1], repaired, cut, top)
    shade_breakpoint(axes[0], wrong[wrong["step"] == repair["breakpoint"]]["token"])
    verdict = "accepted" if repair["accepted"] else f"rejected: {repair['reason']}"
    cut_text = f"the cut (dashed) keeps {repair['kept_steps']} of {wrong['step'].max()} steps"
    axes[0].set_title(f"wrong trace; breakpoint: step {repair['breakpoint']} (hatched); {cut_text}", loc="left")
    hint = shorten(repair["hint"] or "no hint")
    axes[1].set_title(f"its repair ({verdict}); hint at the cut: “{hint}”; continuation in blue", loc="left")
    axes[1].set_xlabel("token (step numbers on top)")
    axes[0].set_ylim(0, top)
    axes[0].set_xlim(0, numbers["token"].max() + 1)
    return figure


def plot_entropies(axis: Axes, tokens: pd.DataFrame, cut: int, top: float) -> None:
    """A bar per token; steps are separated and numbered; the cut is dashed. top: upper end of the axis, nats.

    The bars are one collection: a long trace has tens of thousands.
    """
    color = np.where(tokens["part"] == "continuation", style.BLUE, style.GRAY)
    bars = []
    for left, height in zip(tokens["token"], tokens["entropy_nats"], strict=True):
        bars.append([(left, 0), (left, height), (left + 0.9, height), (left + 0.9, 0)])
    axis.add_collection(PolyCollection(bars, facecolors=color))
    steps = tokens.groupby("step")["token"].agg(["min", "max"])
    axis.vlines(steps["min"].iloc[1:], 0, top, color=style.LIGHT, linewidth=0.8, zorder=0)
    for step, (first, last) in steps[:: math.ceil(len(steps) / LABELED_STEPS)].iterrows():
        middle = (first + last + 1) / 2
        axis.text(middle, top * 0.98, str(step), ha="center", va="top", color=style.BLACK, size=8, bbox=LABEL_BOX)
    axis.axvline(cut, color=style.VERMILLION, linewidth=1.8, linestyle="--")
    axis.set_ylabel("token entropy, nats")


def shade_breakpoint(axis: Axes, tokens: pd.Series) -> None:
    """Hatches the tokens of the breakpoint step, where there are any."""
    if len(tokens):
        axis.axvspan(
            tokens.min(),
            tokens.max() + 1,
            facecolor="#FBEBC8",
            edgecolor=style.ORANGE,
            hatch="//",
            linewidth=0,
            zorder=0,
        )


def shorten(text: str) -> str:
    """The text in one line, cut off after HINT_CHARACTERS."""
    line = " ".join(text.split())
    return line if len(line) <= HINT_CHARACTERS else f"{line[: HINT_CHARACTERS - 1]}…"
