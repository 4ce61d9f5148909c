"""Passes under a table: every method has its own, and less than one is a warning."""

from __future__ import annotations

import json

from evals.results import open_run
from evals.tables.notes import Topic, select_notes
from evals.tables.passes import list_pass_notes
from heal import records
from tests.support.run_factory import make_view
from tests.support.tables import write_comparison


def set_passes(run, method, passes):
    """passes: by training seed, of each stage."""
    for seed, stages in enumerate(passes):
        path = run / f"students/t/teacher_seed0/s/{method}/seed{seed}/training.json"
        records.write_json(path, json.loads(path.read_text()) | {"passes_per_stage": stages})


def test_every_method_has_its_passes_and_less_than_one_is_a_warning(run):
    set_passes(run, "heal", [{"1": 4.0, "2": 4.0, "3": 3.96}, {"1": 4.0, "2": 4.0, "3": 0.6}, {"1": 4.1}])
    set_passes(run, "rs", [{"1": 6.0}] * 3)
    notes = list_pass_notes(open_run(make_view(run)))
    (passes,) = select_notes(notes, Topic.PASSES)
    assert "heal I 4.0 to 4.1, II 4.0, III 0.6 to 4.0" in passes.text and "rs I 6.0" in passes.text
    (warning,) = select_notes(notes, Topic.FEW_PASSES)
    assert "heal stage III (0.60)" in warning.text and "rs" not in warning.text.replace("first", "")
    write_comparison(run)
    assert passes.text in (run / "tables/main.md").read_text()
    assert warning.text in (run / "tables/main.txt").read_text().replace("\n", " ")


def test_students_without_recorded_passes_have_no_note(run):
    assert list_pass_notes(open_run(make_view(run))) == []


def test_exactly_one_pass_is_no_warning(run):
    set_passes(run, "heal", [{"1": 1.0, "2": 1.0, "3": 1.0}] * 3)
    assert not select_notes(list_pass_notes(open_run(make_view(run))), Topic.FEW_PASSES)
