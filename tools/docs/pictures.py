"""Make the pictures of the documentation: report and trace viewer in headless Chromium, and the rule graph.

Reads results/reference/mini and the workflow; writes docs/images/report.png, viewer.png and rules.svg. Needs the
packages of requirements/test.txt, and Debian's chromium (make test-pages installs it) and graphviz.

    python -m tools.docs.pictures
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from evals.report.page import render_page
from heal.errors import HealError, exit_with_errors
from heal.records import write_text
from tools.docs.rule_graph import draw_rule_graph

ROOT = Path(__file__).parents[2]
RUN = ROOT / "results/reference/mini"
SIZE = {"width": 1100, "height": 760}


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise HealError("no chromium", where="PATH", fix="make test-pages installs it")
    draw_rule_graph()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        write_text(report, render_page(RUN, ROOT)[0])
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        for name, file in (("report", report), ("viewer", RUN / "viewer/default_teacher_seed0.html")):
            page.goto(file.as_uri())
            page.screenshot(path=ROOT / f"docs/images/{name}.png")
        browser.close()


if __name__ == "__main__":
    exit_with_errors(main)
