"""The reference of the heal commands, from their classes."""

from __future__ import annotations

import inspect
import sys

from pydantic import BaseModel

from heal.cli import COMMANDS
from heal.command import Command
from heal.describe import format_default, format_type, get_sentence
from tools.docs.markdown import build_table, escape_tags


def build_commands_page() -> str:
    """Every command with its help text and flags."""
    parts = [
        "# Every command\n",
        "`heal COMMAND --help` prints the same. A flag of type *options* is a section of the config: `--config FILE` "
        "(or `$HEAL_CONFIG`) fills it, and `--section.option value` changes one option.\n",
    ]
    for name, entry in COMMANDS.items():
        command = entry.load()
        parts.append(f"## heal {name}\n\n{get_help(command)}\n\n{build_flags_table(command)}")
    return "\n".join(parts)


def get_help(command: type[Command]) -> str:
    """The class's docstring, or its module's."""
    return escape_tags(
        inspect.cleandoc(command.__dict__.get("__doc__") or sys.modules[command.__module__].__doc__ or "")
    )


def build_flags_table(command: type[Command]) -> str:
    rows = []
    for name, field in command.model_fields.items():
        flag = f"`--{name.replace('_', '-')}`"
        default = "required" if field.is_required() else f"`{format_default(field.default)}`"
        is_group = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        kind = f"options ([{field.annotation.__name__}](config.md))" if is_group else format_type(field.annotation)
        if name in command.sections and not is_group:
            kind += ", from the config"
        rows.append([flag, kind, default, get_sentence(field)])
    return build_table(["flag", "type", "default", "meaning"], rows)
