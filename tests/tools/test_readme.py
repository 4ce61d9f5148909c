"""The README shows the committed tables."""

from __future__ import annotations


def test_the_readme_shows_the_reference_table_and_the_plans():
    from tools.docs import readme

    text = readme.README.read_text(encoding="utf-8")
    assert text == readme.written(text), "run: python -m tools.docs.readme"
