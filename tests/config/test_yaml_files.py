"""YAML of configs: numbers are what they look like, what is written is read back, mistakes are told with the line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from heal.config.yaml_files import dump_yaml, read_texts, read_yaml
from heal.errors import HealError


def read(tmp_path: Path, text: str) -> dict:
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-3", 0.002),
        ("2.0e-3", 0.002),
        ("1E6", 1e6),
        ("-.5", -0.5),
        ("010", 10),
        ("1_000", 1000),
        ("0x1f", 31),
        ("1:30", "1:30"),
        ("'2e-3'", "2e-3"),
        (".inf", math.inf),
        ("7", 7),
        ("v1.0", "v1.0"),
        ("no", False),
    ],
)
def test_numbers_are_what_they_look_like(tmp_path: Path, text: str, value: object) -> None:
    found = read(tmp_path, f"a: {text}")["a"]
    assert found == value and type(found) is type(value)


VALUES = ["2e-3", "010", "1:30", "no", "0x1f", "1_000", "a: b", 2e-3, 1e-5, 1e22, 10, True, None, "1234e567"]


def test_what_is_written_is_read_back_by_every_reader(tmp_path: Path) -> None:
    text = dump_yaml({"values": VALUES, "{question}": "{answer}"})
    assert read(tmp_path, text)["values"] == yaml.safe_load(text)["values"] == VALUES


def test_texts_of_the_command_line_are_read_as_in_a_file() -> None:
    given = {"train": {"max_steps": "5", "learning_rate": "2e-3"}, "run": "a", "guided": {"template": "{question}"}}
    read = {"train": {"max_steps": 5, "learning_rate": 0.002}, "run": "a", "guided": {"template": "{question}"}}
    assert read_texts(given) == read


def test_a_merged_mapping_gives_way_to_the_keys_beside_it(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: {<<: [*a, {z: 4}]}\n"
    assert read(tmp_path, text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2, "z": 4}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("guided:\n  template: {{question}}\n", "line 2: a key in braces"),
        ("a: 1\n[b, c]: 2\n", "line 2: a key in braces or brackets"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("b: 1\na: 1\nb: 2\n", r"'b' stands twice \(lines 1 and 3\)"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HealError, match=message):
        read(tmp_path, text)
