"""End the children of this process when it dies, in whatever way: vLLM's processes outlive a killed parent.

A small process of its own session waits at a pipe whose other end only this process holds. When the pipe closes, it
kills every process whose environment has this process's marker: the children that were started after `guard_children`,
and theirs. They need not cooperate, and may have changed their parent, process group or session.

This file is also that process's program. It imports nothing of the project.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

MARKER_VARIABLE = "HEAL_OWNER"
GRACE_S = 3.0
"""Seconds in which multiprocessing's resource trackers may remove what the dead processes left in shared memory."""
LIMIT_S = 30.0
"""Seconds after which the search for processes ends."""
_guards: list[subprocess.Popen[bytes]] = []  # the process that waits, held until this process ends


def guard_children() -> None:
    """From now on, processes that this one starts end with it. Forked children that never call exec are not found."""
    if _guards:
        return
    marker = f"{os.getpid()}-{secrets.token_hex(8)}"
    reader, writer = os.pipe()
    # vLLM's processes change their titles; without this variable, setproctitle writes them over the environment.
    os.environ |= {MARKER_VARIABLE: marker, "SPT_NOENV": "1"}
    _guards.append(
        subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(reader), marker],
            pass_fds=(reader,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={},
        )
    )
    os.close(reader)
    # A forked child's copy of the pipe would keep it open.
    os.register_at_fork(after_in_child=partial(os.close, writer))


def find_marked(marker: str) -> dict[int, bool]:
    """Process id → whether it is a resource tracker, of the living processes that have the marker."""
    entry = f"{MARKER_VARIABLE}={marker}".encode()
    marked = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError):  # it has ended, or belongs to another user
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read().split(b"\0")
            if entry in environment:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    marked[int(name)] = b"resource_tracker" in file.read()
    return marked


def end_marked(marker: str) -> None:
    """Kills the processes that have the marker, until none is left or LIMIT_S is over."""
    began = time.monotonic()
    quiet = 0
    while quiet < 3 and time.monotonic() - began < LIMIT_S:  # a process may be between fork and exec
        marked = find_marked(marker)
        for process, is_tracker in marked.items():
            if not is_tracker or time.monotonic() - began > GRACE_S:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        quiet = 0 if marked else quiet + 1
        time.sleep(0.1)


def main() -> None:
    """Waits until the pipe closes, then ends the processes that have the marker."""
    os.read(int(sys.argv[1]), 1)
    end_marked(sys.argv[2])


if __name__ == "__main__":
    main()
