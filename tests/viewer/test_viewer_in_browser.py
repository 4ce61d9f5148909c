"""The trace viewer in a real headless Chromium: filters, clicks, keys, hostile and right-to-left text, light and dark.

`make test-pages` installs Chromium; plain pytest leaves these tests out.
"""

import pytest

from heal import records
from tests.support.viewer_run import (
    ARABIC,
    HEBREW,
    SCRIPT,
    make_checked_stories,
    make_stories,
    read_page_data,
    write_page,
    write_run,
)

pytestmark = pytest.mark.browser
HOSTILE, RIGHT_TO_LEFT = "window.ran", HEBREW.split()[0]
LOWEST_CONTRAST = 4.5  # WCAG 2.2, AA

# Every text on the page with less contrast to what is behind it than asked for; backgrounds are opaque or absent.
CONTRASTS = """(lowest) => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const channel = (c) => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const light = (color) => {
    const [r, g, b] = numbers(color).map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor, alpha = numbers(color)[3] ?? 1;
      if (alpha === 1) return color;
      if (alpha !== 0) throw new Error(`half transparent: ${color}`);
    }
    throw new Error("no background");
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, skipped = "script, noscript, option, :disabled";
    if (!walker.currentNode.data.trim() || node.closest(skipped) || !node.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    seen += 1;
    if (ratio < lowest) found.push(`${ratio.toFixed(2)} ${node.className} ${walker.currentNode.data.slice(0, 30)}`);
  }
  return [seen, found];
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"), make_stories(2))
    write_page(run)
    return run / "page.html"


@pytest.fixture
def visit(browser):
    """Opens a page. Afterwards: no message on the console, no error, and no request but for the page itself."""
    contexts, messages, requested = [], [], []

    def opened(address, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requested.append(request.url.partition("#")[0]))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert messages == []
    assert {url.partition(":")[0] for url in requested} == {"file"} and len(set(requested)) == 1


@pytest.fixture
def page(visit, file):
    return visit(file.as_uri())


def find_options(page):
    return page.get_by_role("option").and_(page.locator("#list > *"))


def choose(page, words):
    """Shows the first trace whose problem has these words."""
    page.get_by_label("Problem (").fill(words)
    find_options(page).first.click()


def test_every_filter_leaves_what_it_says_and_all_come_back(page, file):
    data = read_page_data(file.read_text(encoding="utf-8"))
    repairs = list(data["repairs"].values())
    status = page.get_by_role("status")
    assert find_options(page).count() == len(repairs) == 12

    def check_filter(name, choice, test):
        page.get_by_label(name, exact=True).select_option(label=choice)
        expected = sum(map(test, repairs))
        assert f"({expected})" in choice and 0 < expected < 12
        assert find_options(page).count() == expected and status.inner_text() == f"{expected} of 12 traces"
        page.get_by_role("button", name="Show all").click()
        assert find_options(page).count() == 12

    check_filter("Detector", "random (6)", lambda one: one["variant"] == "random-0")
    check_filter("Verdict", "accepted (8)", lambda one: one["verdict"] == "accepted")
    check_filter("Verdict", "no breakpoint (2)", lambda one: one["verdict"] == "no_breakpoint")
    check_filter("PURE", "dropped (1)", lambda one: one["pure"] == "dropped")
    check_filter("PURE", "kept (7)", lambda one: one["pure"] == "kept")
    page.get_by_label("Problem (").fill("asked 1?")
    assert find_options(page).count() == 2
    page.get_by_label("Verdict", exact=True).select_option(label="wrong (2)")
    assert find_options(page).count() == 1
    page.get_by_label("Problem (").fill("nobody asked this")
    assert find_options(page).count() == 0 and status.inner_text() == "0 of 12 traces"
    assert "No trace matches" in page.get_by_role("main").inner_text()


def test_a_click_shows_a_trace_and_its_address_shows_it_again(page, visit, file):
    data = read_page_data(file.read_text(encoding="utf-8"))
    for place in (7, 2):
        find_options(page).nth(place).click()
        assert find_options(page).nth(place).get_attribute("aria-selected") == "true"
        assert page.locator("[aria-selected=true]").count() == 1
        shown = list(data["repairs"].values())[place]
        assert shown["problem"][:6] in page.get_by_role("heading", level=2).inner_text()
        assert page.locator("article .question").inner_text() == data["problems"][shown["problem"]]["question"]
    again = visit(page.url)
    assert find_options(again).nth(2).get_attribute("aria-selected") == "true"
    assert visit(f"{file.as_uri()}#no-such-trace").locator("[aria-selected=true]").count() == 1


def test_keys_move_through_the_list_and_the_focus_is_seen(page):
    def selected():
        return find_options(page).evaluate_all("items => items.findIndex(item => item.ariaSelected === 'true')")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "story"
    page.get_by_role("listbox").focus()
    page.keyboard.press("Home")
    for key, place in (("ArrowDown", 1), ("j", 2), ("j", 3), ("k", 2), ("ArrowUp", 1), ("End", 11), ("j", 11)):
        page.keyboard.press(key)
        assert selected() == place, key
    active = page.get_by_role("listbox").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"
    page.keyboard.press("Home")
    page.keyboard.press("k")
    assert selected() == 0 and page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    assert selected() == 1
    page.get_by_label("Problem (").press_sequentially("jk")
    assert find_options(page).count() == 0, "letters in a field are letters"


def test_html_in_a_trace_is_text_and_does_not_run(page):
    choose(page, HOSTILE)
    assert SCRIPT in page.locator(".part.new .steps").inner_text()
    assert page.locator("#hint bdi").inner_text() == SCRIPT
    assert SCRIPT in page.locator("article .question").inner_text()
    assert page.evaluate("window.ran") is None
    assert page.locator("script").count() == 2 and page.locator("article :is(img, b, script)").count() == 0


def test_text_from_right_to_left_reads_so(page):
    choose(page, RIGHT_TO_LEFT)
    assert page.locator("#hint bdi").inner_text() == HEBREW
    step = page.locator(".part.new .text", has_text=ARABIC.split()[0]).and_(page.locator(".steps .text"))
    assert step.get_attribute("dir") == "auto" and step.inner_text() == ARABIC
    assert step.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert page.locator(".part.new .text").last.evaluate("node => getComputedStyle(node).direction") == "ltr"


def test_a_trace_shows_cut_hint_and_what_pure_measured(page):
    choose(page, "asked 0?")
    story = page.get_by_role("article")
    text = story.inner_text()
    order = ["Kept: step 1", "First, 3 and 4.", "Then 3 + 4 = 8.", "Hint, injected at the cut", "Then 3 + 4 = 7."]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "not part of the training text" in page.locator("#hint").inner_text()
    assert "Cut. Dropped: steps 2 to 3 of the wrong trace" in text
    assert page.locator(".part.dropped li", has_text="breakpoint k*").inner_text().startswith("Step 2")
    rows = page.get_by_role("table", name="Steps of the repair").get_by_role("row").all_inner_texts()
    assert len(rows) == 4 and rows[2].split("\t")[1:3] == ["new", "17"]
    assert rows[2].split("\t")[4:7] == ["1.65", "0.010", "4.41"], "ppl = e^0.5, u, ln(ppl / (u + 0.01))"
    assert "k₁" in rows[2] and "states the answer" in rows[3]


def test_entropies_are_backgrounds_tooltips_and_numbers(page):
    token = page.locator("article .text .t[data-nats]").first
    nats = float(token.get_attribute("data-nats"))
    bounds = (0.1, 0.3, 0.6, 1, 1.5, 2.5, 4)
    assert token.get_attribute("title") == f"{nats:.2f} nats"
    assert f"e{sum(nats >= bound for bound in bounds)}" in token.get_attribute("class").split()
    shown = "node => getComputedStyle(node, '::after').content"
    assert token.evaluate(shown) == "none"
    page.get_by_label("Entropies as numbers").check()
    assert token.evaluate(shown) == f'"{nats:.2f}"'
    page.get_by_role("button", name="Next").click()
    assert page.locator("article .text .t[data-nats]").first.evaluate(shown) != "none", "it stays for the next trace"


def test_the_checker_s_verdict_is_shown_and_filtered_by(visit, tmp_path):
    run = write_run(tmp_path, make_checked_stories())
    write_page(run)
    page = visit((run / "page.html").as_uri())
    page.get_by_label("Step checker").select_option(label="inherited error (1)")
    assert find_options(page).count() == 1
    assert page.locator(".part:not(.new, .dropped) li", has_text="first wrong step").inner_text().startswith("Step 2")


def test_a_run_without_repairs_says_so(visit, tmp_path):
    run = write_run(tmp_path, make_stories())
    for path in run.glob("traces/t/teacher_seed0/*/*.parquet"):
        records.write(path, path.parent.name, [])
    write_page(run)
    page = visit((run / "page.html").as_uri())
    assert "This run has no repairs." in page.get_by_role("main").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(visit, file, scheme):
    page = visit(file.as_uri(), color_scheme=scheme)
    page.locator("summary").click()
    page.get_by_label("Entropies as numbers").check()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark[4:-1].split(","))) < 200) == (scheme == "dark")
    for place in (0, 3, 8):
        find_options(page).nth(place).click()
        texts, faint = page.evaluate(CONTRASTS, LOWEST_CONTRAST)
        assert texts > 100 and faint == []


def test_every_control_has_a_name_and_the_page_has_its_landmarks(page):
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = ("button", "combobox", "searchbox", "checkbox", "listbox", "option", "link", "region", "table")
    controls_found = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]
    ]
    assert {role for role, _ in controls_found} >= {"banner", "navigation", "main", "contentinfo", "search", *controls}
    assert [role for role, name in controls_found if role in controls and not name] == []
    levels = [int(h.evaluate("node => node.tagName")[1]) for h in page.get_by_role("heading").all()]
    assert levels[:2] == [1, 2] and set(levels[2:]) == {3}
    identities = page.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("width", [320, 1400])
def test_nothing_is_wider_than_the_window(visit, file, width):
    page = visit(file.as_uri(), viewport={"width": width, "height": 800})
    choose(page, HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
