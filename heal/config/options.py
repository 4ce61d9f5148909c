"""Groups of options: base class, validation with errors that name file, field and fix, merging, identity.

The groups are in heal.config.experiment and in each method (its `Options`).
"""

from __future__ import annotations

import datetime
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from heal.errors import HealError, suggest

T = TypeVar("T", bound=BaseModel)
UNQUOTED = (bool, int, float, datetime.date)
"""What YAML makes of words without quotes."""
LATEX_COMMAND = re.compile(r"\\[A-Za-z]+$")
PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def plain_word(name: str) -> str:
    if not PLAIN_WORD.fullmatch(name):
        raise ValueError("a name is a plain word: letters, digits and _, starting with a letter (it becomes a path)")
    return name


def check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression ({error}); write \\( for a parenthesis") from None
    return pattern


def check_fields(required: Sequence[str], optional: Sequence[str] = ()) -> Callable[[str], str]:
    """A validator of prompt templates: the fields in braces that one must have, and those that it may have."""
    known = " and ".join(f"{{{name}}}" for name in (*required, *optional))
    doubled = "double all other braces, as in \\boxed{{}}"

    def check(template: str) -> str:
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ValueError(f"braces that are no field ({error}): the fields are {known}; {doubled}") from None
        fields = [field for _, field, _, _ in parts if field is not None]
        for field in fields:
            if field not in (*required, *optional):
                raise ValueError(f"no field {{{field}}}: the fields are {known}; {doubled}")
        for literal, name, _, _ in parts:
            command = LATEX_COMMAND.search(literal)
            if name is not None and command:
                right = f"{command[0]}{{{{{{{name}}}}}}}"
                raise ValueError(f"the braces of {command[0]}{{{name}}} are the field's own: write {right}")
        for field in required:
            if field not in fields:
                raise ValueError(f"the field {{{field}}} is missing: the fields are {known}")
        return template

    return check


def check_path(path: str) -> str:
    if "{" in path or "}" in path:
        raise ValueError("a path with braces, which Snakemake takes for a wildcard: rename the file or folder")
    return path


LocalPath = Annotated[str, AfterValidator(check_path)]
Pattern = Annotated[str, AfterValidator(check_pattern)]
Name = Annotated[str, AfterValidator(plain_word)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class OptionGroup(BaseModel):
    """A group of options: unknown keys are errors, values are checked, the sentence below a field documents it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=True, frozen=True)
    renamed_keys: ClassVar[dict[str, str]] = {}
    """Former key → its name today: an old config is told the new name."""
    changed_units: ClassVar[dict[str, str]] = {}
    """Former key → what its value means under the new name, where that is another quantity."""
    config_only: ClassVar[bool] = False
    """Whether commands take the group from the config alone, without flags for its options."""


def validate(cls: type[T], content: Any, *, where: str, prefix: str = "", strict: bool | None = None) -> T:
    """Builds the options, or raises one HealError that lists every mistake with field, value and fix.

    strict: False accepts numbers as text, as flags give them.
    """
    try:
        return cls.model_validate(content, strict=strict)
    except pydantic.ValidationError as error:
        mistakes = [explain(cls, issue, prefix) for issue in error.errors()]
    if len(mistakes) == 1:
        problem, fix = mistakes[0]
        raise HealError(problem, where=where, fix=fix or "`heal options` prints every option")
    lines = ""
    for problem, fix in mistakes:
        lines += f"\n  {problem}" + (f" ({fix})" if fix else "")
    raise HealError(
        f"{len(mistakes)} mistakes:{lines}", where=where, fix="fix them; `heal options` prints every option"
    )


def explain(cls: type[BaseModel], issue: Any, prefix: str = "") -> tuple[str, str]:
    """One pydantic error → (the problem with its field, the fix; empty where the problem says it all)."""
    parts = issue["loc"]
    if parts and parts[-1] == "[key]":  # pydantic gives the key False as 0
        parts = (*parts[:-2], issue["input"])
    location = [str(part) for part in parts]
    field = ".".join([*([prefix] if prefix else []), *location]) or "the file"
    if issue["type"] == "extra_forbidden":
        owner = find_options_class(cls, issue["loc"][:-1])
        key = location[-1]
        if owner is not None and key in owner.renamed_keys:
            unit = f", now in {owner.changed_units[key]}" if key in owner.changed_units else ""
            return f"{field}: unknown key", f"renamed to {owner.renamed_keys[key]!r}{unit}"
        return f"{field}: unknown key", suggest(key, owner.model_fields if owner is not None else ())
    if issue["type"] == "missing":
        return f"{field}: missing", "add it (see `heal options`)"
    value = issue.get("input")
    if issue["type"] == "string_type" and isinstance(value, UNQUOTED):
        return f"{field}: expected text in quotes, found {value!r}", explain_quotes(value)
    shown = "" if isinstance(value, dict | BaseModel) else f", found {value!r}"
    if issue["type"] == "value_error":  # a message of ours, which may begin with a name
        return f"{field}: {issue['msg'].removeprefix('Value error, ')}{shown}", ""
    return f"{field}: {issue['msg'][:1].lower()}{issue['msg'][1:]}{shown}", ""


def explain_quotes(value: object) -> str:
    """The fix for a word that YAML does not read as text."""
    if isinstance(value, bool):
        return "YAML reads yes, no, on, off, true and false as truth values: quote the word, as in 'yes' or 'no'"
    kind = "date" if isinstance(value, datetime.date) else "number"
    return f"YAML reads it as a {kind}: put it in quotes, as in '0123'"


def find_options_class(cls: type[BaseModel], location: tuple[Any, ...]) -> type[OptionGroup] | None:
    """The class of the options at a location inside `cls`; None where there is none."""
    current: Any = cls
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[part].annotation
        current = unwrap_annotation(current)
    return current if isinstance(current, type) and issubclass(current, OptionGroup) else None


def unwrap_annotation(annotation: Any) -> Any:
    """Unwraps Optional and dict annotations down to the options class they hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inner = unwrap_annotation(argument)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return annotation


def merge_options(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the changes laid over it, group by group."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = merge_options(inner, value)
        merged[key] = value
    return merged


def changed_options(value: Any) -> Any:
    """A value as plain data; of a group of options those that differ from their defaults only.

    This is the identity of options: a new option with a default changes none.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, Mapping):
        return {name: changed_options(inner) for name, inner in value.items()}
    return value
