"""Notes under a table: each sentence with its topic, so that readers select by topic and never by wording.

`heal tabulate-comparison` writes them as COMPARISON_notes.json next to its table; the report page reads that file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from evals.results import read_json
from heal import records
from heal.errors import HealError

SUFFIX = "_notes.json"
REMAKE = "delete it and run snakemake again"


class Topic(Enum):
    """What a note is about."""

    RUN = "run"
    STRATA = "strata"
    MEASURES = "measures"
    INTERVALS = "intervals"
    COST = "cost"
    PASSES = "passes"
    FEW_PASSES = "few_passes"
    RANKING = "ranking"
    UNSOLVED = "unsolved"
    WORLD = "world"
    GATES = "gates"
    CONTAMINATION = "contamination"
    DECONTAMINATION = "decontamination"
    LEFT_OUT = "left_out"
    ENGINES = "engines"
    HARDWARE = "hardware"
    MIXED_HARDWARE = "mixed_hardware"
    SETTINGS = "settings"
    PREMISE = "premise"
    PAPER = "paper"


@dataclass(frozen=True)
class Note:
    """One sentence or more under a table, without mark-up."""

    topic: Topic
    text: str


def select_notes(notes: Iterable[Note], *topics: Topic) -> list[Note]:
    """The notes on any of these topics, in their order."""
    return [note for note in notes if note.topic in topics]


def get_notes_path(table: str | Path) -> Path:
    """Where the notes of a table are stored: main.csv → main_notes.json."""
    table = Path(table)
    return table.with_name(f"{table.stem}{SUFFIX}")


def write_notes(path: str | Path, notes: Iterable[Note]) -> None:
    """Writes the notes as a JSON list of {topic, text}, in their order."""
    records.write_json(path, [{"topic": note.topic.value, "text": note.text} for note in notes])


def read_notes(path: str | Path) -> list[Note]:
    """Raises HealError where the file is missing, or where an entry is no note."""
    content = read_json(path)
    if not isinstance(content, list):
        raise HealError("expected a list of notes", where=str(path), fix=REMAKE)
    notes = []
    for number, entry in enumerate(content, 1):
        try:
            notes.append(Note(Topic(entry["topic"]), str(entry["text"])))
        except (KeyError, TypeError, ValueError) as error:
            raise HealError(f"not a note ({error})", where=f"{path}, entry {number}", fix=REMAKE) from None
    return notes
