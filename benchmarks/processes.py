"""Processes of a run that is killed: which of them live, and for how long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

VARIABLE = "HEAL_KILLED_RUN"
"""Environment variable that marks the processes of a run: a child inherits it, in whatever group or session it is."""
LIMIT_S = 10.0
"""Seconds after which no process of a killed run may live."""


def list_living(session: int, marker: str) -> list[int]:
    """Living processes of a session, and those that inherited the marker."""
    entry = f"{VARIABLE}={marker}".encode()
    living = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            if stat[0] != "Z" and (int(stat[3]) == session or entry in environment):
                living.append(int(name))
    return living


def wait_until_gone(is_gone: Callable[[], bool]) -> float:
    """Seconds until it holds; LIMIT_S at most."""
    began = time.monotonic()
    while time.monotonic() - began < LIMIT_S and not is_gone():
        time.sleep(0.05)
    return time.monotonic() - began
