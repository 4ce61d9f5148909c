"""What every command has in common: its --help is its module's docstring, and options are not abbreviated."""

from __future__ import annotations

import argparse


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the description as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
