"""Files that describe the project: versions agree, the citation is complete, the README is short."""

import os
import tomllib

import yaml

from tests.support.paths import ROOT


def test_versions_agree_and_the_citation_has_what_the_format_asks_for():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert all({"type", "title", "authors"} <= set(work) for work in cited["references"])
    (paper,) = cited["references"]
    assert all({"given-names", "family-names"} <= set(author) for author in paper["authors"])
    assert paper["identifiers"][0]["value"] == "arXiv:2603.10359"
    assert cited["version"] == version
    entries = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n* ")[1:]
    assert entries and all("Numbers change: " in entry for entry in entries)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_fits_a_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_ci_services_run_what_the_repository_says_and_nothing_else():
    github = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    commands = [step["run"] for step in github["jobs"]["tests"]["steps"] if "run" in step]
    gitlab = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    assert commands == gitlab["tests"]["script"] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    [python] = [step["with"]["python-version"] for step in github["jobs"]["tests"]["steps"] if "with" in step]
    assert python == required and gitlab["tests"]["image"].startswith(f"python:{required}")
