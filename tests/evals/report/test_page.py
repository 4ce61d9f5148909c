"""Laws of the page of a run: the tables' numbers, missing files named, nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from evals.figures import style
from evals.figures.base import save_figure
from evals.report import page, summary
from evals.report.items import ABLATIONS, SECTIONS
from evals.report.origins import get_provenance_path
from evals.results import read_json
from evals.tables.notes import Note, Topic, get_notes_path, read_notes, write_notes
from heal import records
from heal.errors import HealError
from tests.support.paths import ROOT
from tests.support.run_factory import write_run
from tests.support.tables import write_comparison

REFERENCE = ROOT / "results/reference/mini"
ACCURACY = {"rs": 0.2, "heal": 0.8, "oracle": 0.9}


@pytest.fixture(scope="module")
def compared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which heal is better than the reference rs, with its main table and accuracy figure only."""
    run = write_run(tmp_path_factory.mktemp("compared") / "run", accuracy=ACCURACY, training_seeds=5)
    write_comparison(run, training_seeds=5)
    records.write_text(run / "figures/main/accuracy.svg", '<svg xmlns="http://www.w3.org/2000/svg"/>')
    return run


@pytest.fixture
def run(compared_run: Path, tmp_path: Path) -> Path:
    """A copy, which a test may edit."""
    return shutil.copytree(compared_run, tmp_path / "run")


def test_the_summary_comes_first_and_has_the_numbers_of_the_table(run):
    html, text = page.render_page(run, run)
    rows = summary.read_comparison(run / "tables/main.csv")
    [row] = [row for row in rows if row.method == "heal" and row.benchmark == "b"]
    first = text.split("\n\n")[1]
    assert row.verdict == "higher" and first.startswith(f"Yes on b ({row.n_questions} questions")
    assert f"difference {row.diff:.3f} [{row.diff_low:.3f}, {row.diff_high:.3f}]" in first
    places = [html.index(part) for part in ('class="question"', first.partition(":")[0], 'id="tables-main"')]
    assert places == sorted(places)


def test_the_rows_read_are_those_that_were_written(run):
    text = (run / "tables/main.csv").read_text()
    rows = summary.read_comparison(run / "tables/main.csv")
    assert len(rows) == len(text.splitlines()) - 1
    assert rows[0].family == "primary"
    teacher = next(row for row in rows if row.method == "teacher")
    assert teacher.student == "" and teacher.training_tokens is None
    assert teacher.diff != teacher.diff, "an empty cell is NaN"


def test_notes_on_the_world_are_chosen_by_topic_and_not_by_wording(run):
    path = get_notes_path(run / "tables/main.csv")
    others = [note for note in read_notes(path) if note.topic is not Topic.WORLD]
    decoy = Note(Topic.COST, "mini: begins like a note on the world.")
    write_notes(path, [*others, Note(Topic.WORLD, "another wording."), decoy])
    _, text = page.render_page(run, run)
    assert "Another wording." in text and "begins like" not in text


def test_an_absent_premise_is_named_before_the_answer(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, holds=False)
    write_comparison(run)
    html, text = page.render_page(run, run)
    assert "Premise absent for teacher t, teacher seed 0 (no hint uplift): not a test of HEAL." in text
    assert html.index('<p class="warn">Premise absent') < html.index(" on b (")


@pytest.mark.parametrize("where", ["made", "reference"])
def test_a_page_needs_nothing_from_elsewhere_and_equal_inputs_give_equal_bytes(run, where):
    folder = run if where == "made" else REFERENCE
    html, text = page.render_page(folder, ROOT)
    assert (html, text) == page.render_page(folder, ROOT)
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
    arguments = ["report", str(tmp_path / "results/reference/mini"), "--out", str(tmp_path / "page.html")]
    code = f"import sys; from heal import cli; cli.main({arguments})"
    code += "; assert not {'torch', 'transformers', 'snakemake'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
    html = (tmp_path / "page.html").read_text()
    for block in ("tables-main", "tables-main_strata", "figures-main-differences", "figures-main-accuracy"):
        assert f'id="{block}"' in html, block
    assert "rs_matched" in html


