"""The command reference: every command is in it, explains itself and shows how it is called."""

from __future__ import annotations

import re

import pytest

from heal.cli import COMMANDS
from tools.docs.commands import build_commands_page, build_flags_table, get_help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    command = COMMANDS[name].load()
    assert re.search(rf"\bheal {name}\b", get_help(command)), f"heal {name}: its help has no example"
    for field_name, field in command.model_fields.items():
        assert (field.description or "").strip(), f"heal {name}, field {field_name}: no description"


def test_the_page_has_every_command_with_its_flags():
    page = build_commands_page()
    assert re.findall(r"^## heal (.*)$", page, re.MULTILINE) == list(COMMANDS)
    for entry in COMMANDS.values():
        command = entry.load()
        table = build_flags_table(command)
        assert table in page
        for field_name in command.model_fields:
            assert f"`--{field_name.replace('_', '-')}`" in table
