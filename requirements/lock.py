"""Resolve requirements/*.in in a fresh environment and write the exact locks: cpu.txt, test.txt, environment.yml.

make lock
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
OWN = ("heal-suite",)


def freeze(python: Path) -> list[str]:
    """Installed packages as exact pins; a local build tag (torch's +cpu) is not part of the pin."""
    lines = subprocess.run(
        [python, "-m", "pip", "freeze", "--all"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    pins = [re.sub(r"\+\w+$", "", line) for line in lines if re.fullmatch(r"[\w.\-]+==[\w.\-+!]+", line)]
    return sorted((pin for pin in pins if not pin.startswith(("pip==", *OWN))), key=str.lower)


def environment(pins: list[str]) -> str:
    """The conda file with the same pins."""
    listed = "\n".join(f"      - {pin}" for pin in pins)
    return (
        "# The same pins as requirements/cpu.txt (make lock writes both), for conda users:\n"
        "#   conda env create -f environment.yml && conda activate heal && pip install --no-deps -e .\n"
        f"name: heal\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n{listed}\n"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        install = [python, "-m", "pip", "install", "--quiet", "-r"]
        subprocess.run([*install, HERE / "cpu.in"], check=True)
        runtime = freeze(python)
        subprocess.run([*install, HERE / "test.in"], check=True)
        extra = [pin for pin in freeze(python) if pin not in runtime]
    note = "# Exact lock, written by `make lock` from {}.in.\n"
    (HERE / "cpu.txt").write_text(note.format("cpu") + "\n".join(runtime) + "\n")
    (HERE / "test.txt").write_text(note.format("test") + "\n".join(extra) + "\n")
    (HERE.parent / "environment.yml").write_text(environment(runtime))


if __name__ == "__main__":
    main()
