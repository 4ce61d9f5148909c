"""Laws of heal.discovery: each file of a package defines one class of an interface, and mistakes name the file."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from heal.discovery import check_name, discover_classes
from heal.errors import HealError


class Shape(ABC):
    """The interface that the files of these tests implement."""

    @abstractmethod
    def get_area(self) -> float: ...


HEADER = f"from {__name__} import Shape\n"
SQUARE = HEADER + "class Square(Shape):\n    name = 'square'\n    def get_area(self): return 1.0\n"
CIRCLE = SQUARE.replace("Square", "Circle").replace("square", "circle")


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package with square.py, circle.py, and files that are never scanned."""
    package = tmp_path / f"shapes_{abs(hash(request.node.name))}"
    package.mkdir()
    for name, text in {
        "square": SQUARE,
        "circle": CIRCLE,
        "base": "",
        "TEMPLATE": "not Python",
        "__init__": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return package


@pytest.mark.parametrize("as_folder", [True, False])
def test_finds_each_file_by_name_without_template_and_base(folder: Path, as_folder: bool) -> None:
    classes = discover_classes(folder if as_folder else folder.name, Shape)
    assert list(classes) == ["circle", "square"]
    assert classes["square"]().get_area() == 1.0


def test_a_new_file_is_found_without_editing_another(folder: Path) -> None:
    (folder / "triangle.py").write_text(SQUARE.replace("Square", "Triangle").replace("square", "triangle"))
    assert set(discover_classes(folder, Shape)) == {"circle", "square", "triangle"}


def test_subpackages_count_as_files(folder: Path) -> None:
    (folder / "hexagon").mkdir()
    (folder / "hexagon/__init__.py").write_text("from .world import Hexagon\n")
    (folder / "hexagon/world.py").write_text(SQUARE.replace("Square", "Hexagon").replace("square", "hexagon"))
    assert set(discover_classes(folder.name, Shape)) == {"circle", "square", "hexagon"}


def test_imported_classes_are_not_counted(folder: Path) -> None:
    text = f"from {folder.name}.square import Square\n" + SQUARE.replace("Square(Shape)", "Cube(Square)")
    (folder / "cube.py").write_text(text.replace("'square'", "'cube'"))
    assert discover_classes(folder.name, Shape)["cube"].__name__ == "Cube"


def test_skipped_modules_are_not_imported(folder: Path) -> None:
    (folder / "helpers.py").write_text("raise RuntimeError")
    assert set(discover_classes(folder, Shape, skip=["helpers"])) == {"circle", "square"}


@pytest.mark.parametrize("as_folder", [True, False])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_module_at_all", r"does not import \(ModuleNotFoundError"),
        ("def (:", r"does not import \(SyntaxError"),
        ("x = 1\n", "0 subclasses of Shape, expected one"),
        (SQUARE.replace("square", "one") + CIRCLE.removeprefix(HEADER), r"2 subclasses of Shape \(Square, Circle\)"),
        (SQUARE, r"the name 'square' is already taken by .*square\.py"),
        (SQUARE.replace("    name = 'square'\n", ""), "class Square has no `name`"),
        (SQUARE.replace("'square'", "' '"), "class Square has no `name`"),
        (SQUARE.replace("get_area", "get_size"), r"class Square has no get_area\(\)"),
    ],
)
def test_mistakes_name_file_and_fix(folder: Path, text: str, problem: str, as_folder: bool) -> None:
    (folder / "z_new.py").write_text(text)
    with pytest.raises(HealError, match=problem) as caught:
        discover_classes(folder if as_folder else folder.name, Shape)
    assert str(folder / "z_new.py") in str(caught.value)
    assert caught.value.fix


def test_unknown_names_get_the_nearest_known_one() -> None:
    check_name("circle", ["circle", "square"], "shape", where="a.yaml", field="shape")
    with pytest.raises(HealError, match=r"a\.yaml: x\.shape: unknown shape 'cirle'") as caught:
        check_name("cirle", ["circle", "square"], "shape", where="a.yaml", field="x.shape")
    assert caught.value.fix == "did you mean 'circle'?"
    with pytest.raises(HealError) as caught:
        check_name("other", ["square", "circle"], "shape", where="a.yaml", field="shape")
    assert caught.value.fix == "known: circle, square"
