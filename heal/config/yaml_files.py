"""Read and write YAML as configs need it: a repeated key is an error, and numbers are what they look like.

PyYAML reads numbers by YAML 1.1: 2e-3 is a text there, 010 is eight, and 1:30 is ninety. Here, as in YAML 1.2, they are
0.002, ten and a text. Truth values stay those of 1.1 (yes, no, on, off), which existing configs use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from heal.errors import HealError
from heal.records import read_utf8

INT, FLOAT, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "merge"))
FIRST_CHARACTERS = list("-+.0123456789")
NUMBERS = {
    INT: re.compile(r"[-+]?[0-9][0-9_]*$|0x[0-9a-fA-F]+$|0o[0-7]+$"),
    FLOAT: re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
}


class ConfigLoader(yaml.SafeLoader):
    """YAML with the numbers of 1.2, where a key that stands twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                fix = 'put a text with braces in quotes, as in "{question}"'
                raise HealError("a key in braces or brackets", where=f"{self.name}, line {line}", fix=fix)
            key = self.construct_object(key_node, deep=True)
            if key in lines:
                problem = f"{key!r} stands twice (lines {lines[key]} and {line})"
                raise HealError(problem, where=self.name, fix="keep one of them, or give them different names")
            lines[key] = line
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        digits = self.construct_scalar(node).replace("_", "")
        return int(digits, 0) if digits.startswith(("0x", "0o")) else int(digits)


class ConfigDumper(yaml.SafeDumper):
    """YAML that ConfigLoader and readers of YAML 1.1 read alike: what either takes for a number is in quotes."""


ConfigLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for tag, pattern in NUMBERS.items():
    ConfigLoader.add_implicit_resolver(tag, pattern, FIRST_CHARACTERS)
    ConfigDumper.add_implicit_resolver(tag, pattern, FIRST_CHARACTERS)
ConfigLoader.add_constructor(INT, ConfigLoader.construct_integer)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Raises HealError where the file is missing, is not YAML, or is not a mapping."""
    try:
        loader = ConfigLoader(read_utf8(path))
        loader.name = str(path)
        content = loader.get_single_data()
    except yaml.YAMLError as error:
        raise HealError(f"not valid YAML: {error}", where=str(path), fix="fix the syntax at that line") from None
    if not isinstance(content, dict):
        problem = f"expected fields, found {type(content).__name__}"
        raise HealError(problem, where=str(path), fix="see config/config.yaml")
    return content


def read_texts(content: Any) -> Any:
    """The content with every text read as YAML reads a word: Snakemake leaves numbers in `--config train={…}` texts."""
    if isinstance(content, dict):
        return {key: read_texts(value) for key, value in content.items()}
    if isinstance(content, list):
        return [read_texts(value) for value in content]
    if not isinstance(content, str):
        return content
    try:
        value = yaml.load(content, ConfigLoader)
    except (yaml.YAMLError, HealError):
        return content
    return content if isinstance(value, dict | list) else value


def dump_yaml(content: Any, width: int = 80) -> str:
    """The content as YAML, keys in their order, lines broken at `width` characters."""
    return yaml.dump(content, Dumper=ConfigDumper, sort_keys=False, allow_unicode=True, width=width)
