"""One repaired trace: entropies of its tokens and steps, breakpoint, cut and hint, and the text around the cut.

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

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""

COLUMNS = ["part", "token", "step", "text", "entropy_nats"]
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
LABELED_STEPS = 12
"""Step numbers per panel at most."""
HINT_CHARACTERS = 46
"""Characters of the hint in the title at most."""
SHOWN_STEPS = 6
"""Steps in words per panel at most: those around the cut."""
STEP_CHARACTERS = 50
"""Characters of a step at most."""


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
    """Above, the wrong trace with breakpoint and cut; below, the repair: kept tokens, hint, continuation.

    Below each, the steps around the cut in words.
    """
    wrong = numbers[numbers["part"] == "trace"]
    repaired = numbers[numbers["part"] != "trace"]
    cut = int((repaired["part"] == "kept").sum())
    texts = [describe_steps(tokens, repair["kept_steps"]) for tokens in (wrong, repaired)]
    lines = [text.count("\n") + 1 for text in texts]
    figure = plt.figure(figsize=(style.WIDTH_IN, 5.2 + 0.18 * sum(lines)))
    parts = figure.subfigures(2, 1, height_ratios=[2.6 + 0.18 * count for count in lines])
    top = max(numbers["entropy_nats"].max() * 1.22, 0.1)
    verdict = "accepted" if repair["accepted"] else f"rejected: {repair['reason']}"
    hint = shorten(repair["hint"] or "no hint", HINT_CHARACTERS)
    cut_text = f"cut (dashed): keeps {repair['kept_steps']} of {wrong['step'].max()} steps"
    titles = (
        f"Wrong trace; breakpoint: step {repair['breakpoint']} (hatched);\n{cut_text}",
        f"Its repair ({verdict}); continuation in blue;\nhint at the cut: “{hint}”",
    )
    for part, tokens, title, text in zip(parts, (wrong, repaired), titles, texts, strict=True):
        axis = part.subplots()
        plot_entropies(axis, tokens, cut, top)
        axis.set_title(title, loc="left", parse_math=False)
        axis.set_ylim(0, top)
        axis.set_xlim(0, numbers["token"].max() + 1)
        axis.set_xlabel("token (step numbers on top; black: mean of the step)")
        part.supxlabel(text, x=0.02, ha="left", linespacing=1.4, parse_math=False)
        if tokens is wrong:
            shade_breakpoint(axis, wrong[wrong["step"] == repair["breakpoint"]]["token"])
    return figure


def describe_steps(tokens: pd.DataFrame, kept_steps: int) -> str:
    """The steps around the cut, one per line: number, mean entropy, text."""
    steps = tokens.groupby("step").agg(nats=("entropy_nats", "mean"), text=("text", "".join))
    first = max(min(kept_steps - SHOWN_STEPS // 2, len(steps) - SHOWN_STEPS), 0)
    lines = []
    for step, row in steps.iloc[first : first + SHOWN_STEPS].iterrows():
        lines.append(f"{step}  {row['nats']:.2f} nats: {shorten(row['text'], STEP_CHARACTERS)}")
    if len(steps) > SHOWN_STEPS:
        lines.append(f"(steps {first + 1} to {first + SHOWN_STEPS} of {len(steps)})")
    return "\n".join(lines)


def plot_entropies(axis: Axes, tokens: pd.DataFrame, cut: int, top: float) -> None:
    """A bar per token, a line per step at its mean; steps are numbered, the cut is dashed. top: end of the axis, nats.

    The bars are one collection: a long trace has tens of thousands.
    """
    color = np.where(tokens["part"] == "continuation", style.BLUE, style.GRAY)
    bars = []
    for left, height in zip(tokens["token"], tokens["entropy_nats"], strict=True):
        bars.append([(left, 0), (left, height), (left + 0.9, height), (left + 0.9, 0)])
    axis.add_collection(PolyCollection(bars, facecolors=color))
    steps = tokens.groupby("step").agg(first=("token", "min"), last=("token", "max"), nats=("entropy_nats", "mean"))
    axis.vlines(steps["first"].iloc[1:], 0, top, color=style.LIGHT, linewidth=0.8, zorder=0)
    axis.hlines(steps["nats"], steps["first"], steps["last"] + 1, color=style.BLACK, linewidth=1.6)
    for step, row in steps[:: math.ceil(len(steps) / LABELED_STEPS)].iterrows():
        middle = (row["first"] + row["last"] + 1) / 2
        axis.text(middle, top * 0.98, str(step), ha="center", va="top", color=style.BLACK, bbox=LABEL_BOX)
    axis.axvline(cut, color=style.VERMILLION, linewidth=1.8, linestyle="--")
    axis.set_ylabel("entropy, nats")


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


def shorten(text: str, characters: int) -> str:
    """The text in one line, cut off after some characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"
