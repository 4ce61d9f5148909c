"""The one exception that users see: what was found, where, and what to do about it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

DISK_FULL = (28, 122)  # errno of a full disk and of a full quota


class HealError(Exception):
    """A mistake in the user's input or environment, told without a traceback.

    problem: what is wrong, in one sentence. where: file, row, field. fix: what the user does about it.
    """

    def __init__(self, problem: str, *, where: str = "", fix: str = "") -> None:
        self.problem = problem
        self.where = where
        self.fix = fix
        lines = [f"{where}: {problem}" if where else problem]
        if fix:
            lines.append(f"  Fix: {fix}")
        super().__init__("\n".join(lines))


def suggest(name: object, known: Iterable[str]) -> str:
    """The nearest known name as a question, or all known names: the fix for an unknown one."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names)) or 'none'}"


def exit_with_errors(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main; a HealError becomes a short message and exit status 2."""
    try:
        sys.exit(main() or 0)
    except HealError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
