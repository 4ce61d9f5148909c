"""The audits of a teacher's draws in one table: their mean, an interval that no dependence between them makes too
narrow, and the least and most of them.

Reads the audits csv of every draw (evals.audits.run) and the notes of the first one's md; writes --out (csv), the same as
md, and the premises by the mean and by each draw, `premises_{teacher}.csv` beside it.

    python -m evals.audits.combine_draws --teacher default --audits draw0/audits_default.csv draw1/audits_default.csv \\
        --out audits_default.csv
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evals.audits import run as audits
from evals.tables.render import csv_of
from heal import records
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.provenance import recorded

KEYS = ["audit", "variant", "quantity"]
COLUMNS = [*audits.COLUMNS, "least", "most", "draws"]
NOTE = (
    "The notes above are those of single draws. Here value is the mean over those of the {draws} draws that have it, n "
    "their sum; the interval goes from the mean of their lower to the mean of their upper bounds. The draws share "
    "problems; whatever that does, a mean varies at most as much as what it is of does on average, so that this is not "
    "too narrow. least, most (csv): of single draws."
)


def with_empty_bars(frame: pd.DataFrame, bars: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """A draw's audits, where a bar of the histogram of distances that only other draws have stands as 0."""
    exact = frame[frame["quantity"] == "exact"].set_index("variant")
    known = set(zip(frame["variant"], frame["quantity"], strict=True))
    empty = [
        exact.loc[variant].to_dict() | {"variant": variant, "quantity": bar, "value": 0.0, "low": math.nan}
        for variant, bar in bars
        if variant in exact.index and (variant, bar) not in known
    ]
    return pd.concat([frame, pd.DataFrame(empty, columns=frame.columns)]) if empty else frame


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per quantity, columns as COLUMNS. Quantities that no draw can say stay empty.

    Standard deviations are subadditive: that of a mean is at most the mean of the single ones, however the draws
    depend on each other. Bounds are empty where a draw with a value has none.
    """
    every = pd.concat(frames)
    bars = every[every["quantity"].map(lambda name: audits.distance_last(name)[0])]
    keys = list(dict.fromkeys(zip(bars["variant"], bars["quantity"], strict=True)))
    every = pd.concat([with_empty_bars(frame, keys) for frame in frames])
    rows = []
    for key, draws in every.groupby(KEYS, sort=False):
        said = draws[draws["value"].notna()]
        low, high = (said[bound].mean(skipna=False) for bound in ("low", "high"))
        values, n = said["value"], int(draws["n"].sum())
        covers = draws["covers"].iloc[0]
        rows.append([*key, values.mean(), low, high, n, covers, values.min(), values.max(), len(said)])
    return pd.DataFrame(rows, columns=COLUMNS)


def premises(frame: pd.DataFrame, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What the mean over the draws says of each premise; `by_draw`: what each draw says."""
    each = [audits.premises(one)["holds"] for one in frames]
    return audits.premises(frame).assign(by_draw=[", ".join(said) for said in zip(*each, strict=True)])


def markdown(frame: pd.DataFrame, flags: pd.DataFrame, teacher: str, draws: int, notes: Sequence[str]) -> str:
    """The tables of the mean; notes: those of the single draws."""
    title = f"# Audits of teacher {teacher}, {draws} draw(s)\n"
    said = [f"* {row.premise} by draw: {row.by_draw}." for row in flags.itertuples(index=False)]
    under = [*notes, f"* {NOTE.format(draws=draws)}", *said]
    return "\n".join([title, *audits.sections(frame, flags), "\n".join(under) + "\n"])


def read_audits(path: Path) -> pd.DataFrame:
    """Raises HealError for a csv without the columns of audits."""
    frame = pd.read_csv(path, dtype={"covers": str})
    if absent := [column for column in audits.COLUMNS if column not in frame.columns]:
        raise HealError(f"no column {absent[0]!r}", where=str(path), fix="give the csv that evals.audits.run writes")
    return frame


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--teacher", required=True, help="its name in the config")
    parser.add_argument("--audits", nargs="+", required=True, help="the csv of every draw, in their order")
    parser.add_argument("--out", required=True, help="the csv; md and premises_{teacher}.csv are written beside it")
    arguments = parser.parse_args()
    out, paths = Path(arguments.out), [Path(path) for path in arguments.audits]
    with recorded(out, "evals.audits.combine_draws", options=vars(arguments)):
        frames = [read_audits(path) for path in paths]
        frame = joined(frames)
        flags = premises(frame, frames)
        lines = paths[0].with_suffix(".md").read_text(encoding="utf-8").splitlines()
        notes = [line for line in lines if line.startswith("* ")]
        records.write_text(out, csv_of(frame))
        records.write_text(out.with_suffix(".md"), markdown(frame, flags, arguments.teacher, len(frames), notes))
        records.write_text(out.with_name(f"premises_{arguments.teacher}.csv"), csv_of(flags))


if __name__ == "__main__":
    exit_with_errors(main)
