"""A job's log file: every process writes to it, and no child process holds the pipe of the caller."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.paths import ROOT

PARENT = """
import multiprocessing, os, subprocess, sys, time
from heal.log_file import log_to_file
log_to_file(os.environ)
print("from the parent")
print("an error line", file=sys.stderr)
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
os.write(1, b"from C++\\n")
"""


def start(script: str, log, **options) -> subprocess.Popen:
    """A process that runs a script with HEAL_LOG set, its output on a pipe of ours."""
    environment = os.environ | {"HEAL_LOG": str(log)}
    command = [sys.executable, "-c", script]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def test_the_log_has_every_process_and_the_terminal_this_one(tmp_path):
    log = tmp_path / "new" / "job.log"
    terminal, _ = start(PARENT, log).communicate(timeout=60)
    assert log.read_text() == "from the parent\nan error line\nfrom a child\nfrom C++\n"
    assert terminal == "from the parent\nan error line\n"


def test_a_log_holds_one_run(tmp_path):
    log = tmp_path / "job.log"
    log.write_text("an earlier run\n")
    start(PARENT, log).communicate(timeout=60)
    assert "earlier" not in log.read_text()


@pytest.mark.parametrize("method", ["spawn", "fork", "popen"])
def test_a_child_that_outlives_a_killed_parent_holds_no_pipe_of_the_caller(method, tmp_path):
    begin = {
        "popen": "subprocess.Popen(['sleep', '30'])",
        "fork": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(30,)).start()",
        "spawn": "multiprocessing.get_context('spawn').Process(target=time.sleep, args=(30,)).start()",
    }[method]
    script = f"{PARENT}\n{begin}\nos.kill(os.getpid(), {signal.SIGKILL})\n"
    job = start(script, tmp_path / "job.log", start_new_session=True)
    begun = time.monotonic()
    try:
        job.communicate(timeout=20)
        assert time.monotonic() - begun < 20
        assert job.returncode == -signal.SIGKILL
        os.killpg(job.pid, 0)  # the child is still there
    finally:
        os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.parametrize(("arguments", "message"), [(["smaple"], "no command 'smaple'"), (["grade"], "--problems")])
def test_an_error_and_its_exit_status_reach_log_and_terminal(arguments, message, tmp_path):
    log = tmp_path / "job.log"
    result = subprocess.run(
        [sys.executable, "-m", "heal", *arguments],
        cwd=ROOT,
        env=os.environ | {"HEAL_LOG": str(log)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert message in log.read_text()
    assert message in result.stderr


def test_a_traceback_reaches_log_and_terminal(tmp_path):
    log = tmp_path / "job.log"
    job = start(f"{PARENT}\nraise ValueError('a defect')\n", log)
    terminal, _ = job.communicate(timeout=60)
    assert job.returncode == 1
    assert "ValueError: a defect" in log.read_text()
    assert "ValueError: a defect" in terminal


def test_a_job_goes_on_when_its_terminal_is_gone(tmp_path):
    log = tmp_path / "job.log"
    job = start(f"{PARENT}\nsys.stdin.readline()\nprint('still here')\n", log, stdin=subprocess.PIPE)
    job.stdout.close()
    job.stdin.write("\n")
    job.stdin.close()
    assert job.wait(timeout=60) == 0
    assert log.read_text().endswith("still here\n")


def test_a_log_that_cannot_be_written_is_an_error_with_a_fix(tmp_path):
    (tmp_path / "file").write_text("")
    result = subprocess.run(
        [sys.executable, "-m", "heal", "methods"],
        cwd=ROOT,
        env=os.environ | {"HEAL_LOG": str(tmp_path / "file" / "job.log")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "correct HEAL_LOG" in result.stderr
