"""Markdown tables, and text between two markers of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from heal.errors import HealError


def escape_tags(text: str) -> str:
    """A text with what would be a tag escaped, but for code: in backticks, or indented by four spaces."""

    def escape_tag(match: re.Match[str]) -> str:
        return "&lt;" if match[0] == "<" else match[0]

    return re.sub(r"`[^`]*`|^    .*$|<", escape_tag, text, flags=re.MULTILINE)


def escape_cell(text: str) -> str:
    """A text as a table cell: what would be a tag or a column border is escaped."""
    return escape_tags(text).replace("|", "\\|")


def build_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for row in rows:
        lines.append(f"| {' | '.join(map(escape_cell, row))} |")
    return "\n".join(lines) + "\n"


def replace_between(text: str, name: str, content: str, *, where: str) -> str:
    """The text with the content between its markers `<!-- name -->` and `<!-- end of name -->`.

    Raises HealError where a marker is missing.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise HealError(f"a marker of {name} is missing", where=where, fix=f"put back {begin} and {end}")
    return f"{before}{begin}\n{content.rstrip()}\n{end}{after}"
