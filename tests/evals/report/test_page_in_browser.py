"""The page of a run in headless Chromium: at a desk and on a phone, the contents stay and nothing is cut off.

`make test-pages` installs Chromium; plain pytest leaves these tests out.
"""

import pytest

from evals.report.page import render_page
from tests.support.paths import ROOT

pytestmark = pytest.mark.browser
SMALLEST_PX = 10


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(ROOT / "results/reference/mini", ROOT)[0], encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1300])
def test_the_page_fits_and_its_contents_stay_on_screen(browser, file, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("nav a.section", has_text="Mechanism").click()
    contents = page.locator("nav").bounding_box()
    assert contents["y"] == 0 and contents["height"] > 20, "the contents are sticky"
    heading = page.locator("#mechanism > h2").bounding_box()
    below = contents["y"] + contents["height"] if width == 390 else 0
    assert below <= heading["y"] < 200, "a link leads to its section, below the contents"
    sizes = page.evaluate(
        "[...document.querySelectorAll('p, td, th, li')].map(n => parseFloat(getComputedStyle(n).fontSize))"
    )
    assert min(sizes) >= SMALLEST_PX
    page.close()


def test_a_wide_table_scrolls_and_keeps_its_first_column_on_a_phone(browser, file):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(file.as_uri())
    table = page.locator("#tables-main .wide").first
    assert table.evaluate("n => n.scrollWidth > n.clientWidth")
    table.evaluate("n => { n.scrollLeft = 300; }")
    cell = table.locator("td").first.bounding_box()
    assert cell["x"] == table.bounding_box()["x"]
    header = page.locator("#tables-main_audits-audits_default th").first
    assert header.bounding_box()["width"] > 40, "no heading is broken into letters"
    page.close()