def test_a_missing_file_is_named_with_the_command_that_makes_it(run):
    html, _ = page.render_page(run, run)
    assert f"run <code>{ABLATIONS}</code>" in html.partition('<details id="missing">')[2]
    blocks = {}
    for items in SECTIONS.values():
        for item in items:
            for block in page.build_blocks(item, run, run):
                blocks[block.id] = block
    assert blocks["tables-main"].body and not blocks["tables-ablations"].body
    (run / "tables/main.csv").unlink()
    with pytest.raises(HealError, match="no main table"):
        page.render_page(run, run)


def test_every_block_names_its_command_and_commit(run):
    provenance = get_provenance_path(run / "tables/main.csv")
    record = read_json(provenance)
    html, _ = page.render_page(run, run)
    assert record["git"]["commit"] in html and record["options_hash"] in html
    assert "Origin unknown" in html, "the figure was made by hand"
    for dirty in (True, False):
        argv = ["heal", "tabulate-comparison", "--out", "my file.csv"]
        records.write_json(provenance, record | {"argv": argv, "git": {"commit": "abc", "dirty": dirty}})
        (block,) = page.build_blocks(SECTIONS["Main comparison"][0], run, run)
        assert (block.origin.commit, block.origin.dirty) == ("abc", dirty)
        assert block.origin.command == "heal tabulate-comparison --out 'my file.csv'"
        assert block.origin.short_command == "heal tabulate-comparison"
    provenance.unlink()
    (block,) = page.build_blocks(SECTIONS["Main comparison"][0], run, run)
    assert block.origin is None


def test_text_of_a_file_is_shown_as_text(run):
    path = run / "tables/main.md"
    path.write_text(path.read_text() + "* <script>alert(1)</script>\n")
    assert "<script" not in page.render_page(run, run)[0]


def test_no_section_is_empty_and_the_contents_name_every_section(run):
    """The run has a main table and a figure: every other section, and their links, are left out."""
    html, _ = page.render_page(run, run)
    shown = re.findall(r"<section id=\"([^\"]+)\">(.*?)</section>", html, re.DOTALL)
    assert [name for name, _ in shown] == ["main-comparison", "environment"]
    assert all("<table" in content or "<img" in content for _, content in shown)
    contents = re.search(r"<nav.*?</nav>", html, re.DOTALL)[0]
    linked = re.findall(r'href="#([^"]+)"', contents)
    assert linked == ["summary", "main-comparison", "tables-main", "figures-main-accuracy", "environment"]


def test_what_cannot_be_said_is_folded_and_what_can_be_is_not(run):
    header = "| quantity | value |\n| --- | --- |\n"
    said, unsaid = "| exact | 0.5 [0.4, 0.6] |\n", "| AUROC | cannot say (n 0) |\n"
    for name, rows in (("strata", said + unsaid), ("ranks", unsaid + unsaid), ("at_k", said)):
        records.write_text(run / f"tables/main_{name}.md", f"# Title\n\nText.\n\n{header}{rows}\nEnd.\n")
    figure = style.plot_message("No repair was accepted & scored.")
    save_figure(figure, run / "figures/roc.svg", pd.DataFrame())
    html, _ = page.render_page(run, run)

    def find_block(name: str) -> str:
        return re.search(
            rf'<(?:div|details) class="block" id="{name}">.*?(?=<(?:div|details) class="block"|</section>)',
            html,
            re.DOTALL,
        )[0]

    strata, ranks, at_k, roc = map(
        find_block, ("tables-main_strata", "tables-main_ranks", "tables-main_at_k", "figures-roc")
    )
    assert strata.startswith("<div") and "<summary>1 row: cannot say</summary>" in strata
    assert strata.index("0.5 [0.4") < strata.index("<summary>1 row") < strata.index("AUROC")
    assert ranks.startswith("<details") and at_k.startswith("<div") and "cannot say</summary>" not in at_k
    assert roc.startswith("<details") and "No repair was accepted &amp; scored." in roc
    assert not page.find_unsaid(run / "tables/main.md", SECTIONS["Main comparison"][0])


def test_every_caption_is_used_and_every_item_has_one():
    captions = {item.caption for section in SECTIONS.values() for item in section}
    assert {path.stem for path in page.CAPTIONS.glob("*.rst")} == captions | {"workflow", "page"}
