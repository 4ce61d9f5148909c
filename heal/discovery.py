"""Find the classes that implement an interface by scanning a package: one file, one class, no list to extend.

Detectors, engines, worlds and baselines are found this way. A new one is a new file; TEMPLATE.py next to it shows what
the file needs.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from heal.errors import HealError, suggest

T = TypeVar("T")

NEVER_SCANNED = ("TEMPLATE", "base")


def discover_classes(
    package: ModuleType | str | Path, base_class: type[T], *, skip: Collection[str] = ()
) -> dict[str, type[T]]:
    """name → the one subclass of `base_class` that each module of the package defines, in the order of file names.

    package: a package, its dotted name, or a folder of Python files. Each class has a class attribute `name`.
    skip: modules of the package that define no such class; TEMPLATE and base are always skipped.

    Raises HealError for a file that does not import, that defines none or several such classes, an incomplete class,
    a class without `name`, and a name that another file has already taken.
    """
    classes: dict[str, type[T]] = {}
    for module_name, path in list_modules(package):
        if module_name.rpartition(".")[2] in {*NEVER_SCANNED, *skip}:
            continue
        module = load_module(module_name, path, package)
        one = get_class(module, path, base_class)
        name = get_name(one, path)
        if name in classes:
            raise HealError(
                f"the name {name!r} is already taken by {inspect.getfile(classes[name])}",
                where=str(path),
                fix="give the class another `name`",
            )
        classes[name] = one
    return classes


def list_modules(package: ModuleType | str | Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of each module and subpackage directly inside the package, sorted by name."""
    if isinstance(package, Path):
        folders, prefix = [str(package)], f"{package.name}."
    else:
        parent = importlib.import_module(package) if isinstance(package, str) else package
        folders, prefix = list(parent.__path__), f"{parent.__name__}."
    for folder in folders:
        for module in sorted(pkgutil.iter_modules([folder]), key=lambda module: module.name):
            path = Path(folder) / module.name
            yield prefix + module.name, path / "__init__.py" if module.ispkg else path.with_suffix(".py")


def load_module(name: str, path: Path, package: ModuleType | str | Path) -> ModuleType:
    """The imported module. Modules of a bare folder are executed each time. Raises HealError where the import fails."""
    try:
        if not isinstance(package, Path):
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader  # a .py file has both
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except Exception as error:
        raise HealError(
            f"the file does not import ({type(error).__name__}: {error})",
            where=str(path),
            fix="fix the error, or remove the file",
        ) from error
    return module


def get_class(module: ModuleType, path: Path, base_class: type[T]) -> type[T]:
    """The one complete subclass that a module (or a module inside a subpackage) defines. Raises HealError otherwise."""
    classes: list[type[T]] = []
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, base_class) and value is not base_class:
            own = f"{value.__module__}.".startswith(f"{module.__name__}.")
            if own and value not in classes:
                classes.append(value)
    if len(classes) != 1:
        names = ", ".join(one.__name__ for one in classes)
        raise HealError(
            f"the file defines {len(classes)} subclasses of {base_class.__name__}{f' ({names})' if names else ''}, "
            "expected one",
            where=str(path),
            fix="define exactly one (see TEMPLATE.py), and keep helpers in another folder",
        )
    missing = sorted(getattr(classes[0], "__abstractmethods__", ()))
    if missing:
        raise HealError(
            f"class {classes[0].__name__} has no {missing[0]}()",
            where=str(path),
            fix="define it (see TEMPLATE.py)",
        )
    return classes[0]


def get_name(one: type, path: Path) -> str:
    """The class attribute `name`. Raises HealError where it is missing or blank."""
    name = getattr(one, "name", None)
    if not isinstance(name, str) or not name.strip():
        raise HealError(
            f"class {one.__name__} has no `name`",
            where=str(path),
            fix="give the class a `name`, a plain word (see TEMPLATE.py)",
        )
    return name


def check_name(name: object, known: Collection[str], what: str, *, where: str, field: str) -> None:
    """Raises HealError with the nearest known name where `name` is not among the known ones.

    what: the thing that has the name, as in "detector". where: the config file. field: the dotted key in it.
    """
    if name in known:
        return
    raise HealError(f"{field}: unknown {what} {name!r}", where=where, fix=suggest(name, known))
