"""The command reference is up to date, and every command explains itself."""

import re

import pytest

from tools.docs import commands as reference


def test_what_is_made_from_the_code_is_up_to_date():
    fix = "run: python -m tools.docs.commands"
    assert reference.COMMANDS.read_text(encoding="utf-8") == reference.commands(), fix
    page = reference.FIDELITY.read_text(encoding="utf-8")
    assert page == reference.fidelity(page), fix


@pytest.mark.parametrize("module", reference.modules())
def test_every_command_explains_itself(module):
    parser = reference.parser_of(module)
    assert re.search(r"\b(reads?|writes?)\b", parser.description, re.IGNORECASE), "what does it read and write?"
    if not module.startswith("heal.cli"):
        assert reference.called(module) in parser.description, "an example"
    for name, part in reference.with_parts(module, parser):
        assert (part.description or "").strip(), name
        for action in reference.options(part):
            assert (action.help or "").strip(), f"{name} {action.dest}: no help"
