"""Describe methods and options from their classes: every field with type, default and sentence.

heal methods
heal options                 # the sections of a config
heal options Gear            # one section
"""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.config.experiment import Experiment
from heal.config.options import unwrap_annotation
from heal.errors import HealError, suggest
from heal.registry import discover_methods
from heal.worlds.registry import discover_worlds

PLAIN_TYPES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "Any": "options"}


class Methods(Command):
    """List the methods: HEAL and every baseline, with paper and options.

    heal methods
    """

    def run(self) -> None:
        for name, method in sorted(discover_methods().items()):
            print(f"{name}: {method.summary}\n  paper: {method.paper}")
            for option, field in method.Options.model_fields.items():
                shared = option in Experiment.model_fields and option != "gear"
                default = "the section of the config" if shared else format_default(field.default)
                print(f"  {option} (default: {default}): {get_sentence(field)}")


class Options(Command):
    """Print the options of the config, or of one section, with type, default and sentence.

    heal options Gear
    """

    section: CliPositionalArg[str] = ""
    """Name of a section's class, as Gear; all by default."""

    def run(self) -> None:
        groups = {cls.__name__: cls for cls in [*list_groups(), *list_world_groups()]}
        if self.section and self.section not in groups:
            fix = suggest(self.section, groups)
            raise HealError(f"no section {self.section!r}", where="heal options", fix=fix)
        for name, cls in groups.items():
            if self.section in ("", name):
                print(f"\n{name}")
                for field_name, field in cls.model_fields.items():
                    default = "required" if field.is_required() else f"default: {format_default(field.default)}"
                    kind = format_type(field.annotation)
                    print(f"  {field_name} ({kind}; {default}): {get_sentence(field)}")


def list_groups(cls: type[BaseModel] = Experiment) -> list[type[BaseModel]]:
    """The class and the options classes that it holds, in reading order, each once."""
    groups = [cls]
    for field in cls.model_fields.values():
        inner = unwrap_annotation(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not cls:
            groups += [group for group in list_groups(inner) if group not in groups]
    return groups


def list_world_groups() -> list[type[BaseModel]]:
    """The options classes of the worlds: of their problem sets, and of their warm-up examples."""
    groups: list[type[BaseModel]] = []
    for world in discover_worlds().values():
        for cls in (world.Options, world.WarmUpOptions):
            if cls is not None and cls.model_fields:
                groups.append(cls)
    return groups


def get_sentence(field: Any) -> str:
    """The field's description on one line."""
    return " ".join((field.description or "").split())


def format_default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def format_type(annotation: Any) -> str:
    """A field's type in a reader's words."""
    origin = get_origin(annotation)
    arguments = [argument for argument in get_args(annotation) if argument is not NoneType]
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin is Annotated or (origin in (Union, UnionType) and len(arguments) == 1):
        return format_type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(format_type(argument) for argument in arguments)
    if origin is dict:
        return f"name → {format_type(arguments[1])}"
    if origin is list:
        return f"list of {format_type(arguments[0])}"
    name = getattr(annotation, "__name__", str(annotation))
    return PLAIN_TYPES.get(name, name)
