"""How the tests are arranged: fixtures in conftest.py, helpers in tests/support, and no test imports another."""

import ast

from tests.support.paths import ROOT

MODULES = sorted((ROOT / "tests").rglob("*.py"))


def list_imports(path):
    """Dotted names of the modules that a file imports, wherever in the file."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [node.module or ""]
            names += [f"{node.module or ''}.{alias.name}" for alias in node.names]
    return names


def test_no_module_imports_a_test_or_a_conftest():
    for path in MODULES:
        for name in list_imports(path):
            last = name.rpartition(".")[2]
            in_tests = name.startswith(("tests.", "test_", "conftest"))
            assert not (in_tests and (last.startswith("test_") or last == "conftest")), f"{path}: imports {name}"


def test_support_has_no_fixtures_and_no_test_hides_a_redefinition():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "noqa: " + "F811" not in text, path
        if path.parent.name == "support":
            assert "pytest.fixture" not in text, f"{path}: fix: move the fixture to a conftest.py"


def test_every_folder_is_a_package_so_that_equal_names_do_not_clash():
    for path in MODULES:
        assert (path.parent / "__init__.py").exists(), path.parent
