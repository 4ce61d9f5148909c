"""Laws of who imports whom, read from the source: no circle, no layer that reaches upwards, no torch where none is
needed.

A law covers every import, also those inside functions and under TYPE_CHECKING, except the circles: these are looked for
among the imports that run when a module is imported.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("heal", "baselines", "evals")
HEAVY = {"torch", "transformers", "vllm", "trl", "accelerate", "peft", "lm_eval"}


@dataclass
class Imports:
    """What one module imports, by dotted name. at_import: what runs when the module is imported."""

    at_import: set[str] = field(default_factory=set)
    anywhere: set[str] = field(default_factory=set)


class ImportReader(ast.NodeVisitor):
    """Collects the imports of one module. A name imported from a package counts as its submodule where there is one."""

    def __init__(self, module: str, is_package: bool, known: frozenset[str]) -> None:
        self.parent = module if is_package else module.rpartition(".")[0]
        self.known = known
        self.imports = Imports()
        self.deferred = 0

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.deferred += 1
        self.generic_visit(node)
        self.deferred -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        type_checking = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        self.deferred += type_checking
        for child in node.body:
            self.visit(child)
        self.deferred -= type_checking
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            anchor = self.parent.split(".")[: len(self.parent.split(".")) - node.level + 1]
            base = ".".join([*anchor, *([base] if base else [])])
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            self.add(submodule if submodule in self.known else base)

    def add(self, name: str) -> None:
        self.imports.anywhere.add(name)
        if not self.deferred:
            self.imports.at_import.add(name)


def list_modules(root: Path) -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def read_imports(root: Path = ROOT) -> dict[str, Imports]:
    """Module → its imports, for every module of the project's packages."""
    paths = dict(list_modules(root))
    known = frozenset(paths)
    imports = {}
    for module, path in paths.items():
        reader = ImportReader(module, path.name == "__init__.py", known)
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        reader.imports.at_import.discard(module)
        imports[module] = reader.imports
    return imports


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def find_violations(layer: str, forbidden: str, allowed: tuple[str, ...] = (), root: Path = ROOT) -> list[str]:
    """ "importer → imported" where a module of `layer`, `allowed` ones excepted, imports from `forbidden`."""
    violations = []
    for module, imports in read_imports(root).items():
        if not is_inside(module, layer) or any(is_inside(module, name) for name in (forbidden, *allowed)):
            continue
        for name in sorted(imports.anywhere):
            if is_inside(name, forbidden):
                violations.append(f"{module} → {name}")
    return violations


def find_circles(root: Path = ROOT) -> list[str]:
    """Every circle of imports once, as "a → b → a", smallest name first."""
    imports = read_imports(root)
    circles: set[str] = set()
    finished: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        if module in trail:
            circle = trail[trail.index(module) :]
            first = circle.index(min(circle))
            circles.add(" → ".join([*circle[first:], *circle[:first], circle[first]]))
            return
        if module in finished:
            return
        for name in sorted(imports[module].at_import & imports.keys()):
            walk(name, [*trail, module])
        finished.add(module)

    for module in imports:
        walk(module, [])
    return sorted(circles)


def find_heavy_path(module: str, root: Path = ROOT) -> str:
    """The chain of imports by which importing the module loads a heavy package; "" where it loads none."""
    imports = read_imports(root)
    seen, queue = {module}, [[module]]
    while queue:
        trail = queue.pop(0)
        for name in sorted(imports[trail[-1]].at_import):
            if name.partition(".")[0] in HEAVY:
                return " → ".join([*trail, name])
            if name in imports and name not in seen:
                seen.add(name)
                queue.append([*trail, name])
    return ""


def list_inside(*packages: str) -> list[str]:
    return [module for module in read_imports() if any(is_inside(module, package) for package in packages)]


def test_no_import_circle() -> None:
    assert find_circles() == []


@pytest.mark.parametrize(
    ("layer", "forbidden", "allowed"),
    [
        ("heal.method", "heal.engines", ()),
        ("heal.method", "heal.pipeline", ()),
        ("heal.method", "heal.worlds", ()),
        ("heal", "heal.pipeline", ("heal.cli",)),
        ("evals", "heal.pipeline", ()),
        ("baselines", "heal.pipeline", ()),
        ("heal.provenance", "heal.engines", ()),
        ("heal.config", "heal.engines.gpu_lease", ()),
        ("heal", "baselines", ()),
        ("heal", "evals", ()),
        ("heal.engines", "argparse", ()),
    ],
)
def test_layers_do_not_reach_upwards(layer: str, forbidden: str, allowed: tuple[str, ...]) -> None:
    assert find_violations(layer, forbidden, allowed) == []


@pytest.mark.parametrize("module", list_inside("heal.grading", "heal.method", "heal.records"))
def test_method_grading_and_records_import_no_torch(module: str) -> None:
    assert find_heavy_path(module) == ""
    deferred = {name for name in read_imports()[module].anywhere if name.partition(".")[0] in HEAVY}
    assert not deferred


@pytest.mark.parametrize("module", list_inside("heal.config", "heal.engines.open", "heal.registry", "heal.command"))
def test_what_every_command_loads_imports_no_torch(module: str) -> None:
    assert find_heavy_path(module) == ""


def test_finding_engines_and_detectors_loads_no_model_library() -> None:
    """At run time too: scanning imports every file of the package."""
    code = (
        "import sys\n"
        "from heal.engines.open import find_engines\n"
        "from heal.method.detectors import find_detectors\n"
        "find_engines(), find_detectors()\n"
        f"print(*sorted(set({sorted(HEAVY | {'openai'})}) & sys.modules.keys()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A project in which each law is broken once."""
    files = {
        "heal/__init__.py": "",
        "heal/a.py": "from heal import b\n",
        "heal/b.py": "from .c import value\n",
        "heal/c.py": "import heal.a\nvalue = 1\n",
        "heal/lazy.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from heal import user\n",
        "heal/user.py": "from heal import lazy\ndef run():\n    import evals.tables, heal.deep.torch_user\n",
        "heal/deep/__init__.py": "",
        "heal/deep/torch_user.py": "import torch.nn\n",
        "heal/deep/reader.py": "from . import torch_user\n",
        "evals/__init__.py": "",
        "evals/tables.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_laws_see_what_they_should(small_project: Path) -> None:
    assert find_circles(small_project) == ["heal.a → heal.b → heal.c → heal.a"]
    assert find_violations("heal", "evals", root=small_project) == ["heal.user → evals.tables"]
    assert find_violations("heal", "heal.user", root=small_project) == ["heal.lazy → heal.user"]
    assert find_heavy_path("heal.deep.reader", small_project) == "heal.deep.reader → heal.deep.torch_user → torch.nn"
    assert find_heavy_path("heal.user", small_project) == ""
