"""Combine the audits of a teacher's sampling seeds: mean of each quantity, conservative interval, smallest and largest.

Reads the audits csv of every teacher seed (heal audit) and the notes next to the first one. Writes --out (csv), the
same as md, its notes as OUT_notes.json, and premises_TEACHER.csv in the same folder: which premises hold by the mean
and by each teacher seed.

    heal combine-audits --teacher default --audits teacher_seed0/audits_default.csv \\
        --audits teacher_seed1/audits_default.csv --out audits_default.csv
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from evals.audits.gear import parse_distance
from evals.audits.premises import describe_by_teacher_seed
from evals.audits.render import render_audits
from evals.audits.run import COLUMNS, AuditRow
from evals.tables.notes import Note, Topic, get_notes_path, read_notes, select_notes, write_notes
from evals.tables.render import format_frame_csv, list_columns
from heal import records
from heal.command import Command
from heal.errors import HealError
from heal.provenance import record_run

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

KEYS = ["audit", "variant", "quantity"]


class CombineAudits(Command):
    teacher: str
    """Name of the teacher in the config."""
    audits: list[Path]
    """The audits csv of every teacher sampling seed, in their order (once per file)."""
    out: Path
    """The csv to write."""

    def run(self) -> None:
        with record_run(self.out, "combine-audits", VERSION, {"options": self.describe_options()}):
            audits = list(map(read_audits, self.audits))
            combined = combine_audits(audits)
            premises = describe_by_teacher_seed(combined, audits)
            notes = collect_notes(self.audits) + build_notes(premises, len(audits))
            title = f"Audits of teacher {self.teacher}, {len(audits)} teacher sampling seed(s)"
            records.write_text(self.out, format_frame_csv(combined))
            records.write_text(self.out.with_suffix(".md"), render_audits(title, combined, premises, notes))
            write_notes(get_notes_path(self.out), notes)
            records.write_text(self.out.with_name(f"premises_{self.teacher}.csv"), format_frame_csv(premises))


@dataclass(frozen=True)
class CombinedRow(AuditRow):
    """A row of the csv. least, most: of single teacher seeds; n_teacher_seeds: how many have the quantity."""

    least: float
    most: float
    n_teacher_seeds: int


def read_audits(path: Path) -> pd.DataFrame:
    """Raises HealError for a missing file, and for a csv without the columns of audits."""
    if not path.exists():
        raise HealError("no such file", where=str(path), fix="run heal audit for this teacher seed first")
    frame = pd.read_csv(path, dtype={"covers": str})
    for column in COLUMNS:
        if column not in frame.columns:
            raise HealError(f"no column {column!r}", where=str(path), fix="give the csv that heal audit writes")
    return frame


def combine_audits(audits: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per quantity, columns as CombinedRow. Quantities that no teacher seed has a value for stay empty.

    Bounds are the means of the seeds' bounds: standard deviations are subadditive, so that of a mean is at most the
    mean of the single ones, however the seeds depend on each other. They are empty where a seed with a value has none.
    """
    bars = list_distance_bars(audits)
    complete = pd.concat([add_empty_bars(one_seed, bars) for one_seed in audits])
    rows = []
    for (audit, variant, quantity), group in complete.groupby(KEYS, sort=False):
        with_value = group[group["value"].notna()]
        values = with_value["value"]
        row = CombinedRow(
            audit=audit,
            variant=variant,
            quantity=quantity,
            value=values.mean(),
            low=with_value["low"].mean(skipna=False),
            high=with_value["high"].mean(skipna=False),
            n=int(group["n"].sum()),
            covers=group["covers"].iloc[0],
            least=values.min(),
            most=values.max(),
            n_teacher_seeds=len(values),
        )
        rows.append(asdict(row))
    return pd.DataFrame(rows, columns=list_columns(CombinedRow))


def list_distance_bars(audits: Sequence[pd.DataFrame]) -> list[tuple[str, str]]:
    """(variant, quantity) of every bar of the histogram of cut distances, in any teacher seed."""
    bars: dict[tuple[str, str], None] = {}
    for one_seed in audits:
        for pair in zip(one_seed["variant"], one_seed["quantity"], strict=True):
            if parse_distance(pair[1]) is not None:
                bars[pair] = None
    return list(bars)


def add_empty_bars(audits: pd.DataFrame, bars: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The audits of one teacher seed, with a value of 0 for each bar that only other seeds have."""
    exact = audits[audits["quantity"] == "exact"].set_index("variant")
    known = set(zip(audits["variant"], audits["quantity"], strict=True))
    empty = []
    for variant, bar in bars:
        if variant in exact.index and (variant, bar) not in known:
            row = exact.loc[variant].to_dict()
            empty.append(row | {"variant": variant, "quantity": bar, "value": 0.0, "low": math.nan})
    return pd.concat([audits, pd.DataFrame(empty, columns=audits.columns)]) if empty else audits


def collect_notes(audits: Sequence[Path]) -> list[Note]:
    """The notes of the first teacher seed's audits, and what those of others say of other hardware."""
    notes = read_notes(get_notes_path(audits[0]))
    for path in audits[1:]:
        for note in select_notes(read_notes(get_notes_path(path)), Topic.HARDWARE, Topic.MIXED_HARDWARE):
            if note not in notes:
                notes.append(note)
    return notes


def build_notes(premises: pd.DataFrame, teacher_seeds: int) -> list[Note]:
    """What the combined table adds to the notes of single teacher seeds."""
    text = (
        f"The notes above describe single teacher sampling seeds. Here value is the mean over those of the "
        f"{teacher_seeds} seed(s) that have it, and n their sum; low and high are the means of their bounds. The seeds "
        "share problems; a mean varies at most as much as its parts do on average, so the interval is not too narrow. "
        "least, most (csv): smallest and largest value of a single seed."
    )
    notes = [Note(Topic.INTERVALS, text)]
    for row in premises.itertuples(index=False):
        notes.append(Note(Topic.PREMISE, f"{row.premise} by teacher seed: {row.by_teacher_seed}."))
    return notes
