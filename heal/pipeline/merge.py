"""Join the shards of a table into one file, in their order, row group by row group; the tokens they took are added up.

Reads the parts; writes the whole, with the sum of the parts' token counts in its metadata.

    heal merge --table samples --parts shard0.parquet --parts shard1.parquet --out samples.parquet
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from heal import records
from heal.command import Command, Section
from heal.config.experiment import Stop
from heal.errors import HealError
from heal.outcome import read_outcome
from heal.pipeline.stop import check_outcome
from heal.provenance import record_run
from heal.schemas import SCHEMAS

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""


class Merge(Command):
    table: str
    """What the parts hold: a name in heal.schemas.SCHEMAS."""
    parts: list[Path]
    """The files to join, in order (once per file)."""
    required: bool = False
    """Fail where these traces leave the rest of a run without a point (see the section `stop` of the config)."""
    stop: Annotated[Stop, Section("stop", decides_output=False)] = Stop()
    """When that is."""
    out: Path
    """The parquet file to write."""

    def run(self) -> None:
        if self.table not in SCHEMAS:
            known = ", ".join(sorted(SCHEMAS))
            raise HealError(f"no table {self.table!r}", where="--table", fix=f"give one of: {known}")
        with record_run(self.out, "merge", VERSION, {"options": self.describe_options()}):
            records.concatenate(self.parts, self.out, self.table)
        if self.required:
            check_outcome(read_outcome(self.out), self.stop, self.out)
