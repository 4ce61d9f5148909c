"""Format cost plans for the terminal: numbers, tables, and the sentences that every plan prints."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from heal.planning.inputs import PlanInputs

NOT_PLANNED = (
    "Not included: problems, grades, merging shards, curricula, tables, figures (CPU, no model); a distilling teacher;",
    "  waiting in a queue, failed jobs, downloading models.",
)


def format_number(value: float) -> str:
    """A number with at most three significant digits, or all before the point; `-` for 0."""
    if not value:
        return "-"
    if value < 0.01:
        return "<0.01"
    if value < 10:
        return f"{value:,.2f}"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def format_count(value: float) -> str:
    """A rounded number; `-` for 0."""
    return f"{value:,.0f}" if value else "-"


def format_bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB" if value < 999.5 else f"{value:,.0f} TB"


def format_ratio(value: float) -> str:
    """Two decimals; `-` where there is nothing to divide by."""
    return "-" if pd.isna(value) else f"{value:.2f}"


def align_rows(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows of equal length as lines: the first `left` columns left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            cells.append(cell.ljust(width) if number < left else cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def join_blocks(blocks: Sequence[Sequence[str]]) -> str:
    """Blocks of lines with a blank line between two."""
    return "\n\n".join("\n".join(block) for block in blocks)


def describe_scope(ablations: bool, comparisons: bool) -> str:
    """The comparisons that are planned."""
    return "main comparison" + " and ablations" * ablations + ", further comparisons" * comparisons


def format_assumptions(inputs: PlanInputs) -> list[str]:
    """The table of assumptions."""
    rows = []
    for key, assumption in inputs.assumptions.items():
        value = assumption.value
        rows.append([key, f"{value:,.0f}" if value >= 100 else f"{value:.3g}", assumption.source])
    width = max(len(row[1]) for row in rows)
    for row in rows:
        row[1] = row[1].rjust(width)
    return ["Assumptions (--assume KEY=VALUE sets one):", *align_rows(rows, 3)]
