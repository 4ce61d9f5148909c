"""The config reference: every option is in it with a sentence, and the schema accepts what the loader accepts."""

from __future__ import annotations

import json

import pytest

from heal.describe import list_groups, list_world_groups
from heal.method.detectors import list_detectors
from tools.docs.config import build_options_page, build_schema


@pytest.mark.parametrize("group", [*list_groups(), *list_world_groups()], ids=lambda group: group.__name__)
def test_every_option_is_on_the_page_with_a_sentence(group):
    section = build_options_page().partition(f"## {group.__name__}\n")[2].partition("\n## ")[0]
    for name, field in group.model_fields.items():
        assert f"| `{name}` |" in section, name
        assert field.description and field.description.strip().endswith("."), name


def test_the_schema_lists_the_detectors_that_are_found():
    schema = json.loads(build_schema())
    assert schema["$defs"]["Gear"]["properties"]["detector"]["enum"] == list_detectors()
    assert set(schema["required"]) <= set(schema["properties"])
