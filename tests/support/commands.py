"""Runs a command in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest


def run_main(monkeypatch: pytest.MonkeyPatch, main: Callable[[], Any], *arguments: Any) -> None:
    """Runs a command's main() as if it had been called with these arguments."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    main()
