"""How vLLM is started: one fixed path for students in turn, spawned processes, and time to compile."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heal.engines import reaper, vllm_start
from tests.support.base_model import save_base_model
from tests.support.paths import ROOT

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
LINK = "from pathlib import Path; from heal.engines.vllm_start import link_model; print(link_model({!r}, Path({!r})))"


def run_link(model: Path, folder: Path) -> str:
    """The link that a process of its own serves a model from."""
    command = [sys.executable, "-c", LINK.format(str(model), str(folder))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def compute_hash(model: str) -> str:
    """What vLLM files a compiled model under."""
    from vllm.engine.arg_utils import EngineArgs

    arguments = EngineArgs(model=model, dtype="float32", load_format="safetensors")
    return arguments.create_engine_config().compute_hash()


def test_students_in_turn_are_served_from_one_path(tmp_path: Path) -> None:
    links = []
    for name in ("one", "two"):
        student = tmp_path / name
        student.mkdir()
        links.append(run_link(student, tmp_path))
        assert Path(links[-1]).resolve() == student
    assert links[0] == links[1]


def test_models_at_the_same_time_have_paths_of_their_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    held = vllm_start.link_model(str(tmp_path / "one"), tmp_path)
    other = run_link(tmp_path / "two", tmp_path)
    assert held != other and Path(held).resolve() == tmp_path / "one"
    assert vllm_start.link_model("owner/name", tmp_path) == "owner/name"


@pytest.mark.workflow
@needs_vllm
def test_what_vllm_compiled_for_one_student_serves_the_next(tmp_path: Path) -> None:
    hashes, own_hashes = [], []
    for name in ("one", "two"):
        student = tmp_path / name
        save_base_model(student)
        hashes.append(compute_hash(run_link(student, tmp_path)))
        own_hashes.append(compute_hash(str(student)))
    assert hashes[0] == hashes[1]
    assert own_hashes[0] != own_hashes[1]


def test_preparing_sets_what_children_need(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = []
    monkeypatch.setattr(reaper, "guard_children", lambda: guarded.append(True))
    for name in ("VLLM_WORKER_MULTIPROC_METHOD", "VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_USE_FLASHINFER_SAMPLER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    options = vllm_start.prepare_vllm(2, 64, 4096, 0.9)
    assert guarded == [True] and os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert int(os.environ["VLLM_ENGINE_READY_TIMEOUT_S"]) > 600
    assert (options["tensor_parallel_size"], options["max_model_len"], options["enforce_eager"]) == (2, 4096, False)
    monkeypatch.setenv("VLLM_ENGINE_READY_TIMEOUT_S", "99")
    vllm_start.prepare_vllm(2, 64, 4096, 0.9)
    assert os.environ["VLLM_ENGINE_READY_TIMEOUT_S"] == "99", "what the user set stays"


@needs_vllm
def test_the_version_of_vllm_is_found_whatever_its_distribution_is_called() -> None:
    find_version = importlib.metadata.version
    with vllm_start.name_vllm_distribution():
        assert importlib.metadata.version("vllm").startswith("0.")
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version("no-such-distribution")
    assert importlib.metadata.version is find_version
