"""The configuration's JSON schema and documentation, and the table of the methods, written from their classes.

Reads heal/config/experiment.py, heal/config/data.py and the methods. Writes workflow/schemas/config.schema.json, config/README.md,
and the table in baselines/README.md.

    python -m tools.docs.config
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from heal.command import command_parser
from heal.config.experiment import Experiment
from heal.config.options import options_inside
from heal.method.base import Method
from heal.registry import discover

SCHEMA = "workflow/schemas/config.schema.json"
DOCUMENTATION = "config/README.md"
METHODS = "baselines/README.md"
TABLE = ("<!-- the methods, written by python -m tools.docs.config -->", "<!-- end of the methods -->")


def schema() -> str:
    """The JSON schema of a config file, for editors and for people."""
    return json.dumps(Experiment.model_json_schema(), indent=1, sort_keys=True) + "\n"


def documentation() -> str:
    """config/README.md: every field with type, default and sentence."""
    lines = [
        "# Every option",
        "",
        "Written from heal/config/experiment.py by `python -m tools.docs.config`. Reported: from descriptions of the paper's body.",
        "Ours: our definition. `heal check --config FILE` checks a file; `heal methods` lists the methods.",
        "",
        "A method's entry (in `methods` or `ablations`) is its `kind` and whatever differs from the sections `gear`,",
        "`pure` and `pace`: `heal_random_cut: {kind: heal, gear: {detector: random}}`.",
    ]
    groups: list[type[BaseModel]] = [Experiment, *option_groups(Experiment)]
    for cls in groups:
        lines += ["", f"## {cls.__name__}", "", "| field | type | default | |", "|---|---|---|---|"]
        for name, field in cls.model_fields.items():
            default = "required" if field.is_required() else shown_default(field.default)
            sentence = " ".join((field.description or "").split()).replace("|", "\\|")
            lines.append(f"| `{name}` | {type_name(field.annotation)} | {default} | {sentence} |")
    return "\n".join(lines) + "\n"


def methods(page: str, found: Mapping[str, type[Method]]) -> str:
    """baselines/README.md with its table made again: method, paper, options with defaults, what differs."""
    before, _, rest = page.partition(TABLE[0])
    lines = ["| kind | trains on | paper | options (default) | what differs here |", "|---|---|---|---|---|"]
    for kind, method in sorted(found.items()):
        given = ", ".join(
            f"`{name}`" if name in Experiment.model_fields else f"`{name}` ({shown_default(field.default)})"
            for name, field in method.Options.model_fields.items()
        )
        cells = [f"`{kind}`", method.summary, method.paper, given, method.differs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([f"{before}{TABLE[0]}", *lines, TABLE[1]]) + rest.partition(TABLE[1])[2]


def option_groups(cls: type[BaseModel], outer: tuple[type[BaseModel], ...] = ()) -> list[type[BaseModel]]:
    """The options classes that a class holds, in reading order, each once; one may hold itself (a data set's parts)."""
    found: dict[type[BaseModel], None] = {}
    for field in cls.model_fields.values():
        inner = options_inside(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner not in (cls, *outer):
            found |= dict.fromkeys([inner, *option_groups(inner, (cls, *outer))])
    return list(found)


def shown_default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def type_name(annotation: Any) -> str:
    """A field's type in a reader's words."""
    origin, inside = get_origin(annotation), [a for a in get_args(annotation) if a is not NoneType]
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in inside)
    if origin is Annotated or (origin in (Union, UnionType) and len(inside) == 1):
        return type_name(inside[0])
    if origin in (Union, UnionType):
        return " or ".join(type_name(argument) for argument in inside)
    if origin is dict:
        return f"name → {type_name(inside[1])}"
    if origin is list:
        return f"list of {type_name(inside[0])}"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Any": "options"}.get(
        annotation.__name__, annotation.__name__
    )


def main() -> None:
    command_parser(__doc__).parse_args()
    root = Path(__file__).parents[2]
    table = methods((root / METHODS).read_text(encoding="utf-8"), discover())
    for path, content in ((root / SCHEMA, schema()), (root / DOCUMENTATION, documentation()), (root / METHODS, table)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path.relative_to(root)}")


if __name__ == "__main__":
    main()
