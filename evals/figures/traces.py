"""Figures of a draw's traces: one repaired trace, where cuts are and how often repairs succeed, what PURE separates.

Pure functions from trace files' rows to numbers and from numbers to a figure; `evals.figures.accuracy` reads, draws and saves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from evals.audits.checker_truth import Truth
from evals.audits.estimates import compute_mean
from evals.figures import style
from evals.figures.style import plt
from heal.config.experiment import Pure
from heal.errors import HealError
from heal.method import pure
from heal.method.steps import split
from heal.records import Row

ORIGINS = {
    "valid": (style.BLUE, "o"),
    "inherited": (style.ORANGE, "s"),
    "fresh": (style.VERMILLION, "^"),
    "repair": (style.GREY, "o"),
}
LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


TRACE = ["part", "token", "step", "text", "entropy_nats"]
BINS = 20  # of the trace's steps: where a cut is
SUCCESS = {
    "accepted": (style.BLUE, "o", -1),
    "valid": (style.GREEN, "s", 1),
}  # colour, marker, side of the bin's middle


def chosen_repair(repairs: Sequence[Row], source: str | None) -> Row | None:
    """The first accepted repair that keeps something, else the first accepted, else the first; of `source` where given.

    None where none was tried; raises HealError where none was of `source`.
    """
    tried = [row for row in repairs if row["trace_id"] is not None and source in (None, row["source_id"])]
    if not tried and source is not None:
        raise HealError(f"no repair of {source}", where="--repairs", fix="give another --source, or none")
    if not tried:
        return None
    return min(tried, key=lambda row: (not row["accepted"], not row["kept_steps"]))


def trace_numbers(trace: Row, repair: Row, pieces: Sequence[Sequence[str]], min_step_tokens: int) -> pd.DataFrame:
    """One row per token of the wrong trace (part `trace`) and of its repair (`kept`, `continuation`).

    pieces: each token's text, of the trace and of the repair. Kept tokens have the entropies of the trace.
    """
    kept = len(repair["token_ids"]) - len(repair["entropies"])
    entropies = [trace["entropies"], trace["entropies"][:kept] + repair["entropies"]]
    parts = [["trace"] * len(pieces[0]), ["kept"] * kept + ["continuation"] * len(repair["entropies"])]
    rows = []
    for texts, values, names in zip(pieces, entropies, parts, strict=True):
        steps = split(texts, min_step_tokens)
        step_of = [next((k for k, step in enumerate(steps, 1) if i < step.end), len(steps)) for i in range(len(texts))]
        rows += [list(row) for row in zip(names, range(len(texts)), step_of, texts, values, strict=True)]
    return pd.DataFrame(rows, columns=TRACE)


def trace_figure(numbers: pd.DataFrame, repair: Row) -> plt.Figure:
    """Above the wrong trace with its breakpoint and cut, below the repair: what was kept, the hint, what is new."""
    wrong, mended = numbers[numbers["part"] == "trace"], numbers[numbers["part"] != "trace"]
    kept = int((mended["part"] == "kept").sum())
    width = min(14.0, 7.0 + len(numbers) / 150)
    figure, axes = plt.subplots(2, 1, figsize=(width, 4.4), sharex=True, sharey=True)
    top = max(numbers["entropy_nats"].max() * 1.22, 0.1)
    for axis, tokens in zip(axes, (wrong, mended), strict=True):
        color = np.where(tokens["part"] == "continuation", style.BLUE, style.GREY)
        axis.bar(tokens["token"], tokens["entropy_nats"], width=0.9, align="edge", color=color)
        steps = tokens.groupby("step")["token"].agg(["min", "max"])
        axis.vlines(steps["min"].iloc[1:], 0, top, color=style.LIGHT, linewidth=0.8, zorder=0)
        for step, (first, last) in steps[:: math.ceil(len(steps) / 24)].iterrows():
            middle = (first + last + 1) / 2
            axis.text(middle, top * 0.98, str(step), ha="center", va="top", color=style.BLACK, size=8, bbox=LABEL)
        axis.axvline(kept, color=style.VERMILLION, linewidth=1.8, linestyle="--")
        axis.set_ylabel("entropy, nats")
    surging = wrong[wrong["step"] == repair["breakpoint"]]["token"]
    if len(surging):
        axes[0].axvspan(
            surging.min(),
            surging.max() + 1,
            facecolor="#FBEBC8",
            edgecolor=style.ORANGE,
            hatch="//",
            linewidth=0,
            zorder=0,
        )
    verdict = "accepted" if repair["accepted"] else f"rejected: {repair['reason']}"
    where = f"breakpoint: step {repair['breakpoint']} (hatched)"
    axes[0].set_title(
        f"wrong trace; {where}; the cut (dashed) keeps {repair['kept_steps']} of {wrong['step'].max()} steps",
        loc="left",
    )
    hint = " ".join((repair["hint"] or "no hint").split())
    hint = hint if len(hint) <= 60 else f"{hint[:59]}…"
    axes[1].set_title(f"its repair ({verdict}); at the cut: “{hint}”; what is new in blue", loc="left")
    axes[1].set_xlabel("token (step numbers on top)")
    axes[0].set_ylim(0, top)
    axes[0].set_xlim(0, numbers["token"].max() + 1)
    return figure


def positions_numbers(repairs: Sequence[Row], truth: Truth | None) -> pd.DataFrame:
    """One row per bin of the share of its steps that a wrong trace keeps: wrong traces, repairs, and how many succeed.

    A cut that keeps nothing is a restart: bin from 0 to 0. accepted, valid: shares of the repairs tried, with the
    interval over problems; valid: accepted, and right at every step, empty without a checker.
    """
    tried: dict[int, list[Row]] = {}
    for row in repairs:
        if row["breakpoint"] is not None:
            share = row["kept_steps"] / len(row["step_entropies"])
            tried.setdefault(math.ceil(share * BINS - 1e-9), []).append(row)
    found = []
    for last, rows in sorted(tried.items()):
        problems = [row["problem_id"] for row in rows]
        succeeded = [compute_mean([row["accepted"] for row in rows], problems)]
        if truth:
            succeeded.append(compute_mean([row["accepted"] and truth.is_valid(row) for row in rows], problems))
        else:
            succeeded.append(compute_mean([], []))
        cells = [cell for each in succeeded for cell in (each.mean, each.low, each.high)]
        traces = len({row["source_id"] for row in rows})
        found.append([max(last - 1, 0) / BINS, last / BINS, traces, len(rows), *cells])
    shares = [f"{name}{bound}" for name in SUCCESS for bound in ("", "_low", "_high")]
    return pd.DataFrame(found, columns=["from_share", "to_share", "traces", "repairs", *shares])


def positions_figure(numbers: pd.DataFrame) -> plt.Figure:
    """Above how many wrong traces are cut where, below which share of their repairs succeeds."""
    if not len(numbers):
        return style.nothing("No wrong trace was cut.")
    width = 1 / BINS
    middle = np.where(numbers["to_share"] == 0, -width, (numbers["from_share"] + numbers["to_share"]) / 2)
    figure, axes = plt.subplots(2, 1, figsize=(6.4, 4.4), sharex=True, height_ratios=(2, 3))
    axes[0].bar(middle, numbers["traces"], width=0.85 * width, color=style.GREY)
    for x, count in zip(middle, numbers["traces"], strict=True):
        axes[0].annotate(
            f"{count:g}", (x, count), xytext=(0, 2), textcoords="offset points", ha="center", color=style.BLACK, size=8
        )
    axes[0].set_ylabel("wrong traces cut")
    axes[0].set_ylim(0, 1.16 * numbers["traces"].max())
    told = {"accepted": "accepted", "valid": "accepted, and valid at every step"}
    for name, (color, marker, side) in SUCCESS.items():
        if numbers[name].isna().all():
            continue
        x = middle + side * 0.12 * width
        axes[1].vlines(x, numbers[f"{name}_low"], numbers[f"{name}_high"], color=color, linewidth=1.6)
        axes[1].scatter(x, numbers[name], s=34, color=color, marker=marker, label=told[name], zorder=3)
    axes[1].set_ylim(-0.04, 1.04)
    axes[1].set_ylabel("share of repairs")
    axes[1].grid(axis="y", color=style.LIGHT, linewidth=0.6)
    axes[1].legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=2, columnspacing=1.2, handletextpad=0.3)
    last = numbers["to_share"].max()
    ticks = np.arange(0, last + width / 2, 2 * width if last > 4 * width else width)
    restart = [-width] if (numbers["to_share"] == 0).any() else []
    axes[1].set_xticks([*restart, *ticks], [*("restart" for _ in restart), *(f"{100 * tick:.0f} %" for tick in ticks)])
    axes[1].set_xlabel("where the cut is: share of the wrong trace's steps that is kept; 95 % intervals over problems")
    return figure


def pure_numbers(scores: Sequence[Row], repairs: Sequence[Row], truth: Truth | None, options: Pure) -> pd.DataFrame:
    """One row per scored repair: origin of its error (or `repair` without a checker), anomaly, kept by the rule."""
    by_id = {row["trace_id"]: row for row in repairs}
    mine = [score for score in scores if score["kind"] == "repair"]
    kept = pure.keep_quantile(mine, options)
    rows = [
        [
            score["trace_id"],
            truth.classify_error(by_id[score["trace_id"]]) if truth else "repair",
            pure.anomaly(score, options),
            score["trace_id"] in kept,
        ]
        for score in mine
    ]
    return pd.DataFrame(rows, columns=["trace_id", "error", "anomaly", "kept"]).sort_values(["error", "trace_id"])


def pure_figure(numbers: pd.DataFrame, options: Pure) -> plt.Figure:
    """A strip per kind of repair; right of the line the `quantile` rule drops. The bar is the median."""
    if not len(numbers):
        return style.nothing("No repair was accepted, so none was scored.")
    present = [name for name in ORIGINS if (numbers["error"] == name).any()]
    finite = numbers["anomaly"][np.isfinite(numbers["anomaly"])]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    floor = low - 0.08 * max(high - low, 1.0)
    figure, axis = plt.subplots(figsize=(6.8, 1.3 + 0.75 * len(present)))
    labels = []
    for y, name in enumerate(present):
        rows = numbers[numbers["error"] == name]
        values = rows["anomaly"].clip(lower=floor)
        color, marker = ORIGINS[name]
        spread = y + 0.3 * (2 * ((np.arange(len(rows)) * 0.618034) % 1) - 1)
        axis.scatter(values, spread, s=18, marker=marker, color=color, alpha=0.7, linewidths=0)
        axis.vlines(values.median(), y - 0.38, y + 0.38, color=style.BLACK, linewidth=2)
        labels.append(f"{name}\nn = {len(rows)}, kept {int(rows['kept'].sum())}")
    dropped = numbers[~numbers["kept"]]["anomaly"]
    if len(dropped) and np.isfinite(dropped.min()):
        axis.axvline(dropped.min(), color=style.VERMILLION, linestyle="--", linewidth=1.5)
        told = f"dropped from here (λ = {options.drop_share:g}) →"
        right = dropped.min() > (floor + high) / 2
        side: dict[str, Any] = {"ha": "right", "xytext": (-4, 0)} if right else {"ha": "left", "xytext": (4, 0)}
        place = (dropped.min(), -0.62)
        axis.annotate(told, place, textcoords="offset points", va="center", color=style.VERMILLION, **side)
    axis.set_yticks(range(len(present)), labels)
    axis.set_ylim(len(present) - 0.5, -0.85)
    axis.set_xlabel("anomaly: largest ln(step perplexity / (answer uncertainty + ε)), nats; black bar: median")
    return figure


def token_texts(tokenizer: str, token_ids: Sequence[int]) -> list[str]:
    """Each token's text, by the teacher's tokenizer.json. Raises HealError where it cannot be read."""
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_file(tokenizer)
    except Exception as error:  # the library raises bare Exception
        fix = "give the tokenizer.json in the teacher's folder"
        raise HealError(f"no tokenizer ({error})", where=tokenizer, fix=fix) from None
    return [loaded.decode([token], skip_special_tokens=True) for token in token_ids]
