"""Tables as text: csv with fixed precision; Markdown, LaTeX (booktabs) and plain text to read.

Reads nothing, writes nothing. Equal values give equal bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from evals.tables.notes import Note

DIGITS = 4
"""Digits after the point in a csv."""
PRECISE = {"p": 6, "p_bh": 6}
"""Columns with other digits."""
TEX = {"\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
TEX |= {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "…": r"\dots{}",
    "→": r"$\to$",
    "<": "$<$",
    ">": "$>$",
}


@dataclass(frozen=True)
class TextTable:
    """A table to read: one of several under a common title."""

    heading: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: frozenset[int] = frozenset({0})
    """Indices of the columns that hold words; the others hold numbers and are aligned right."""


def format_number(value: Any, digits: int = DIGITS) -> str:
    """A float with fixed precision, another value as it is; empty for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: never "-0.0000"


def format_count(value: Any, separator: str = "") -> str:
    """A whole number with a separator between thousands; empty for None and NaN."""
    return "" if pd.isna(value) else f"{int(value):,}".replace(",", separator)


def format_interval(estimate: float, low: float, high: float) -> str:
    """estimate [low, high] with three digits; empty where there is no estimate."""
    if math.isnan(estimate):
        return ""
    bounds = (
        "cannot say" if math.isnan(low) or math.isnan(high) else f"{format_number(low, 3)}, {format_number(high, 3)}"
    )
    return f"{format_number(estimate, 3)} [{bounds}]"


def format_difference(estimate: float, low: float, high: float) -> str:
    """As `format_interval`, but the bounds show on which side of 0 they are; empty where there is no estimate."""
    return "" if math.isnan(estimate) else f"{format_number(estimate, 3)} {format_bounds(low, high)}"


def format_bounds(low: float, high: float) -> str:
    """[low, high] of a difference with three digits, or as many as a bound that is not 0 needs to differ from 0."""
    if math.isnan(low) or math.isnan(high):
        return "[cannot say]"
    bounds = []
    for bound in (low, high):
        digits = next((digits for digits in range(3, 7) if round(bound, digits)), 3)
        bounds.append(format_number(bound, digits))
    return f"[{', '.join(bounds)}]"


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """csv with fixed precision; columns named tokens hold whole numbers."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = []
        for column, value in zip(columns, row, strict=True):
            is_count = "tokens" in column
            cells.append(format_count(value) if is_count else format_number(value, PRECISE.get(column, DIGITS)))
        writer.writerow(cells)
    return stream.getvalue()


def format_frame_csv(frame: pd.DataFrame) -> str:
    """`format_csv` of a data frame."""
    return format_csv(list(frame.columns), frame.itertuples(index=False, name=None))


def format_rows_csv(rows: Iterable[Any], columns: Sequence[str]) -> str:
    """`format_csv` of these attributes of row objects."""
    values = []
    for row in rows:
        values.append([getattr(row, column) for column in columns])
    return format_csv(columns, values)


def list_columns(row_type: type[Any]) -> list[str]:
    """The columns of a table whose rows are this dataclass."""
    return [field.name for field in fields(row_type)]


def format_markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], is_text: Callable[[int], bool]) -> str:
    """A Markdown table; `is_text(i)` says whether column i holds words, which are aligned left."""
    rule = []
    for column in range(len(header)):
        rule.append("---" if is_text(column) else "---:")
    lines = [format_markdown_row(header), format_markdown_row(rule), *map(format_markdown_row, rows)]
    return "".join(lines)


def format_markdown_row(cells: Sequence[str]) -> str:
    escaped = " | ".join(cell.replace("|", "\\|") for cell in cells)
    return f"| {escaped} |\n"


def format_markdown(title: str, tables: Iterable[TextTable], notes: Iterable[Note]) -> str:
    """A page: title, tables with their headings, notes as a list."""
    parts = [f"# {title}\n"]
    for table in tables:
        markdown = format_markdown_table(table.header, table.rows, table.text_columns.__contains__)
        parts.append(f"**{table.heading}**\n\n{markdown}" if table.heading else markdown)
    return "\n".join([*parts, format_markdown_notes(notes)])


def format_markdown_notes(notes: Iterable[Note]) -> str:
    """A list, one note per line."""
    return "".join(f"* {note.text}\n" for note in notes)


def format_text(title: str, tables: Iterable[TextTable], notes: Iterable[Note]) -> str:
    """The page for a terminal, columns aligned."""
    lines = [title]
    for table in tables:
        lines += ["", table.heading, *align_columns([table.header, *table.rows])]
    lines.append("")
    for note in notes:
        lines.append(note.text)
    return "\n".join(lines) + "\n"


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line per row; cells padded to the width of their column."""
    widths = [0] * len(rows[0])
    for row in rows:
        widths = list(map(max, widths, map(len, row)))
    lines = []
    for row in rows:
        lines.append("  ".join(map(str.ljust, row, widths)).rstrip())
    return lines


def escape_tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def format_tex(title: str, tables: Sequence[TextTable], notes: Iterable[Note]) -> str:
    """One booktabs tabular with a heading row per table, at least one; all have the same columns."""
    first = tables[0]
    layout = ""
    for column in range(len(first.header)):
        layout += "l" if column in first.text_columns else "r"
    lines = [f"% {title}; needs \\usepackage{{booktabs}}", f"\\begin{{tabular}}{{{layout}}}", "\\toprule"]
    lines.append(format_tex_row(first.header))
    for table in tables:
        lines += ["\\midrule", f"\\multicolumn{{{len(layout)}}}{{l}}{{{escape_tex(table.heading)}}} \\\\"]
        lines += map(format_tex_row, table.rows)
    lines += ["\\bottomrule", "\\end{tabular}"]
    for note in notes:
        lines.append(f"\\par\\noindent {escape_tex(note.text)}")
    return "\n".join(lines) + "\n"


def format_tex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_tex, cells)) + r" \\"
