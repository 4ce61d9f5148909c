"""Laws of a reference folder: it holds what people look at, says how answers were sampled, and nothing else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from evals.settings import collect_settings, read_premises
from heal.errors import HealError
from tests.support.paths import ROOT
from tools import reference
from tools.reference_summary import BEGIN, END, render_summary

GREEDY = {"repeats": 1, "dtype": "float32", "generation": {"do_sample": False, "max_gen_toks": 9}}
SAMPLED = {"repeats": 4, "dtype": "float32", "generation": {"do_sample": True, "max_gen_toks": 9, "temperature": 0.5}}
MAIN = """teacher,student,method,benchmark,mean,ci_low,ci_high,n_questions,family,diff,diff_low,diff_high,verdict
t,s,heal,hard,0.5,0.4,0.6,7,primary,0.25,0.1,0.4,higher
t,,teacher,hard,0,0,0,7,,,,,
t,s,rs,hard,0.25,0.2,0.3,7,,,,,reference
"""
PREMISES = "premise,says,quantity,value,low,high,threshold,holds\nP1,entropy marks,auroc,0.9,0.8,0.95,0.75,yes\n"
CELLS = """teacher,student,method,benchmark,hardware,n_replicates,n_answers,mean,spread,reference,p,agrees
t,s,heal,hard,AMD EPYC (AVX2),3,7,0.5000,0.1000,,,
"""
TABLES = {"main.csv", "main.csv.provenance.json", "main.md", "main_outcomes.parquet", "main_audits/premises_t.csv"}
LEFT = {"main.tex", "main_audits/teacher_seed0/audits_t.csv", "old.parquet"}


def write(path: Path, content: object = "content") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two models on three benchmarks, of which one is sampled."""
    run = tmp_path / "run"
    for name in TABLES | LEFT:
        write(run / "tables" / name)
    write(run / "tables/main.csv", MAIN)
    write(run / "tables/main_audits/premises_t.csv", PREMISES)
    write(run / "tables/reproduction.csv", CELLS)
    provenance = {"git": {"commit": "0123456789"}, "options": {"settings": {"seed": 1}}}
    write(run / "tables/reproduction.csv.provenance.json", provenance)
    write(run / "tables/reproduction.txt")
    for name in ("main/accuracy.svg", "main/accuracy.svg.provenance.json", "main/accuracy.png", "roc.svg"):
        write(run / "figures" / name)
    for model in ("t/teacher", "t/teacher_seed0/s/heal/seed0"):
        for benchmark, settings in (("easy", GREEDY), ("hard", GREEDY), ("sampled", SAMPLED)):
            write(run / "evals" / model / benchmark / "results.json", {"settings": settings})
    for seed, holds in ((0, True), (1, False)):
        write(run / f"traces/t/teacher_seed{seed}/premise.json", {"holds": holds, "reasons": ["too few"] * (not holds)})
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reference folder of an earlier run, whose README shows one figure."""
    folder = tmp_path / "reference"
    write(folder / "README.md", f"![Accuracy](figures/main/accuracy.svg)\n{BEGIN}\n{END}\n")
    write(folder / "tables/gone.csv")
    return folder


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_has_the_tables_and_the_figures_that_its_page_shows(run, folder):
    reference.build_reference(run, folder)
    figures = {"figures/main/accuracy.svg", "figures/main/accuracy.svg.provenance.json"}
    cells = {"reproduction.csv", "reproduction.csv.provenance.json"}
    tables = {f"tables/{name}" for name in TABLES}
    assert list_files(folder) == {"README.md", "settings.json"} | cells | figures | tables
    assert (folder / "reproduction.csv").read_text().endswith(",hard,AMD EPYC (AVX2),3,7,0.5000,0.1000,0123456\n")


def test_it_says_how_answers_were_sampled_and_which_premises_held_as_the_run_does(run, folder):
    reference.build_reference(run, folder)
    content = json.loads((folder / "settings.json").read_text())
    assert content == collect_settings(run)
    models = ["t/teacher", "t/teacher_seed0/s/heal/seed0"]
    assert sorted(content["evaluation"], key=lambda entry: entry["benchmarks"]) == [
        {"benchmarks": ["easy", "hard"], "models": models, "settings": GREEDY},
        {"benchmarks": ["sampled"], "models": models, "settings": SAMPLED},
    ]
    assert read_premises(folder) == read_premises(run)
    assert {key: premise["holds"] for key, premise in read_premises(run).items()} == {("t", 0): True, ("t", 1): False}


def test_a_model_that_was_asked_otherwise_is_an_entry_of_its_own(run):
    write(run / "evals/t/teacher/easy/results.json", {"settings": SAMPLED})
    entries = collect_settings(run)["evaluation"]
    by_cell = {(b, m): entry["settings"] for entry in entries for b in entry["benchmarks"] for m in entry["models"]}
    assert by_cell["easy", "t/teacher"] == SAMPLED and by_cell["easy", "t/teacher_seed0/s/heal/seed0"] == GREEDY
    assert len(by_cell) == 6


def test_its_page_shows_the_run_s_numbers_and_keeps_its_other_text(run, folder):
    reference.build_reference(run, folder)
    text = (folder / "README.md").read_text()
    assert text.startswith("![Accuracy](figures/main/accuracy.svg)") and text.endswith(f"{END}\n")
    for cells in (
        "| t | s | heal | 7 | 0.500 [0.400, 0.600] | 0.250 [0.100, 0.400] | higher (primary, not adjusted) |",
        "| t | P1: entropy marks | auroc | 0.900 [0.800, 0.950] | 0.75 | yes |",
        "| easy, hard | 2 | 1 | greedy | 9 | not recorded | float32 |",
        "| sampled | 2 | 4 | temperature 0.5 | 9 | not recorded | float32 |",
    ):
        assert cells in text
    assert "Teacher `t`, teacher seed 1: the comparison is no test of HEAL (too few)." in text


@pytest.mark.parametrize("folder", sorted(path.parent for path in reference.REFERENCE.glob("*/README.md")), ids=str)
def test_every_committed_page_shows_what_its_files_say(folder):
    assert f"{BEGIN}\n\n{render_summary(folder)}\n\n{END}" in (folder / "README.md").read_text()


@pytest.mark.parametrize("lost", ["tables", "tables/reproduction.csv", "figures", "README.md"])
def test_nothing_is_replaced_where_something_needed_is_missing(run, folder, lost):
    (folder if lost == "README.md" else run).joinpath(lost).rename(run / "elsewhere")
    before = list_files(folder)
    with pytest.raises(HealError):
        reference.build_reference(run, folder)
    assert list_files(folder) == before


@pytest.mark.parametrize("name", ["mini", "mini_study_subset"])
def test_every_figure_that_a_page_shows_is_committed_and_no_other(name):
    folder = ROOT / "results/reference" / name
    tracked = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    figures = {path.partition(f"{name}/")[2] for path in tracked.stdout.split() if path.endswith((".svg", ".png"))}
    assert figures == set(reference.list_shown_figures(folder))
