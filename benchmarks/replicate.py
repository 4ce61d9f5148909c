"""How long `make replicate` takes for a stranger, and how much memory its jobs need.

Clones the repository (its last commit) into a fresh folder, runs `make env`, `make replicate` and `make replicate` once
more, and writes seconds, peak memory per rule and the machine to --out. With --ablations, `make ablations` follows,
with --comparisons, `make comparisons`. With --keep, `python -m tools.reference` makes that reference folder of the
clone's results.

    python benchmarks/replicate.py --ablations --comparisons \\
        --out results/reference/mini/replicate.json --keep results/reference/mini
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent


def timed(folder: Path, *command: str) -> float:
    """Seconds that a command takes in the folder, without this process's Python environment."""
    began = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    subprocess.run(command, cwd=folder, check=True, env=environment)
    return round(time.monotonic() - began, 1)


def jobs(folder: Path) -> dict[str, dict[str, float]]:
    """Rule group → jobs, seconds and peak memory, from Snakemake's own benchmark files."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"jobs": 0, "seconds": 0.0, "peak_rss_mb": 0.0})
    for path in sorted((folder / "results/mini/benchmarks").rglob("*.tsv")):
        row = next(csv.DictReader(path.open(), delimiter="\t"))
        group = found[path.relative_to(folder / "results/mini/benchmarks").parts[0]]
        group["jobs"] += 1
        group["seconds"] = round(group["seconds"] + float(row["s"]), 1)
        if row["max_rss"] != "-":
            group["peak_rss_mb"] = max(group["peak_rss_mb"], float(row["max_rss"]))
    return dict(found)


def machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="the record, json")
    parser.add_argument("--ablations", action="store_true", help="run them too, after the timing")
    parser.add_argument("--comparisons", action="store_true", help="run them too, after the timing")
    parser.add_argument("--keep", help="the reference folder to make of the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, check=True, capture_output=True, text=True)
        record = {
            "commit": commit.stdout.strip(),
            "machine": machine(),
            "environment_s": timed(clone, "make", "env"),
            "workflow_s": timed(clone, "make", "replicate"),
            "again_s": timed(clone, "make", "replicate"),
            "jobs": jobs(clone),
        }
        if arguments.ablations:
            record["ablations_s"] = timed(clone, "make", "ablations")
        if arguments.comparisons:
            record["comparisons_s"] = timed(clone, "make", "comparisons")
        if arguments.keep:
            folder = str(Path(arguments.keep).resolve())
            timed(clone, ".venv/bin/python", "-m", "tools.reference", "results/mini", "--out", folder)
    Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
