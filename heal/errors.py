"""The one exception that users see: what was found, where, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

DISK_FULL = (28, 122)  # errno of a full disk and of a full quota


class HealError(Exception):
    """A mistake in the user's input or environment, told without a traceback.

    found: what is wrong, in one sentence. where: file, row, field. cure: what to do.
    """

    def __init__(self, found: str, *, where: str = "", cure: str = "") -> None:
        self.found, self.where, self.cure = found, where, cure
        lines = [f"{where}: {found}" if where else found]
        if cure:
            lines.append(f"  What to do: {cure}")
        super().__init__("\n".join(lines))


def exit_with_errors(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main; a HealError becomes a short message and exit status 2."""
    try:
        sys.exit(main() or 0)
    except HealError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
