"""How far a long command is, on stderr."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line per batch on stderr: items done, tokens per second, seconds to go."""

    def __init__(self, total: int, label: str) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self.worked = 0
        self.tokens = 0
        self.began = time.monotonic()

    def skip(self, count: int) -> None:
        """Counts items that an earlier attempt finished."""
        self.done += count
        self.print_line("resumed from an earlier attempt")

    def add(self, count: int, tokens: int = 0) -> None:
        """Counts items that were just finished, and their tokens."""
        self.done += count
        self.worked += count
        self.tokens += tokens
        seconds = max(time.monotonic() - self.began, 1e-9)
        left = (self.total - self.done) * seconds / self.worked
        self.print_line(f"{self.tokens / seconds / 1000:.1f} k tokens/s, {left:.0f} s to go")

    def print_line(self, text: str) -> None:
        print(f"{self.label}: {self.done}/{self.total}, {text}", file=sys.stderr, flush=True)
