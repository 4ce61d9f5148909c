"""What every `heal` command is: a class whose typed fields are its flags, and whose sections come from the config file.

A field annotated with `Section("engine")` is read from the run's config (`--config FILE`, or the environment variable
HEAL_CONFIG); a flag overrides single options of it (`--engine.max-num-seqs 64`). The workflow asks the same class which
options it reads (`changed_options`), so what decides a rerun and what the command sees cannot differ.

    class CountProblems(Command):
        problems: Path
        engine: Annotated[Engine, Section("engine")] = Engine()

        def run(self) -> None: ...
"""

from __future__ import annotations

import difflib
import os
import re
import string
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, CliSuppress, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from heal.config.options import OptionGroup, changed_options, explain, merge_options
from heal.config.run_config import RunConfig, read_run_config
from heal.errors import HealError

CONFIG_VARIABLE = "HEAL_CONFIG"
SETTINGS = SettingsConfigDict(
    cli_avoid_json=True,
    cli_exit_on_error=False,
    cli_hide_none_type=True,
    cli_implicit_flags=True,
    cli_kebab_case=True,
    cli_use_class_docs_for_groups=False,
)


@dataclass(frozen=True)
class Section:
    """Where a field stands in the config: paths with the command's own flags as placeholders; the first complete one.

    `Section("teachers.{teacher}", "students.{student}")` reads the teacher that --teacher names, or else the student.
    """

    paths: tuple[str, ...]
    decides_output: bool = True
    """Whether another value makes another output, and so reruns the command."""

    def __init__(self, *paths: str, decides_output: bool = True) -> None:
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "decides_output", decides_output)

    def resolve(self, flags: Mapping[str, Any]) -> str | None:
        """The first path whose placeholders are all given; None where none is."""
        for path in self.paths:
            names = [name for _, name, _, _ in string.Formatter().parse(path) if name]
            if all(flags.get(name) not in (None, "") for name in names):
                return path.format(**flags)
        return None


class Command(BaseModel):
    """One `heal` command. Subclasses define fields (flags) and `run`; the module's docstring is the help text."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=())
    sections: ClassVar[dict[str, Section]] = {}

    config: Path | None = None
    """The run's config file; every group of options that no flag gives comes from it (or from $HEAL_CONFIG)."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.sections = {}
        for name, field in cls.model_fields.items():
            for item in field.metadata:
                if isinstance(item, Section):
                    cls.sections[name] = item

    @abstractmethod
    def run(self) -> None:
        """Does the work. Raises HealError for what the user can fix."""

    @classmethod
    def get_version(cls) -> int:
        """VERSION of the module that defines the command: its author raises it when the output's bytes change."""
        return sys.modules[cls.__module__].VERSION

    @classmethod
    def changed_options(cls, run_config: RunConfig, **flags: Any) -> dict[str, Any]:
        """Field → the options of its section that differ from their defaults: what identifies the command's output."""
        values = {}
        for name, section in cls.sections.items():
            path = section.resolve(cls.get_defaults() | flags)
            if path is not None and section.decides_output:
                values[name] = changed_options(run_config.look_up(path))
        return values

    @classmethod
    def get_defaults(cls) -> dict[str, Any]:
        """Defaults of the flags that are no sections."""
        defaults = {}
        for name, field in cls.model_fields.items():
            if name not in cls.sections and not field.is_required():
                defaults[name] = field.default
        return defaults

    def describe_options(self) -> dict[str, Any]:
        """Every field as plain data, sections with their non-default options only: for provenance and fingerprints."""
        values = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            values[name] = plain(changed_options(value) if name in self.sections else value)
        return values


def check_pairs(flag: str, values: Sequence[Any], out: Sequence[Path]) -> None:
    """Raises HealError unless there is one --out for every value of a flag that may be given several times."""
    if len(values) != len(out):
        fix = f"give one --out for every {flag}, in the same order"
        raise HealError(f"{len(values)} {flag} and {len(out)} --out", where=flag, fix=fix)


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    return TypeAdapter(Any).dump_python(value, mode="json")


