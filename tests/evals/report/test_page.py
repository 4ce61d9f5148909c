"""Laws of the page of a run: it says what the tables say, names what is missing, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from evals.figures import accuracy as figures
from evals.report import page as report
from evals.report import summary as answer
from evals.results import UNSOLVED
from evals.tables import comparison as tables
from heal import records
from heal.errors import HealError
from tests.support.commands import run_main
from tests.support.paths import ROOT
from tests.support.run_factory import make_table_arguments, write_run

REFERENCE = ROOT / "results/reference/mini"


def write_tables(folder: Path, monkeypatch, accuracy: dict[str, float], **options) -> Path:
    run = write_run(folder, accuracy=accuracy, **options)
    run_main(
        monkeypatch, tables.main, *make_table_arguments(run, run / "tables/main.csv", seeds=options.get("seeds", 3))
    )
    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Path:
    """A run in which heal is better than the reference rs, with its main table and accuracy figure only."""
    run = write_tables(tmp_path / "run", monkeypatch, {"rs": 0.2, "heal": 0.8, "oracle": 0.9}, seeds=5)
    axes = make_table_arguments(run, run / "unused", seeds=5)[
        : -len(["--methods-json", "", "--reference-method", "", "--out", ""])
    ]
    run_main(monkeypatch, figures.main, "accuracy", *axes, "--out", run / "figures/main/accuracy.svg")
    return run


def read_table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "tables/main.csv", keep_default_na=False, na_values=[""]).fillna(
        {"student": "", "verdict": "", "diff_covers": ""}
    )


def change_method(table: pd.DataFrame, method: str, **values) -> pd.DataFrame:
    table = table.copy()
    table.loc[table["method"] == method, list(values)] = list(values.values())
    return table


def test_the_answer_comes_first_and_has_the_table_s_numbers(run):
    html, text = report.page(run, run)
    row = read_table(run).query(f"method == 'heal' and benchmark == 'b{UNSOLVED}'").iloc[0]
    first = text.split("\n\n")[1]
    assert row["verdict"] == "higher" and first.startswith(f"Yes, on b{UNSOLVED} ({row['n_questions']} questions")
    assert f"difference {row['diff']:.3f} [{row['diff_low']:.3f}, {row['diff_high']:.3f}]" in first
    at = [html.index(each) for each in ('class="question"', first.partition(":")[0], 'id="tables-main"')]
    assert at == sorted(at)


@pytest.mark.parametrize("verdict", answer.SAID)
def test_a_verdict_is_said_as_it_is_and_other_rows_do_not_change_it(run, verdict):
    table = change_method(read_table(run), "heal", verdict=verdict)
    first = answer.answer(table, "heal")[0]
    assert first.startswith(f"{answer.SAID[verdict]}, on b{UNSOLVED}")
    assert answer.answer(table[table["method"] != "oracle"], "heal")[0] == first
    assert answer.answer(table.iloc[::-1], "heal")[0] == first


def test_who_differs_is_named_and_who_does_not_is_not(run):
    table = change_method(read_table(run), "oracle", verdict="lower")
    assert any(sentence.startswith("oracle is lower than rs on b ") for sentence in answer.answer(table, "heal"))
    none = answer.answer(change_method(table, "oracle", verdict="not distinguishable"), "heal")
    assert "No other method differs from rs on any benchmark, as far as this design can see." in none
    assert not any("oracle" in sentence for sentence in none)
    silent = answer.answer(change_method(table, "oracle", verdict="cannot say"), "heal")
    assert (
        "Nothing can be said of any other method beside rs on any benchmark, as far as this design can see." in silent
    )


def test_the_highest_mean_of_each_benchmark_is_told_with_ties(run):
    table = read_table(run)
    wins = answer.wins(change_method(table, "oracle", mean=0.99), "heal").set_index("benchmark")
    assert set(wins["highest mean"]) == {"oracle (0.990)"}
    tied = answer.wins(change_method(change_method(table, "oracle", mean=0.99), "heal", mean=0.99), "heal")
    assert set(tied["highest mean"]) == {"heal, oracle (0.990)"}
    assert wins.loc["b", "verdict"] == table.query("method == 'heal' and benchmark == 'b'")["verdict"].iloc[0]


def test_an_absent_premise_stands_beside_the_answer(tmp_path, monkeypatch):
    run = write_tables(tmp_path / "run", monkeypatch, {"rs": 0.2, "heal": 0.8, "oracle": 0.9}, holds=False)
    html, text = report.page(run, run)
    assert "Premise absent for teacher t, draw 0 (no hint uplift): not a test of HEAL." in text
    assert html.index('<p class="warn">Premise absent') < html.index("Yes, on b")


@pytest.mark.parametrize("where", ["made", "reference"])
def test_a_page_needs_nothing_from_elsewhere_and_equal_inputs_give_equal_bytes(run, where):
    folder = run if where == "made" else REFERENCE
    html, text = report.page(folder, ROOT)
    assert (html, text) == report.page(folder, ROOT)
    assert "<script" not in html and "<link" not in html and "@import" not in html and "url(" not in html
    assert all(source.startswith("data:image/svg+xml;base64,") for source in re.findall(r'src="([^"]*)"', html))
    assert not re.search(r'href="https?:', html)
    for link in re.findall(r'href="([^"#]+)"', html):
        assert (ROOT / link).exists(), link
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert {anchor for anchor in re.findall(r'href="#([^"]+)"', html)} <= set(ids)


def test_a_clone_that_ran_nothing_has_the_reference_page(tmp_path):
    """Only what git has of the reference run, and no heavy import."""
    listed = subprocess.run(["git", "ls-files", REFERENCE], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if not name.endswith((".parquet", ".png")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    command = ["report", str(tmp_path / "results/reference/mini"), "--out", str(tmp_path / "page.html")]
    code = f"import sys; from evals.report import page; sys.argv = {command}; page.main()"
    code += "; assert not {'torch', 'transformers', 'snakemake'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
    html = (tmp_path / "page.html").read_text()
    assert 'id="tables-ablations"' in html and 'id="figures-main-accuracy"' in html and "rs_matched" in html


def test_what_is_missing_is_named_with_the_command_that_makes_it(run):
    html, _ = report.page(run, run)
    assert "<code>snakemake --cores all ablations</code> makes it" in html
    blocks = {
        block.id: block for items in report.SECTIONS.values() for i in items for block in report.blocks_of(i, run, run)
    }
    assert blocks["tables-main"].body and not blocks["tables-ablations"].body
    (run / "tables/main.csv").unlink()
    with pytest.raises(HealError, match="no main table"):
        report.page(run, run)


def test_every_block_says_what_made_it_at_which_commit(run):
    provenance = run / "tables/main.csv.provenance.json"
    recorded = report.read_json(provenance)
    html, _ = report.page(run, run)
    assert recorded["git"]["commit"] in html and recorded["options_hash"] in html and "--reference-method rs" in html
    for dirty in (True, False):
        records.write_json(provenance, recorded | {"git": {"commit": "abc", "dirty": dirty}})
        (block,) = report.blocks_of(report.SECTIONS["Main comparison"][0], run, run)
        assert (block.made.commit, block.made.dirty) == ("abc", dirty)
    provenance.unlink()
    assert "Origin not recorded" in report.page(run, run)[0]


def test_what_a_file_says_is_shown_as_text(run):
    path = run / "tables/main.md"
    path.write_text(path.read_text() + "* <script>alert(1)</script>\n")
    assert "<script" not in report.page(run, run)[0]


def test_every_caption_is_used_and_every_item_has_one():
    items = {item.caption for section in report.SECTIONS.values() for item in section}
    assert {path.stem for path in report.CAPTIONS.glob("*.rst")} == items | {"workflow", "page"}
