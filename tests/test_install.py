"""The GPU lock installs where there is a GPU: it resolves against torch's CUDA build, without local pip settings.

uv resolves from the packages' metadata alone; `pip install --dry-run -r requirements/gpu.txt` gives the same verdict,
but downloads the wheels from an index that serves no metadata files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from heal.planning.preflight.machine import MINIMUM_DRIVERS
from tests.support.paths import ROOT

LOCK = ROOT / "requirements/gpu.txt"
INDEX = "https://pypi.org/simple/"
PLATFORM = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]


def read_pins(path: Path) -> dict[str, str]:
    """Package → version, of a lock."""
    pins = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[re.sub(r"[-_.]+", "-", name).lower()] = version
    return pins


def find_uv() -> str:
    """uv of the test environment; skips where it or the package index is missing."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed: make test-env")
    try:
        urllib.request.urlopen(urllib.request.Request(f"{INDEX}pip/", method="HEAD"), timeout=20)
    except OSError:
        pytest.skip("no package index can be reached")
    return uv


def resolve(lock: Path) -> subprocess.CompletedProcess[str]:
    """Resolves a lock as on a user's machine: no folder of wheels, no settings file, no other index."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ}
    environment = kept | {"PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "UV_SYSTEM_CERTS": "1"}
    command = [find_uv(), "pip", "compile", "--no-config", "--no-header", "--no-annotate", *PLATFORM, "--python"]
    command += [sys.executable, "--index-url", INDEX, str(lock)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.workflow
def test_the_gpu_lock_resolves_on_a_users_machine_and_is_complete(tmp_path):
    run = resolve(LOCK)
    assert run.returncode == 0, run.stderr
    resolved = tmp_path / "resolved.txt"
    resolved.write_text(run.stdout)
    assert read_pins(resolved) == read_pins(LOCK)


@pytest.mark.workflow
def test_a_lock_of_a_torch_without_cuda_is_refused(tmp_path):
    """The pins of CUDA libraries that a CPU build of torch leaves free."""
    wrong = tmp_path / "gpu.txt"
    wrong.write_text(re.sub(r"^triton==.*$", "triton==3.6.0", LOCK.read_text(), flags=re.MULTILINE))
    run = resolve(wrong)
    assert run.returncode and "triton" in run.stderr, run.stderr


def test_the_gpu_lock_has_the_cuda_libraries_and_the_pins_of_the_cpu_lock():
    gpu, cpu = read_pins(LOCK), read_pins(ROOT / "requirements/cpu.txt")
    for package in ("cuda-toolkit", "nvidia-cuda-runtime", "nvidia-cublas", "nvidia-nccl-cu13", "triton", "vllm"):
        assert package in gpu, package
    assert {name: gpu.get(name) for name in cpu} == cpu


def test_docs_and_check_name_the_driver_of_the_locks_cuda():
    major = int(read_pins(LOCK)["nvidia-cuda-runtime"].partition(".")[0])
    driver = MINIMUM_DRIVERS[major]
    for page in ("README.md", "docs/one-gpu.md"):
        assert f"driver {driver}" in (ROOT / page).read_text(), page
    assert f"driver {driver}" in LOCK.read_text().splitlines()[1]


def test_nothing_claims_that_the_container_was_built():
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert not catalog["usage"]["software-stack-deployment"]["apptainer"]
    recipe = (ROOT / "containers/heal.def").read_text()
    assert recipe.startswith("# NEVER BUILT") and re.search(r"^From: python@sha256:[0-9a-f]{64}$", recipe, re.MULTILINE)
    assert "requirements/gpu.txt" in recipe
