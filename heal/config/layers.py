"""One configuration from several layers: a file, the file that it `extends`, further files, and overrides.

A later layer wins, option by option: `gear: {min_step_tokens: 1}` leaves the other options of GEAR as they are. A list
and a section of named entries (teachers, students, methods, ablations, comparisons, gear_variants, problems.test) are
replaced whole: a file that gives one teacher has one teacher.

    extends: config.yaml
    run: mini_confident
    teachers:
      confident: {path: heal/worlds/mini/models/teacher_confident}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from heal.config.options import OptionGroup
from heal.config.yaml_files import read_yaml
from heal.errors import HealError

EXTENDS = "extends"


def read_layers(
    cls: type[BaseModel], paths: Sequence[str | Path], overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Content of the files and the overrides, each laid over those before it, without `extends`; not validated.

    cls: the class that the content will be validated with; it says what is a group of options. Raises HealError for a
    file that cannot be read, here or by `extends`, and for files that extend each other in a circle.
    """
    content: dict[str, Any] = {}
    for path in paths:
        content = lay_over(cls, content, read_extended(cls, Path(path)))
    return lay_over(cls, content, overrides or {})


def read_extended(cls: type[BaseModel], path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Content of a file over the file that it extends. above: the files that led here by `extends`, resolved."""
    content = read_yaml(path)
    base = content.pop(EXTENDS, None)
    if base is None:
        return content
    where = f"{path}, {EXTENDS}"
    if not isinstance(base, str):
        raise HealError(f"expected a file's name, found {base!r}", where=where, fix="give one name, as in config.yaml")
    base_path = path.parent / base
    if not base_path.is_file():
        raise HealError(f"no such file: {base_path}", where=where, fix="give a path relative to this file")
    above = (*above, path.resolve())
    if base_path.resolve() in above:
        raise HealError(f"{base_path} extends this file", where=where, fix=f"remove `{EXTENDS}` from one of them")
    return lay_over(cls, read_extended(cls, base_path, above), content)


def lay_over(cls: type[BaseModel], base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the changes: groups of options of `cls` option by option, every other value whole."""
    merged = dict(base)
    for key, value in changes.items():
        group = find_group(cls, key)
        if group is not None and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            value = lay_over(group, merged[key], value)
        merged[key] = value
    return merged


def find_group(cls: type[BaseModel], key: str) -> type[OptionGroup] | None:
    """The class of a field that is a group of options, optional or not; None for any other field."""
    field = cls.model_fields.get(key)
    return unwrap_group(field.annotation) if field is not None else None


def unwrap_group(annotation: Any) -> type[OptionGroup] | None:
    if isinstance(annotation, type) and issubclass(annotation, OptionGroup):
        return annotation
    if get_origin(annotation) is Annotated:
        return unwrap_group(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        groups = [group for group in map(unwrap_group, get_args(annotation)) if group is not None]
        return groups[0] if len(groups) == 1 else None
    return None
