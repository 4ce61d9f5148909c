"""The log file of a workflow job: HEAL_LOG names it, and it gets everything that the job's processes print.

No process of a job writes to a pipe of Snakemake's. stdout and stderr are the file itself, for child processes and
for C++ code too. What this process prints in Python goes to the terminal as well, through descriptors that no child
inherits: a child that outlives this process cannot keep the job open.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from heal.errors import HealError

LOG_VARIABLE = "HEAL_LOG"


class LoggedStream(io.RawIOBase):
    """Writes to a log file's descriptor, and to a copy of the terminal's."""

    def __init__(self, log: int, terminal: int) -> None:
        self.log = log
        self.terminal: int | None = terminal
        os.register_at_fork(after_in_child=self.close_terminal)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.log

    def write(self, b: Any, /) -> int:
        content = bytes(b)
        write_all(self.log, content)
        if self.terminal is not None:
            try:
                write_all(self.terminal, content)
            except OSError:  # the reader is gone; the job goes on
                self.close_terminal()
        return len(content)

    def close_terminal(self) -> None:
        """Closes the copy of the terminal's descriptor."""
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None


def write_all(descriptor: int, content: bytes) -> None:
    """Writes every byte; os.write may write fewer than it was given."""
    while content:
        content = content[os.write(descriptor, content) :]


def log_to_file(environment: MutableMapping[str, str]) -> None:
    """Sends stdout and stderr to the file that HEAL_LOG names; does nothing without it.

    Removes HEAL_LOG from the environment: a child process that runs a command must not empty its parent's log.
    Raises HealError where the file cannot be written.
    """
    path = environment.pop(LOG_VARIABLE, None)
    if not path:
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    except OSError as error:
        raise HealError(f"the log file cannot be written: {error}", where=path, fix=f"correct {LOG_VARIABLE}") from None
    sys.stdout.flush()
    sys.stderr.flush()
    terminals = [os.dup(descriptor) for descriptor in (1, 2)]
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    sys.stdout = open_stream(1, terminals[0])
    sys.stderr = open_stream(2, terminals[1])


def open_stream(descriptor: int, terminal: int) -> io.TextIOWrapper:
    """A text stream that writes every line to both at once, so that stdout and stderr stay in order."""
    buffered = io.BufferedWriter(LoggedStream(descriptor, terminal))
    return io.TextIOWrapper(buffered, "utf-8", "backslashreplace", line_buffering=True)
