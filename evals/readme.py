"""The README's table: the reference run's main table, copied between two markers and never typed.

Reads results/reference/mini/tables/main.txt; changes README.md.

    python -m evals.readme
"""

from __future__ import annotations

from pathlib import Path

from heal.errors import HealError, exit_with_errors
from heal.records import write_text

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TABLE = ROOT / "results/reference/mini/tables/main.txt"
BEGIN, END = "<!-- main table -->", "<!-- end of main table -->"


def with_table(readme: str, table: str) -> str:
    """The README's text with the table between its markers. Raises HealError where a marker is missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise HealError("a marker of the table is missing", where="README.md", cure=f"put back {BEGIN} and {END}")
    return f"{before}{BEGIN}\n```\n{table.strip()}\n```\n{END}{after}"


def main() -> None:
    write_text(README, with_table(README.read_text(encoding="utf-8"), TABLE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    exit_with_errors(main)
