"""The job server: a job is the command itself, ends with its caller and with the server, and needs neither."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from heal.job_server import ADDRESS_VARIABLE
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server needs Linux")
# Without the packages that jobs import, which take it seconds.
SERVE = "from heal import job_server; job_server.MODULES = (); job_server.main()"
CALL = "from heal import job_server; job_server.main()"


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A server with its address as `args[-1]`."""
    command = [sys.executable, "-c", SERVE, "--serve", f"heal-test-{secrets.token_hex(8)}"]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_until(lambda: f"@{process.args[-1]}" in Path("/proc/net/unix").read_text())  # its abstract socket
    yield process
    process.kill()
    process.wait()


def call(server: subprocess.Popen[bytes] | None, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """A caller of the server, or of none. variables: of its environment; `PWD` is its folder too."""
    environment = os.environ | ({ADDRESS_VARIABLE: server.args[-1]} if server else {}) | variables
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {CALL}", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=variables.get("PWD", ROOT), **pipes)


def is_alive(process: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def list_jobs(server: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of the server's forks."""
    return [int(name) for name in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def endless(server, tmp_path) -> tuple[subprocess.Popen[bytes], int]:
    """A caller whose job waits for a config that nobody writes, and the job's process."""
    os.mkfifo(tmp_path / "config.yaml")
    caller = call(server, "options", "--config", str(tmp_path / "config.yaml"))
    wait_until(lambda: list_jobs(server))
    return caller, list_jobs(server)[0]


@pytest.mark.parametrize("arguments", [("methods",), ("options", "--config", "config/config.yaml"), ("nothing",), ()])
def test_a_job_is_the_command_itself(server, arguments):
    plain = subprocess.run([sys.executable, "-m", "heal", *arguments], cwd=ROOT, capture_output=True)
    for caller in (call(server, *arguments), call(None, *arguments)):
        output = caller.communicate()
        assert (caller.returncode, *output) == (plain.returncode, plain.stdout, plain.stderr)


def test_a_job_has_its_caller_s_folder_and_environment(server, tmp_path):
    (tmp_path / "mine.yaml").write_text("run: mine\n")
    caller = call(server, "check", "--config", "mine.yaml", PWD=str(tmp_path))
    assert b"mine.yaml" in caller.communicate()[1] and caller.returncode == 2
    log = tmp_path / "job.log"
    assert call(server, "nothing", HEAL_LOG=str(log)).communicate()[1].decode() == log.read_text() != ""


def test_a_caller_without_an_input_runs_its_command_itself(server):
    command = f"exec 0<&-; exec {sys.executable} -m heal.job_server nothing"
    environment = os.environ | {ADDRESS_VARIABLE: server.args[-1]}
    caller = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environment, capture_output=True)
    assert caller.returncode == 2 and b"no command 'nothing'" in caller.stderr


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_job_ends_with_its_caller(server, endless, ended):
    caller, job = endless
    caller.send_signal(ended)
    wait_until(lambda: not is_alive(job), seconds=10)
    assert call(server, "methods").wait() == 0


def test_a_caller_is_told_how_its_job_ended(endless):
    caller, job = endless
    os.kill(job, signal.SIGKILL)
    assert caller.wait(10) == 128 + signal.SIGKILL


def test_jobs_end_with_the_server_and_their_callers_are_told(server, endless):
    caller, job = endless
    server.kill()
    server.wait()
    wait_until(lambda: not is_alive(job), seconds=10)
    assert b"start the workflow again" in caller.communicate()[1] and caller.returncode == 1


def test_the_server_ends_with_the_process_that_started_it():
    serve = [sys.executable, "-c", SERVE, "--serve", f"heal-test-{secrets.token_hex(8)}"]
    start = f"import subprocess, time; print(subprocess.Popen({serve!r}).pid, flush=True); time.sleep(600)"
    starter = subprocess.Popen([sys.executable, "-c", start], cwd=ROOT, stdout=subprocess.PIPE)
    server = int(starter.stdout.readline())
    wait_until(lambda: f"@{serve[-1]}" in Path("/proc/net/unix").read_text())
    starter.kill()
    wait_until(lambda: not is_alive(server), seconds=10)
    starter.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_s_call_is_refused(server):
    process = os.fork()
    if process == 0:
        received = 1
        try:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(f"\0{server.args[-1]}")
                received = len(other.recv(1))
        finally:  # no other test runs in the fork
            os._exit(received)
    assert os.waitpid(process, 0)[1] == 0 and not list_jobs(server)