def parse_command(command: type[Command], name: str, arguments: Sequence[str]) -> Command:
    """The command with its flags and the config's sections.

    Raises HealError for an unknown flag, a missing one and a value that does not fit; exits after --help.
    """
    flags = parse_flags(command, name, arguments)
    path = flags.get("config") or os.environ.get(CONFIG_VARIABLE)
    values = dict(flags)
    if command.sections:
        run_config = read_run_config(path) if path else None
        for field, section in command.sections.items():
            value = resolve_section(command, field, section, flags, run_config, name)
            if value is not None:
                values[field] = value
    try:
        return command.model_validate(values)
    except ValidationError as error:
        raise explain_flags(command, name, error) from None


def parse_flags(command: type[Command], name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The flags as pydantic-settings reads them: text, nested by group."""
    help_text = command.__doc__ or sys.modules[command.__module__].__doc__
    if command.__doc__ == Command.__doc__:
        help_text = sys.modules[command.__module__].__doc__
    hidden = {}
    for field_name in command.sections:
        annotation: Any = command.model_fields[field_name].annotation
        if isinstance(annotation, type) and issubclass(annotation, OptionGroup) and annotation.config_only:
            hidden[field_name] = CliSuppress[annotation]  # type: ignore[misc]
    namespace = {"__doc__": help_text, "model_config": SETTINGS, "__module__": command.__module__}
    settings = type(command.__name__, (BaseSettings, command), namespace | {"__annotations__": hidden})
    try:
        return CliSettingsSource(settings, cli_prog_name=f"heal {name}", cli_parse_args=list(arguments))()
    except SettingsError as error:
        raise explain_arguments(command, name, str(error)) from None


def resolve_section(
    command: type[Command],
    field: str,
    section: Section,
    flags: Mapping[str, Any],
    run_config: RunConfig | None,
    name: str,
) -> Any:
    """The section's value from the config with the flags laid over it; None where neither gives anything."""
    path = section.resolve(command.get_defaults() | dict(flags))
    base = run_config.look_up(path) if run_config and path else None
    overrides = flags.get(field)
    if base is None or not isinstance(overrides, Mapping):
        if isinstance(overrides, Mapping):
            return validate_loosely(command, field, overrides, name)
        return base if overrides is None else overrides
    return validate_loosely(command, field, merge_options(base.model_dump(), overrides), name)


def validate_loosely(command: type[Command], field: str, content: Mapping[str, Any], name: str) -> Any:
    """A group of options whose values may be text, as flags are."""
    annotation: Any = command.model_fields[field].annotation
    try:
        return TypeAdapter(annotation).validate_python(content, strict=False)
    except ValidationError as error:
        raise explain_flags(command, name, error, prefix=field) from None


def explain_flags(command: type[Command], name: str, error: ValidationError, prefix: str = "") -> HealError:
    """One HealError for every flag that is missing or does not fit."""
    problems = []
    for issue in error.errors():
        problem, fix = explain(command, issue, prefix)
        flag, colon, message = problem.partition(":")
        problems.append(f"--{flag.replace('_', '-')}{colon}{message}" + (f" ({fix})" if fix else ""))
    return HealError("; ".join(problems), where=f"heal {name}", fix=f"see heal {name} --help")


def explain_arguments(command: type[Command], name: str, message: str) -> HealError:
    """What argparse refused, with the nearest known flag."""
    problem = message.removeprefix("error parsing CLI: ")
    unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", problem)
    fix = f"see heal {name} --help"
    if unknown:
        near = difflib.get_close_matches(unknown[1], list_flags(command), n=1)
        if near:
            fix = f"did you mean {near[0]}?"
    unreadable = re.search(r"Parsing error encountered for ([\w.]+)", problem)
    if unreadable:
        problem = f"--{unreadable[1].replace('_', '-')}: the value cannot be parsed"
        fix = f"write KEY=VALUE for a group of values; see heal {name} --help"
    return HealError(problem, where=f"heal {name}", fix=fix)


def list_flags(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every flag of a command, groups included: --out, --engine.backend."""
    flags = []
    for name, field in model.model_fields.items():
        flag = f"{prefix}{name}".replace("_", "-")
        flags.append(f"--{flag}")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            flags += list_flags(field.annotation, f"{flag}.")
    return flags
