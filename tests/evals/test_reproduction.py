"""A run next to its reference: it agrees with itself, a changed cell is named, and what cannot be compared says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evals.reproduction import FILE, CheckReproduction, find_differences, read_cells, write_reference
from heal import records
from heal.config.run_config import RunConfig
from heal.errors import HealError
from tests.support.paths import ROOT
from tests.support.planning import make_experiment
from tests.support.run_factory import make_view, write_run
from tests.support.tables import ACCURACY

SETTINGS = {"train": {"max_steps": 600}, "benchmarks": ["b", "greedy"]}
CELLS = 2 * (2 + len(ACCURACY))


def check(run: Path, reference: Path | None = None, settings: dict[str, Any] = SETTINGS) -> str:
    """The sentence that the run ends with."""
    out = run / "tables" / FILE
    CheckReproduction(comparison="main", view=make_view(run), settings=settings, reference=reference, out=out).run()
    return out.with_suffix(".txt").read_text()


def set_processor(run: Path, processor: str) -> None:
    """What the teacher answered on, by its provenance."""
    machine = {"processor": processor, "cpu_flags": ["AVX2"]}
    records.write_json(run / "evals/t/teacher/evaluation.provenance.json", {"machine": machine})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "mini", accuracy=ACCURACY)
    set_processor(run, "AMD EPYC")
    return run


@pytest.fixture
def reference(run: Path, tmp_path: Path) -> Path:
    """The reference made of the run."""
    assert check(run) == "Not compared with a reference: there is none of the run mini.\n"
    write_reference(run, tmp_path / "reference", add=False)
    return tmp_path / "reference" / FILE


def test_a_run_agrees_with_the_reference_made_of_it(run, reference):
    text = check(run, reference)
    assert text.startswith(f"Agrees with the reference: yes, in all {CELLS} cells ({CELLS} with the same mean).\n")
    assert "Made on AMD EPYC (AVX2); the reference on AMD EPYC (AVX2).\nA line for REPRODUCTIONS.md:\n" in text
    frame = pd.read_csv(run / "tables" / FILE)
    assert len(frame) == CELLS and set(frame["agrees"]) == {"yes"} and (frame["mean"] == frame["reference"]).all()
    heal = frame[(frame["method"] == "heal") & (frame["benchmark"] == "b")].iloc[0]
    assert (heal["n_replicates"], heal["n_answers"]) == (3, 60 * 4)


def test_a_shifted_method_is_named_with_both_means(run, reference, tmp_path):
    shifted = write_run(tmp_path / "shifted/mini", accuracy=ACCURACY | {"heal": 0.95})
    text = check(shifted, reference)
    assert text.startswith(f"Agrees with the reference: no, 2 of {CELLS} cells differ by more than chance: heal on b ")
    assert "rs on" not in text and "(teacher t, student s)" in text


@pytest.mark.parametrize(
    ("git", "commit"),
    [
        ({"commit": "0123456789", "dirty": False}, "0123456"),
        ({"commit": "0123456789", "dirty": True}, "0123456 with uncommitted changes"),
        ({"commit": None, "dirty": None}, "no git checkout"),
    ],
)
def test_the_line_for_the_log_has_the_columns_of_the_log(run, reference, monkeypatch, git, commit):
    monkeypatch.setattr("evals.reproduction.read_git_state", lambda: git)
    log = (ROOT / "REPRODUCTIONS.md").read_text(encoding="utf-8")
    [header] = [line for line in log.splitlines() if line.startswith("| machine")]
    row = check(run, reference).splitlines()[-1]
    verdict = f"yes, in all {CELLS} cells ({CELLS} with the same mean)"
    assert row == f"| AMD EPYC (AVX2) | {commit} | `make replicate` | {verdict} |"
    assert row.count("|") == header.count("|")


def test_a_run_of_another_config_names_its_command_and_the_cells_that_differ(run, reference, tmp_path):
    other = write_run(tmp_path / "mini_guided", accuracy=ACCURACY | {"heal": 0.95})
    row = check(other, reference).splitlines()[-1]
    assert "| `snakemake --cores all --configfile config/mini_guided.yaml` | no, 2 of" in row and row.count("|") == 5


def test_other_settings_are_named_and_nothing_is_compared(run, reference):
    other = {"train": {"max_steps": 500}, "benchmarks": ["b", "greedy"], "limit": 40}
    text = check(run, reference, other)
    assert text == "Not compared with the reference: its settings differ in limit; train.max_steps.\n"
    assert pd.read_csv(run / "tables" / FILE)["agrees"].isna().all()


def test_a_second_kind_of_hardware_is_added_and_made_again_replaces_its_own_rows(run, reference, tmp_path):
    elsewhere = write_run(tmp_path / "elsewhere/mini", accuracy=ACCURACY | {"heal": 0.62})
    set_processor(elsewhere, "Intel Xeon")
    for accuracy in (0.62, 0.63):
        write_run(elsewhere, accuracy=ACCURACY | {"heal": accuracy})
        set_processor(elsewhere, "Intel Xeon")
        check(elsewhere, reference)
        write_reference(elsewhere, reference.parent, add=True)
    cells = read_cells(reference)
    assert [cell.hardware for cell in cells] == ["AMD EPYC (AVX2)"] * CELLS + ["Intel Xeon (AVX2)"] * CELLS
    assert cells[CELLS:] == read_cells(elsewhere / "tables" / FILE)
    assert check(elsewhere, reference).startswith(f"Agrees with the reference: yes, in all {CELLS} cells ({CELLS} with")
    check(elsewhere, settings=SETTINGS | {"seed": 1})
    with pytest.raises(HealError, match="the settings differ in seed"):
        write_reference(elsewhere, reference.parent, add=True)


def test_a_damaged_reference_is_refused_with_its_row(run, reference):
    frame = pd.read_csv(reference, dtype=str)
    frame.loc[1, "mean"] = "high"
    frame.to_csv(reference, index=False)
    with pytest.raises(HealError, match="not a cell") as refused:
        check(run, reference)
    assert refused.value.where.endswith("reproduction.csv, row 2")


def change_what_decides_no_number(content: dict[str, Any]) -> None:
    content.update(run="other", ablations={}, comparisons={}, seeds_per_job=2, premise={"min_unsolved": 1})
    content["engine"]["max_num_seqs"] = 4
    content["sampling"]["shards"] = 3
    content["teachers"]["default"]["gpus"] = 2


@pytest.mark.parametrize(
    ("change", "different"),
    [
        (change_what_decides_no_number, []),
        (lambda content: content.update(limit=40), ["limit"]),
        (lambda content: content["train"].update(max_steps=5, save_minutes=1.0), ["train.max_steps"]),
        (lambda content: content["gear"].update(detector="random"), ["gear.detector"]),
        (lambda content: content["methods"].pop("guided"), ["methods.guided.method"]),
        (lambda content: content["problems"]["test"]["hard"].update(n=9), ["problems.test.hard.n"]),
    ],
)
def test_settings_differ_in_what_decides_numbers_and_in_nothing_else(change, different):
    def get_settings(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        # Without `pace` a method has its default options, so a method that is gone differs in one setting.
        return RunConfig(make_experiment(lambda content: (content.pop("pace"), change(content)))).get_settings("main")

    assert find_differences(get_settings(change), get_settings(lambda content: None)) == different
