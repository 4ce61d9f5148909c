"""The config reference is complete and up to date."""

from __future__ import annotations

from heal import registry
from heal.config import experiment as config
from tests.support.paths import ROOT
from tools.docs import config as config_docs


def test_schema_and_documentation_are_up_to_date():
    fix = "run: python -m tools.docs.config"
    assert (ROOT / config_docs.SCHEMA).read_text() == config_docs.schema(), fix
    assert (ROOT / config_docs.DOCUMENTATION).read_text() == config_docs.documentation(), fix
    page = (ROOT / config_docs.METHODS).read_text()
    assert page == config_docs.methods(page, registry.discover()), fix


def test_every_field_is_documented():
    for group in [config.Experiment, *config_docs.option_groups(config.Experiment)]:
        for name, field in group.model_fields.items():
            assert field.description and field.description.strip().endswith("."), f"{group.__name__}.{name}"
