"""The table of the paper's published numbers, from evals/paper.yaml."""

from __future__ import annotations

from evals.tables.paper_numbers import read_paper
from tools.docs.markdown import build_table


def build_numbers_table() -> str:
    """Every number of the paper, where it is from, and what it is compared with."""
    rows = []
    for number in read_paper().numbers:
        ours = number.ours
        if ours is None:
            compared = f"nothing: {number.why}"
        elif ours.option:
            compared = f"option `{ours.option}`"
        elif ours.difference:
            compared = f"`{ours.difference}` minus `{ours.to}`"
        else:
            compared = "questions unsolved in the run"
        value = f"{number.paper:g}" if isinstance(number.paper, float) else str(number.paper)
        rows.append([number.item, value, number.unit, number.status, number.confidence, compared])
    return build_table(["item", "paper", "unit", "source", "confidence", "compared with"], rows)
