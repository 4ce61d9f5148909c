"""Where the tests find the repository and their own files."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "tests/files"  # excerpts of public data sets
SMOKE = "tests/configs/smoke.yaml"  # relative, so that it names the same file in a copy of the repository
SHARED_DATA = Path(os.environ.get("HEAL_SHARED_DATA", ROOT.parent / "shared/data"))  # not in the repository
