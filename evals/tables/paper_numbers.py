"""The published numbers of the paper, as evals/paper.yaml states them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic

from heal.config.options import OptionGroup, validate
from heal.config.yaml_files import read_yaml

FILE = Path(__file__).parents[1] / "paper.yaml"


class OurValue(OptionGroup):
    option: str = ""
    """A field of the config, its groups joined by dots; `heal.…` is an option of the method heal."""
    matches: str = ""
    """For teachers and students: what the path of one of them must match."""
    count: bool = False
    """For a list: its length is compared."""
    unless: str = ""
    """A field that disables `option` where it is set."""
    difference: str = ""
    """The method whose accuracy is compared, averaged over the benchmarks."""
    to: str = ""
    """The method it is compared with; `untrained` is the student before training."""
    benchmarks: list[str] = []
    """Problem sets; every benchmark of the run that asks one of them counts."""
    student: str = ""
    """What the path of the student must match."""
    unsolved: list[str] = []
    """Problem sets; the share of their problems that the teacher never solves is compared."""
    repeats: int = 1
    """Number of repeats that `unsolved` refers to."""


class PublishedNumber(OptionGroup):
    item: str
    """What it is."""
    paper: float | int | str
    """The published value, or the sign of a difference."""
    unit: str
    """Of both values."""
    status: Literal["abstract", "reported"]
    """Where it was read: a key of `sources`."""
    confidence: Literal["high", "medium", "low"]
    """How sure it is that the paper says so."""
    rounding: float = 0.0
    """Largest rounding error of the published value."""
    ours: OurValue | None = None
    """Where ours is found; nothing is compared where absent."""
    needs: list[str] = []
    """Items that must agree, or nothing can be said."""
    why: str = ""
    """Why nothing is compared, or what the comparison leaves open."""


class Paper(OptionGroup):
    sources: dict[str, str]
    """Status → the text it was read in."""
    numbers: list[PublishedNumber]
    """Every published number."""

    @pydantic.model_validator(mode="after")
    def check_items(self) -> Paper:
        """Items are unique, need items that exist, and say what they are compared with."""
        items: set[str] = set()
        for number in self.numbers:
            if number.item in items:
                raise ValueError(f"duplicate item {number.item!r}")
            items.add(number.item)
            if number.status not in self.sources:
                raise ValueError(f"{number.item}: no source for status {number.status!r}")
            if number.ours is None and not number.why:
                raise ValueError(f"{number.item}: give `ours`, or `why` nothing is compared")
        for number in self.numbers:
            unknown = set(number.needs) - items
            if unknown:
                raise ValueError(f"{number.item}: needs {min(unknown)!r}, which is no item")
        return self


def read_paper(path: Path = FILE) -> Paper:
    """Raises HealError for a missing file, an unknown key and inconsistent items."""
    return validate(Paper, read_yaml(path), where=str(path))
