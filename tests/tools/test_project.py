"""Files that describe the project: versions agree, the citation is complete, the README is short."""

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
