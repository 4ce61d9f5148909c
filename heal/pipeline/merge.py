"""Joining the shards of a stage into one file, in their order; the tokens they spent are added up.

Reads the parts; writes the whole, with the sum of their provenance's tokens beside it.

    python -m heal.pipeline.merge --kind samples --parts shard0.parquet shard1.parquet --out samples.parquet
"""

from __future__ import annotations

from heal import records
from heal.command import command_parser
from heal.errors import exit_with_errors
from heal.provenance import recorded


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--kind", required=True, choices=sorted(records.SCHEMAS), help="what the parts hold")
    parser.add_argument("--parts", nargs="+", required=True, help="the files to join, in order")
    parser.add_argument("--out", required=True, help="the whole")
    arguments = parser.parse_args()
    with recorded(arguments.out, "heal.pipeline.merge", options=vars(arguments)):
        rows = [row for part in arguments.parts for row in records.read(part, arguments.kind)]
        spent = records.add_usage(records.usage(part) for part in arguments.parts)
        records.write(arguments.out, arguments.kind, rows, usage=spent)


if __name__ == "__main__":
    exit_with_errors(main)
