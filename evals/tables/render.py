"""Tables as text: csv with fixed precision, markdown and LaTeX (booktabs) to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

DIGITS = 4
PRECISE = {"p": 6, "p_bh": 6}
READ = {
    "method": "method",
    "mean": "mean [95 %]",
    "diff": "difference [95 %]",
    "p": "p",
    "p_bh": "p_bh",
    "detectable": "detectable",
    "verdict": "verdict",
    "teacher_tokens_generated": "teacher tokens, generated",
    "teacher_tokens_prefilled": "teacher tokens, prefilled",
    "training_tokens": "training tokens",
}
LEFT = {"method", "verdict"}
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


def number(value: Any, digits: int = DIGITS) -> str:
    """Fixed precision, so that equal results give equal bytes; empty where it cannot be said."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) or not isinstance(value, float):
        return str(value)
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: never "-0.0000"


def whole(value: Any, separator: str = "") -> str:
    return "" if pd.isna(value) else f"{int(value):,}".replace(",", separator)


def csv_of(frame: pd.DataFrame, counts: Sequence[str] = ()) -> str:
    """csv with fixed precision; token columns and `counts` are whole numbers, empty where there is none."""
    integers = {column for column in frame.columns if "tokens" in column} | set(counts)
    texts = {
        column: [whole(v) if column in integers else number(v, PRECISE.get(column, DIGITS)) for v in frame[column]]
        for column in frame.columns
    }
    return pd.DataFrame(texts).to_csv(index=False, lineterminator="\n")


def with_interval(estimate: float, low: float, high: float) -> str:
    if math.isnan(estimate):
        return ""
    bounds = "cannot say" if math.isnan(low) or math.isnan(high) else f"{number(low, 3)}, {number(high, 3)}"
    return f"{number(estimate, 3)} [{bounds}]"


def columns_read(frame: pd.DataFrame) -> list[str]:
    """The columns of READ that the table has: a table without costs has no tokens."""
    return [column for column in READ if column in frame]


def read_cells(row: Any, columns: Sequence[str]) -> list[str]:
    """The cells of one row as READ names them."""
    cells = {column: number(getattr(row, column), 3) for column in columns}
    cells["mean"] = with_interval(row.mean, row.ci_low, row.ci_high)
    cells["diff"] = with_interval(row.diff, row.diff_low, row.diff_high)
    for column in columns:
        if "tokens" in column:
            cells[column] = whole(getattr(row, column), " ")
    for column in ("p", "p_bh"):
        cells[column] = "< 0.001" if getattr(row, column) < 0.001 else cells[column]
    return list(cells.values())


def blocks(frame: pd.DataFrame) -> Iterator[tuple[str, list[list[str]]]]:
    """(heading, rows) for each teacher, student and benchmark; the teacher's own row stands in each."""
    trained = frame[frame["student"] != ""]
    keys = trained[["teacher", "student", "benchmark"]].drop_duplicates()
    for teacher, student, benchmark in keys.itertuples(index=False):
        here = frame[(frame["teacher"] == teacher) & (frame["benchmark"] == benchmark)]
        here = here[here["student"].isin(["", student])]
        first = here.iloc[-1]
        heading = f"{benchmark}: {first['n_questions']} questions; teacher {teacher}, student {student}"
        yield heading, [read_cells(row, columns_read(frame)) for row in here.itertuples(index=False)]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Callable[[int], bool]) -> str:
    """A markdown table; `left(i)` says whether column i is text."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [header, *rows]]
    rule = ["---" if left(i) else "---:" for i in range(len(header))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [escaped[0], rule, *escaped[1:]])


def markdown_of(frame: pd.DataFrame, title: str, notes: Sequence[str]) -> str:
    """One table per teacher, student and benchmark, with the notes under them."""
    columns = columns_read(frame)
    parts = [f"# {title}\n"]
    for heading, rows in blocks(frame):
        table = markdown_table([READ[column] for column in columns], rows, lambda i: columns[i] in LEFT)
        parts.append(f"**{heading}**\n\n{table}")
    return "\n".join([*parts, "".join(f"* {note}\n" for note in notes)])


def text_of(frame: pd.DataFrame, title: str, notes: Sequence[str]) -> str:
    """The same for a terminal: mean, difference and verdict, aligned; of the notes, mini and broken premises."""
    shown = [list(READ).index(column) for column in ("method", "mean", "diff", "verdict")]
    lines = [title]
    for heading, rows in blocks(frame):
        cells = [[row[i] for i in shown] for row in [list(READ.values()), *rows]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines += ["", heading]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
    told = [note for note in notes if note.startswith(("mini:", "premise absent"))]
    return "\n".join([*lines, "", *told]) + "\n"


def tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def tex_of(frame: pd.DataFrame, title: str, notes: Sequence[str]) -> str:
    """One booktabs tabular with a heading row per teacher, student and benchmark; needs the package booktabs."""
    columns = list(READ)
    layout = "".join("l" if column in LEFT else "r" for column in columns)
    lines = [f"% {title}; needs \\usepackage{{booktabs}}", f"\\begin{{tabular}}{{{layout}}}", "\\toprule"]
    lines.append(" & ".join(tex(name) for name in READ.values()) + r" \\")
    for heading, rows in blocks(frame):
        lines += ["\\midrule", f"\\multicolumn{{{len(columns)}}}{{l}}{{{tex(heading)}}} \\\\"]
        lines += [" & ".join(tex(cell) for cell in row) + r" \\" for row in rows]
    lines += ["\\bottomrule", "\\end{tabular}", *(f"\\par\\noindent {tex(note)}" for note in notes)]
    return "\n".join(lines) + "\n"
