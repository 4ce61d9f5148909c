"""Print the completion of `heal` for a shell: commands, flags, and files as their values.

heal completion bash > ~/.local/share/bash-completion/completions/heal
heal completion zsh > ~/.zfunc/_heal            # a folder of zsh's fpath
"""

from __future__ import annotations

import argparse
from typing import Literal

from pydantic_settings import CliPositionalArg

from heal.cli import COMMANDS
from heal.command import Command, list_flags


class Completion(Command):
    shell: CliPositionalArg[Literal["bash", "zsh", "tcsh"]]
    """The shell to print it for."""

    def run(self) -> None:
        import shtab

        print(shtab.complete(build_parser(), shell=self.shell))


def build_parser() -> argparse.ArgumentParser:
    """A parser that knows every command with its flags, and parses nothing: shtab reads it."""
    parser = argparse.ArgumentParser(prog="heal", description="HEAL replication suite")
    parser.add_argument("--version", action="store_true", help="version, commit and packages")
    subparsers = {"": parser.add_subparsers()}
    for name, entry in COMMANDS.items():
        group, _, word = name.rpartition(" ")
        if group not in subparsers:
            subparsers[group] = subparsers[""].add_parser(group, help=f"{group} …").add_subparsers()
        add_flags(subparsers[group].add_parser(word, help=entry.summary), entry.load())
    return parser


def add_flags(parser: argparse.ArgumentParser, command: type[Command]) -> None:
    """The flags of a command, and what it takes without one, both completed by files."""
    import shtab

    for flag in list_flags(command):
        parser.add_argument(flag).complete = shtab.FILE  # type: ignore[attr-defined]
    parser.add_argument("arguments", nargs="*").complete = shtab.FILE  # type: ignore[attr-defined]
