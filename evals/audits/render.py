"""Audits as Markdown: the premises, one table per audit with a column per GEAR variant, and the notes below.

Reads nothing, writes nothing; `heal audit` and `heal combine-audits` call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from evals.audits.gear import parse_distance
from evals.audits.premises import CANNOT_SAY
from evals.tables.notes import Note, Topic
from evals.tables.render import format_interval, format_markdown_notes, format_markdown_table, format_number
from heal.worlds.base import World

EVERY_AUDIT = (
    Note(
        Topic.INTERVALS,
        "Intervals: 95 %, over problems (a bootstrap of whole problems; Wilson's with problems as trials where a share "
        "is 0 or 1; clustered DeLong for AUROC); correlations over items. They cover one sampling seed of one teacher.",
    ),
    Note(
        Topic.MEASURES,
        "distance: steps kept + 1 − first wrong step; 0 is exact. A restart keeps nothing. inherited: the kept part "
        "was already wrong; fresh: the continuation went wrong.",
    ),
    Note(
        Topic.MEASURES,
        "Rank-surprisal (arXiv 2601.14249) is not included: it needs each token's rank, which traces do not store.",
    ),
)
WRONG_GOLD = Note(
    Topic.MEASURES,
    "wrong gold: the share that passes a filter, of what reaches it from problems with a wrong or right gold answer; "
    "the last rows show whose repairs remain. A repair that verifies against a wrong gold answer is never valid.",
)
REIMPLEMENTED = Note(Topic.PAPER, "HEAL is re-implemented from a description.")


def build_notes(world: World | None, with_wrong_gold: bool) -> list[Note]:
    """The notes of one teacher seed's audits. world: of the training problems."""
    notes = []
    for text in (world.checker_note, world.note) if world else ():
        if text:
            notes.append(Note(Topic.WORLD, text))
    notes += [REIMPLEMENTED, *EVERY_AUDIT]
    return [*notes, WRONG_GOLD] if with_wrong_gold else notes


def render_audits(title: str, audits: pd.DataFrame, premises: pd.DataFrame, notes: Iterable[Note]) -> str:
    """audits: columns as evals.audits.run.AuditRow; premises: as evals.audits.premises.PremiseCheck."""
    parts = [f"# {title}\n", "## Premises by the traces alone\n", render_premises(premises)]
    for name, rows in audits.groupby("audit", sort=False):
        parts += [f"## {name}\n", render_audit(rows)]
    parts.append(format_markdown_notes(notes))
    return "\n".join(parts)


def render_premises(premises: pd.DataFrame) -> str:
    header = ["premise", "says", "quantity", "value [95 %]", "threshold (ours)", "holds"]
    cells = []
    for row in premises.itertuples(index=False):
        interval = format_interval(row.value, row.low, row.high)
        cells.append([row.premise, row.says, row.quantity, interval, format_number(row.threshold, 2), row.holds])
    return format_markdown_table(header, cells, lambda i: i in (0, 1, 2, 5))


def render_audit(rows: pd.DataFrame) -> str:
    """One audit: a row per quantity, a column per variant, "none" where a variant lacks the quantity."""
    variants = rows["variant"].unique().tolist()
    texts = {}
    for row in rows.itertuples(index=False):
        interval = format_interval(row.value, row.low, row.high) or CANNOT_SAY
        texts[row.variant, row.quantity] = f"{interval} (n {row.n})"
    cells = []
    for quantity in sort_quantities(rows["quantity"].unique().tolist()):
        cells.append([quantity, *(texts.get((variant, quantity), "none") for variant in variants)])
    return format_markdown_table(["quantity", *variants], cells, lambda i: i == 0)


def sort_quantities(quantities: Sequence[str]) -> list[str]:
    """The histogram of cut distances last, by distance; everything else in its order."""

    def compute_rank(quantity: str) -> tuple[bool, int]:
        distance = parse_distance(quantity)
        return (False, 0) if distance is None else (True, distance)

    return sorted(quantities, key=compute_rank)
