"""A Markdown table that is printed and written row by row, so that a benchmark that is stopped has its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heal import records
from tools.docs.markdown import build_table


class GrowingTable:
    """out: the file, written again with each row; None: the rows are printed only."""

    def __init__(self, header: Sequence[str], out: Path | None) -> None:
        self.header = header
        self.out = out
        self.rows: list[Sequence[str]] = []

    def add(self, row: Sequence[str]) -> None:
        self.rows.append(row)
        print(build_table(self.header, [row]).splitlines()[-1], flush=True)
        if self.out:
            records.write_text(self.out, build_table(self.header, self.rows))
