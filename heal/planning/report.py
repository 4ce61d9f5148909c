"""`heal plan`: the table of stages with what they will take, and under it what that rests on.

Reads a config, and the sizes of sample files of finished runs under results/. Writes to the terminal and, with --csv,
the same numbers to a file.

    heal plan --config my.yaml --ablations --card H100 --cards 8 --price 2.50
    heal plan --config my.yaml --assume treated_share=0.3 trace_tokens=6000 params.big=32e9
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from heal.config import experiment as config
from heal.planning import assumptions
from heal.planning.costs import Setting, Stage, plan, settings
from heal.records import write_text

CHECKPOINT_BYTES = 12  # per parameter: the weights and AdamW's two moments, in float32
CHECKPOINTS = 3  # heal.training.train keeps two, and has both while it writes the next
NOT_PLANNED = "problems, grades, joining shards, curricula, tables, figures (CPU, no model); a distilling teacher"
SUMS = ("jobs", "prompts", "tokens_read", "tokens_written", "hours", "gpu_hours", "disk_bytes", "fees")


def sensible(value: float) -> str:
    """A number with as many digits as it deserves."""
    if not value:
        return "-"
    if value < 0.01:
        return "<0.01"
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def whole(value: float) -> str:
    return f"{value:,.0f}" if value else "-"


def in_bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB" if value < 999.5 else f"{value:,.0f} TB"


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows of equal length as lines; the first `left` columns stand to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fit = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    return ["  ".join(f(c, w) for f, c, w in zip(fit, row, widths, strict=True)).rstrip() for row in rows]


def money(stage: Stage, price: float | None) -> float:
    return stage.gpu_hours * (price or 0) + stage.fees


def table(stages: Sequence[Stage], price: float | None) -> list[str]:
    header = ["stage", "model", "jobs", "prompts", "tokens read", "tokens written", "hours", "GPU-hours", "disk"]
    priced = price is not None or any(one.fees for one in stages)
    rows = [header + ["money"] * priced]
    together = Stage("total", "", "", *(sum(getattr(one, field) for one in stages) for field in SUMS))
    for one in [*stages, together]:
        row = [one.stage, one.model, *map(whole, (one.jobs, one.prompts, one.tokens_read, one.tokens_written))]
        row += [sensible(one.hours), sensible(one.gpu_hours), in_bytes(one.disk_bytes)]
        rows.append(row + [sensible(money(one, price))] * priced)
    return aligned(rows, 2)


def notes(setting: Setting, stages: Sequence[Stage], cards: int) -> list[str]:
    """What the table rests on, and what is not in it."""
    e = setting.experiment
    gpu_hours, cpu_hours = sum(one.gpu_hours for one in stages), sum(one.hours for one in stages if not one.gpu_hours)
    told = ["A plan, not a measurement: as good as the assumptions below. Hours: of all jobs, one after the other."]
    if gpu_hours:
        at_work = "one card" if cards == 1 else f"{cards} cards"
        told.append(f"With {at_work} always at work (--cards): {sensible(gpu_hours / cards)} hours, at best.")
    if cpu_hours:
        told.append(
            f"Of these on the CPU: {sensible(cpu_hours)}; threads per job: {e.engine.threads} (engine.threads)."
        )
    told += [f"Not in it: {NOT_PLANNED};", "  waiting, failed jobs, fetching models."]
    largest = max(setting.sizes[f"students.{student}"].total for student in e.students)
    if not e.train.lora:
        peak = in_bytes(largest * CHECKPOINT_BYTES * CHECKPOINTS)
        told.append(f"Checkpoints take up to {peak} more per student while it is trained.")
    counts = ", ".join(f"{split} {count:,.0f}" for split, count in setting.counts.items())
    told.append(f"Problems: {counts}" + (" (train: before decontamination)." if e.problems.decontaminated else "."))
    return told + [f"Parameters, {label}: {size.total:,.0f} ({size.source})." for label, size in setting.sizes.items()]


def assumption_table(setting: Setting) -> list[str]:
    shown = [(key, one.value, one.source) for key, one in setting.assumed.items()]
    rows = [(key, f"{value:,.0f}" if value >= 100 else f"{value:.3g}", source) for key, value, source in shown]
    widest = max(len(value) for _, value, _ in rows)
    return [
        "Assumptions (--assume KEY=VALUE sets one):",
        *aligned([(key, value.rjust(widest), source) for key, value, source in rows], 3),
    ]


def scope(ablations: bool, comparisons: bool) -> str:
    """What of the workflow is planned."""
    return "main comparison" + " and ablations" * ablations + ", further comparisons" * comparisons


def command(arguments: argparse.Namespace) -> None:
    """`heal plan` before a run."""
    path, price = arguments.config or "config/config.yaml", arguments.price
    setting = settings(
        config.load(path),
        where=path,
        ablations=arguments.ablations,
        comparisons=arguments.comparisons,
        card=arguments.card,
        given=assumptions.parse(arguments.assume),
        limit=arguments.limit,
        results=Path("results"),
    )
    stages = plan(setting)
    planned = scope(arguments.ablations, arguments.comparisons)
    head = f"Plan of {path}, run {setting.experiment.run!r}: {planned}; card: {arguments.card}"
    head += f", {price:g} per GPU-hour" if price is not None else ""
    blocks = [[head], table(stages, price), notes(setting, stages, arguments.cards), assumption_table(setting)]
    if arguments.csv:
        frame = pd.DataFrame(map(asdict, stages))
        write_text(arguments.csv, frame.assign(money=[money(one, price) for one in stages]).to_csv(index=False))
    print("\n\n".join("\n".join(block) for block in blocks))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", help="the file (default: config/config.yaml; with --from: the one of that run)")
    parser.add_argument("--from", dest="run", metavar="RUN", help="a run's folder: plan beside ledger")
    parser.add_argument("--ablations", action="store_true", help="the ablations too")
    parser.add_argument("--comparisons", action="store_true", help="the config's further comparisons too")
    parser.add_argument("--limit", type=positive, help="as `snakemake --config limit=N`")
    parser.add_argument("--card", default="H100", help=f"{', '.join(assumptions.CARDS)} (default: %(default)s)")
    parser.add_argument("--cards", type=positive, default=1, help="how many, for the hours that pass at best")
    parser.add_argument("--price", type=amount, help="money per GPU-hour")
    parser.add_argument("--assume", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="see the output")
    parser.add_argument("--csv", help="write the numbers to this file too")


def positive(word: str) -> int:
    if (value := int(word)) < 1:
        raise ValueError
    return value


def amount(word: str) -> float:
    if not 0 <= (value := float(word)) < float("inf"):
        raise ValueError
    return value
