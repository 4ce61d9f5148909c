"""The jobs of a local run, as forks of one process that has imported the packages: of a small job, imports are most.

The workflow starts the server and names it in HEAL_JOB_SERVER. `python -m heal.job_server COMMAND …`, which stands for
`heal` in every rule, lets it fork the command, in the caller's folder, environment and terminal, and ends with the
command's status. Where no server answers it runs the command itself, so nothing depends on the server. A job ends when
its caller ends, and all end with the workflow. Linux only; not for GPUs, which a fork cannot use.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

ADDRESS_VARIABLE = "HEAL_JOB_SERVER"
MODULES = (
    *("scipy.stats", "pandas", "matplotlib.pyplot", "pyarrow.parquet", "heal.engines.batched_model"),
    *("transformers.models.llama.modeling_llama", "trl", "datasets", "lm_eval.evaluator", "evals.transformers_model"),
    *("heal.training.training", "evals.tables.comparison", "evals.figures.accuracy"),
)
"""What most jobs import."""
VLLM_MODULES = ("evals.vllm_model", "vllm.entrypoints.llm")
FORK = multiprocessing.get_context("fork")
LENGTH = struct.Struct("!I")
STREAMS = (0, 1, 2)


@dataclass
class Job:
    """What a caller asks for: a command, and what it inherits from the caller."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    streams: list[int]
    """Descriptors of its stdin, stdout and stderr."""

    def enter(self, imported: dict[str, str]) -> None:
        """Makes this process the job's. imported: variables that imported packages have set."""
        for stream, descriptor in zip(STREAMS, self.streams, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment | imported)
        sys.argv[1:] = self.arguments


def end_with_parent() -> None:
    """From now on, the kernel kills this process when the one that started it ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def import_modules(with_vllm: bool) -> dict[str, str]:
    """Imports what jobs need, as they would import it themselves. Returns the environment variables that this set."""
    from heal.engines.vllm_start import set_variables
    from heal.skip_sklearn import skip_sklearn

    before = dict(os.environ)
    skip_sklearn()
    set_variables()
    for name in (*MODULES, *(VLLM_MODULES if with_vllm else ())):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the forks' collections need not visit it
    return dict(os.environ.items() - before.items())


class Server:
    """Forks a process per caller, and tells the caller its status. address: of an abstract Unix socket.

    imported: variables that every job gets.
    """

    def __init__(self, address: str, imported: dict[str, str]) -> None:
        self.imported = imported
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"\0{address}")
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)

    def serve(self) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the callers too, and ends their jobs
        while True:
            for key, _ in self.selector.select():
                key.data()

    def accept(self) -> None:
        """Forks for a new caller."""
        caller, _ = self.listener.accept()
        _, user, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        job = receive_job(caller) if user == os.getuid() else None
        if job is None:
            caller.close()
            return
        process = FORK.Process(target=self.run_job, args=(job,))
        process.start()
        for descriptor in job.streams:
            os.close(descriptor)
        self.selector.register(caller, selectors.EVENT_READ, process.kill)  # it says nothing more: it has ended
        self.selector.register(process.sentinel, selectors.EVENT_READ, partial(self.report, process, caller))

    def run_job(self, job: Job) -> None:
        """In the fork."""
        end_with_parent()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.selector.close()
        self.listener.close()
        job.enter(self.imported)
        from heal.cli import run

        run()

    def report(self, process: BaseProcess, caller: socket.socket) -> None:
        """Tells the caller that its job has ended."""
        process.join()
        self.selector.unregister(process.sentinel)
        self.selector.unregister(caller)
        with suppress(OSError):  # it has ended as well
            caller.send(str(process.exitcode).encode())
        caller.close()


def receive_job(caller: socket.socket) -> Job | None:
    """What a caller asks for; None where it ends before it has asked."""
    header, streams, _, _ = socket.recv_fds(caller, LENGTH.size, len(STREAMS))
    if len(header) < LENGTH.size:
        return None
    content = caller.recv(LENGTH.unpack(header)[0], socket.MSG_WAITALL)
    return Job(**json.loads(content), streams=streams)


def send_job(server: socket.socket, arguments: list[str]) -> None:
    """Asks for a command, with this process's folder, environment and streams."""
    content = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    socket.send_fds(server, [LENGTH.pack(len(content))], STREAMS)
    server.sendall(content)


def call() -> NoReturn:
    """The caller: its command in a fork of the server, or in place of this process where no server takes it."""
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(f"\0{os.environ.get(ADDRESS_VARIABLE, '')}")
        send_job(server, sys.argv[1:])
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", "heal", *sys.argv[1:]])
    status = server.recv(16)
    if not status:
        sys.exit("error: the job server has ended\n  Fix: start the workflow again; it goes on where it stopped")
    sys.exit(int(status) if int(status) >= 0 else 128 - int(status))  # as a shell reports a signal


def main() -> None:
    if sys.argv[1:2] != ["--serve"]:
        call()
    end_with_parent()
    address, with_vllm = sys.argv[2], sys.argv[3:] == ["vllm"]
    Server(address, import_modules(with_vllm)).serve()


if __name__ == "__main__":
    main()
