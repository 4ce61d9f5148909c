"""What documentation takes from the code: marked tables are up to date, and replacing one leaves the rest alone."""

from __future__ import annotations

import pytest

from heal.errors import HealError
from tests.support.paths import ROOT
from tools.docs import generate
from tools.docs.markdown import build_table, replace_between


def test_the_marked_tables_are_up_to_date():
    for page, text in generate.render_pages().items():
        assert (ROOT / page).read_text(encoding="utf-8") == text, f"{page}: fix: make generate"


def test_only_the_text_between_the_markers_is_replaced():
    page = "before\n<!-- plans -->\nold\n<!-- end of plans -->\nafter\n"
    replaced = replace_between(page, "plans", "new\n", where="page.md")
    assert replaced == page.replace("old", "new")
    assert replace_between(replaced, "plans", "new", where="page.md") == replaced


@pytest.mark.parametrize("marker", ["<!-- plans -->", "<!-- end of plans -->"])
def test_a_missing_marker_is_named(marker):
    page = "<!-- plans -->\n<!-- end of plans -->\n".replace(marker, "")
    with pytest.raises(HealError, match="plans") as refused:
        replace_between(page, "plans", "new", where="page.md")
    assert refused.value.where == "page.md" and marker in refused.value.fix


def test_cells_keep_the_table_s_columns_and_hold_no_tags():
    table = build_table(["name", "meaning"], [["`a|b`", "a <b> and `<c>`"]])
    header, rule, row = table.splitlines()
    assert row == "| `a\\|b` | a &lt;b> and `<c>` |"
    assert rule.count("|") == header.count("|") == row.replace("\\|", "").count("|") == 3
