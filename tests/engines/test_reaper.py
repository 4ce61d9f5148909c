"""No process outlives a `heal` process that is killed, and none keeps its GPU."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heal.engines import reaper
from tests.support.paths import ROOT

LIMIT_S = 10.0
PARENT = """
import os, subprocess, sys, time
from heal.engines import gpu_lease, reaper
gpu_lease.lease(1)
reaper.guard_children()
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
print(os.environ[reaper.MARKER_VARIABLE], flush=True)
{end}
"""
GRANDCHILD = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"


def wait_until_ended(marker: str, limit_s: float = LIMIT_S) -> float:
    """Seconds until no process has the marker; fails after the limit."""
    began = time.monotonic()
    while reaper.find_marked(marker):
        assert time.monotonic() - began < limit_s, reaper.find_marked(marker)
        time.sleep(0.05)
    return time.monotonic() - began


def start_parent(end: str, tmp_path: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that leases a GPU and has a child and a grandchild in sessions of their own, and its marker."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": f"made-up-{tmp_path.name}"}
    script = PARENT.format(child=GRANDCHILD, end=end)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    marker = parent.stdout.readline().strip()
    began = time.monotonic()
    while len(reaper.find_marked(marker)) < 2:
        assert time.monotonic() - began < LIMIT_S
        time.sleep(0.05)
    return parent, marker


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_and_their_children_end_with_a_killed_process(number: int, tmp_path: Path) -> None:
    parent, marker = start_parent("time.sleep(600)", tmp_path)
    parent.send_signal(number)
    parent.wait()
    wait_until_ended(marker)


def test_children_end_with_a_process_that_ends_by_itself(tmp_path: Path) -> None:
    parent, marker = start_parent("time.sleep(3)", tmp_path)
    assert parent.wait(60) == 0
    wait_until_ended(marker)


def test_a_forked_child_does_not_keep_the_others_alive(tmp_path: Path) -> None:
    parent, marker = start_parent("os.fork() or time.sleep(20); time.sleep(600)", tmp_path)
    parent.kill()
    parent.wait()
    assert wait_until_ended(marker) < LIMIT_S


def test_the_lease_of_a_killed_process_is_free(tmp_path: Path) -> None:
    from heal.engines import gpu_lease

    parent, marker = start_parent("time.sleep(600)", tmp_path)
    folder, gpu = gpu_lease.make_lock_folder(), f"made-up-{tmp_path.name}"
    assert not gpu_lease.is_free(gpu, folder)
    parent.kill()
    parent.wait()
    wait_until_ended(marker)
    assert gpu_lease.is_free(gpu, folder)


def test_processes_of_others_are_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"], env=os.environ | {reaper.MARKER_VARIABLE: "another"})
    try:
        parent, marker = start_parent("time.sleep(600)", tmp_path)
        parent.kill()
        parent.wait()
        wait_until_ended(marker)
        assert other.poll() is None
    finally:
        other.kill()


@pytest.mark.workflow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_answers_from_a_process_of_its_own_that_ends_with_a_killed_one(tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "from heal.engines.base import Request, Sampling\n"
        "from heal.engines.vllm import VllmEngine\n"
        "if __name__ == '__main__':\n"
        "    engine = VllmEngine('heal/worlds/mini/models/teacher', dtype='float32', gpus=0, max_num_seqs=8)\n"
        "    engine.generate([Request((5, 6), (0, 1))], Sampling(max_new_tokens=2))\n"
        "    print(os.environ['HEAL_OWNER'], flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = tmp_path / "start.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(path)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    marker = ""
    while not marker.startswith(f"{parent.pid}-"):
        assert parent.poll() is None
        marker = parent.stdout.readline().strip()
    assert any(not is_tracker for is_tracker in reaper.find_marked(marker).values())
    parent.kill()
    parent.wait()
    wait_until_ended(marker)
