"""Finds worlds by name, generates their problems, and checks the steps of traces about any world's problem.

The world of a stored problem is what its `source` begins with: mini/train. Reads nothing, writes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from heal.config.data import OTHER_SOURCES, Dataset, Problems
from heal.config.options import PLAIN_WORD, OptionGroup, validate
from heal.discovery import check_name, discover_classes
from heal.errors import HealError
from heal.records import Row
from heal.worlds.base import Problem, World, find_first_wrong

PACKAGE = "heal.worlds"
NO_WORLDS = ("registry", "error_origin")
"""Modules of the package that define no world."""


@cache
def discover_worlds() -> dict[str, World]:
    """Name → world. Raises HealError for a file that defines none or several, and for a name that cannot be used."""
    worlds = {}
    classes = discover_classes(PACKAGE, World, skip=NO_WORLDS)
    for name, world in classes.items():
        if not PLAIN_WORD.fullmatch(name) or name in OTHER_SOURCES:
            fix = f"use letters, digits and _, but none of {', '.join(OTHER_SOURCES)}"
            raise HealError(f"the name {name!r} cannot be used", where=inspect.getfile(world), fix=fix)
        worlds[name] = world()
    return worlds


def get_world(name: object, *, where: str = "config", field: str = "source") -> World:
    """Raises HealError for an unknown name, with the nearest world or other source of problems."""
    worlds = discover_worlds()
    if name not in worlds:
        check_name(name, [*worlds, *OTHER_SOURCES], "source", where=where, field=field)
        known = ", ".join(sorted(worlds))
        raise HealError(f"{field}: {name!r} is no world", where=where, fix=f"give one of the worlds: {known}")
    return worlds[str(name)]


def find_world(problem: Row) -> World | None:
    """The world that a stored problem is of; None for a problem from elsewhere."""
    return discover_worlds().get(str(problem.get("source")).partition("/")[0])


def find_world_of_problems(problems: Iterable[Row]) -> World | None:
    """The world of the first problem that is of one; None where none is."""
    for problem in problems:
        world = find_world(problem)
        if world:
            return world
    return None


def check_problem_sets(problems: Problems, *, where: str) -> None:
    """Raises HealError for a problem set of an unknown source, or with a split or options that its world lacks."""
    sets = {"train": problems.train, "dev": problems.dev}
    for name, dataset in problems.test.items():
        sets[f"test.{name}"] = dataset
    for name, dataset in sets.items():
        if dataset.from_world:
            resolve_options(dataset, where=where, field=f"problems.{name}")


def resolve_options(dataset: Dataset, *, where: str = "problem set", field: str = "") -> OptionGroup:
    """The world's own options of a problem set. Raises HealError for an unknown world, split or option."""
    prefix = f"{field}." if field else ""
    world = get_world(dataset.source, where=where, field=f"{prefix}source")
    check_name(dataset.split, world.splits, f"split of {world.name}", where=where, field=f"{prefix}split")
    return validate(world.Options, dataset.options, where=where, prefix=f"{prefix}options", strict=False)


def generate_problems(dataset: Dataset, seed: int) -> list[Row]:
    """Rows of schema `problems`, without ids. Raises HealError where the world lacks the split, options or problems."""
    options = resolve_options(dataset)
    world = get_world(dataset.source)
    assert dataset.split and dataset.n  # a problem set of a world has both
    rows = []
    for problem in world.generate(dataset.split, dataset.n, seed, options):
        if not problem.source.startswith(f"{world.name}/"):
            fix = f"begin each problem's source with {world.name + '/'!r}"
            raise HealError(f"found source {problem.source!r}", where=inspect.getfile(type(world)), fix=fix)
        rows.append(problem.to_row())
    return rows


def resolve_warmup_options(
    world_name: str, examples: Mapping[str, Any], *, where: str = "config", field: str = "warm_up"
) -> OptionGroup:
    """The typed options of warm-up examples. Raises HealError for a world that builds none, and for unknown options."""
    world = get_world(world_name, where=where, field=f"{field}.world")
    if world.WarmUpOptions is None:
        known = ", ".join(name for name, other in discover_worlds().items() if other.WarmUpOptions)
        fix = f"set {field}.world to one of: {known}; or remove warm_up"
        raise HealError(f"{field}: {world.name!r} builds no warm-up examples", where=where, fix=fix)
    return validate(world.WarmUpOptions, examples, where=where, prefix=f"{field}.examples", strict=False)


def count_warmup_examples(world_name: str, examples: Mapping[str, Any]) -> int:
    """Number of warm-up examples that the world builds at most. Raises HealError as `resolve_warmup_options` does."""
    return get_world(world_name).count_warmup_examples(resolve_warmup_options(world_name, examples))


def is_checkable(problems: Iterable[Row]) -> bool:
    """Whether the steps of all these problems can be checked."""
    return all(map(find_world, problems))


def check_steps(problem: Row, steps: Sequence[str]) -> list[bool]:
    """Whether each step is valid. Raises HealError for a problem whose steps cannot be checked."""
    world = find_world(problem)
    try:
        if world is None:
            raise ValueError(f"its source is {problem.get('source')!r}")
        return world.check_steps(Problem.from_row(problem), steps)
    except ValueError as error:
        raise HealError(
            f"its steps cannot be checked ({error})",
            where=f"problem {problem['problem_id']}",
            fix=f"give problems of a world: {', '.join(discover_worlds())}",
        ) from None


def find_first_wrong_step(problem: Row, steps: Sequence[str]) -> int | None:
    """The first step (from 1) that is not valid; None where all are. Raises HealError as `check_steps` does."""
    return find_first_wrong(check_steps(problem, steps))


def find_withheld_steps(problem: Row) -> list[int] | None:
    """Steps (from 1) that need a fact which the world's teachers lack; None where nothing is withheld."""
    world = find_world(problem)
    return world.find_withheld_steps(Problem.from_row(problem)) if world else None
