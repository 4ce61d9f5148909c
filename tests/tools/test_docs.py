"""The documentation: built strictly, no dead link, nothing fetched from elsewhere."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import pytest
from markdown.extensions.toc import slugify

from tests.support.paths import ROOT
from tools.docs.generate import write_reference
from tools.docs.rule_graph import list_drawn_rules, list_rules, read_rule_graph

pytestmark = pytest.mark.workflow  # Snakemake plans the rule graph
SPEC = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
PAGES = [file for file in TRACKED if file.endswith(".md") and (ROOT / file).exists()]
CLEANED = re.compile(r"`|\*|\[([^]]*)\]\([^)]*\)")


@pytest.fixture(scope="module", autouse=True)
def reference_pages():
    """The reference pages, which are not committed: pages link to them, and the site has them."""
    write_reference()


def list_anchors(page: Path) -> set[str]:
    """What a page's headings are called in a link."""
    text = hooks.CODE.sub(lambda code: "" if code[0].startswith("```") else code[0], page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {slugify(CLEANED.sub(r"\1", heading), "-") for heading in headings}


def test_the_picture_of_the_rules_has_every_rule():
    rules = list_rules(read_rule_graph())
    assert {"load_problems", "train_student"} < rules and rules == list_drawn_rules(), "python -m tools.docs.pictures"


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_dead(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in hooks.find_links(text):
        path = ROOT / hooks.resolve_target(PurePosixPath(page), link[1])
        assert path.is_file(), f"{page}: {link[0]}"
        if link[2]:
            assert link[2][1:] in list_anchors(path), f"{page}: {link[0]}"
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in list_anchors(ROOT / page), f"{page}: #{anchor}"
    for address in re.findall(r"\]\(([a-z]+:[^)]*)\)", text):
        parts = urlparse(address)
        assert parts.scheme == "https" and "." in parts.netloc and " " not in address, f"{page}: {address}"


@pytest.mark.parametrize("file", ["README.md", "docs/log.md", "docs/reference/commands.md", "evals/tasks/README.md"])
def test_the_way_into_the_site_leads_back(file):
    path = PurePosixPath(file)
    assert hooks.map_to_repository(str(hooks.map_to_site(path))) == path


def test_links_in_code_are_left_alone():
    text = "[a](../x.md) `[b](y.md)` [c](https://z.org)\n```\n[d](w.md)\n```\n[e](#f)"
    assert [link[1] for link in hooks.find_links(text)] == ["../x.md"]


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def site(site_folder):
    """Name → text of every page, but for the viewer, which is a page of its own."""
    pages = (path for path in site_folder.rglob("*.html") if "viewer" not in path.parts)
    return {path.relative_to(site_folder).as_posix(): path.read_text(encoding="utf-8") for path in pages}


def test_a_reader_fetches_nothing_from_elsewhere(site):
    for name, page in site.items():
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:https?:)?//[^>]*>", page), name


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_wide_table_scrolls_inside_its_page(site, site_folder, browser, width):
    wide = 0
    for name, text in site.items():
        if "<table>" not in text:
            continue
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto((site_folder / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        wide += page.evaluate("[...document.querySelectorAll('table')].filter(t => t.scrollWidth > innerWidth).length")
        page.close()
    assert wide or width > 390


def test_every_formula_is_mathml(site):
    source = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    assert source.count("$$") == 2 * site["method.html"].count('display="block"') > 0
    for name, page in site.items():
        assert "arithmatex" not in page, name
        assert not re.search(r"<m[ion][^>]*>\\", page), f"{name}: a command that latex2mathml does not know"


# HTML and MathML that mkdocs, its theme and latex2mathml write.
KNOWN_TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "script",
        "noscript",
        "body",
        "header",
        "nav",
        "main",
        "footer",
        "article",
        "aside",
        "section",
        "form",
        "input",
        "label",
        "button",
        "dialog",
        "svg",
        "path",
        "div",
        "span",
        "p",
        "a",
        "ul",
        "ol",
        "li",
        "dl",
        "dt",
        "dd",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "code",
        "kbd",
        "img",
        "strong",
        "em",
        "b",
        "i",
        "small",
        "sub",
        "sup",
        "hr",
        "br",
        "blockquote",
        "details",
        "summary",
        "figure",
        "figcaption",
        "math",
        "semantics",
        "annotation",
        "mrow",
        "mi",
        "mo",
        "mn",
        "msub",
        "msup",
        "msubsup",
        "mfrac",
        "msqrt",
        "munder",
        "mover",
        "munderover",
        "mspace",
        "mtext",
        "mtable",
        "mtr",
        "mtd",
        "mstyle",
    ]
)


def test_nothing_in_angle_brackets_is_lost(site):
    """results/<run> in a text would be a tag that no browser shows."""
    for name, page in site.items():
        content = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
        assert {tag.lower() for tag in re.findall(r"<([a-zA-Z_][\w-]*)", content)} - KNOWN_TAGS == set(), name
    assert "results/&lt;run&gt;" in site["reference/commands.html"]


def test_the_search_index_has_every_page_and_option(site, site_folder):
    index = json.loads((site_folder / "search/search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert found == set(site) - {"404.html"}
    assert any("calibration_quantile" in entry["text"] for entry in index["docs"])


def test_every_option_is_in_the_site(site):
    assert "calibration_quantile" in site["reference/config.html"]
