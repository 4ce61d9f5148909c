"""VERSION of every module that a rule runs, read from its source: raising it is the author's decision to rerun.

Each of these modules has a line `VERSION = 1`. The workflow passes it to Snakemake as a rule parameter, so a comment
reruns nothing and a raised VERSION reruns the rule and what follows. workflow/stage_hashes.json records, per command,
the version and what it wrote on the smoke config (tools.stage_hashes); a VERSION below the recorded one is an error.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from heal.errors import HealError

ROOT = Path(__file__).parent.parent
RECORD = Path("workflow/stage_hashes.json")
VERSION_LINE = re.compile(r"^VERSION = (\d+)$", re.MULTILINE)


def find_source(module: str, root: Path = ROOT) -> Path:
    """The file of a module: heal.pipeline.grade → heal/pipeline/grade.py."""
    return root.joinpath(*module.split(".")).with_suffix(".py")


@cache
def read_version(module: str, root: Path = ROOT) -> int:
    """VERSION of a module, without importing it. Raises HealError where it has none."""
    source = find_source(module, root)
    match = VERSION_LINE.search(source.read_text(encoding="utf-8"))
    if match is None:
        raise HealError("no line `VERSION = 1`", where=str(source), fix="add it: every module that a rule runs has one")
    return int(match[1])


def check_versions(modules: dict[str, str], root: Path = ROOT) -> None:
    """Raises HealError for a VERSION below the recorded one. modules: command → module."""
    record = root / RECORD
    if not record.exists():
        return
    for command, recorded in json.loads(record.read_text(encoding="utf-8"))["stages"].items():
        version = read_version(modules[command], root)
        if version < recorded["version"]:
            raise HealError(
                f"VERSION is {version}, below the recorded {recorded['version']}",
                where=str(find_source(modules[command], root).relative_to(root)),
                fix=f"set VERSION to at least {recorded['version']}: results of that version would count as current",
            )
