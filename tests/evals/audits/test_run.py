"""The audits of a run: the premise that fails is named, and the order of rows has no effect."""

from __future__ import annotations

import pytest

from evals.audits import run as audits
from evals.audits.premises import check_premises
from heal import records
from heal.config.experiment import Pure
from heal.errors import HealError
from heal.worlds.mini import puzzles
from tests.support.audit_factory import (
    ERROR,
    TRUTH,
    N,
    get_value,
    make_guided,
    make_repairs,
    run_audits,
    write_traces,
)
from tests.support.run_factory import make_problem, make_score


@pytest.mark.parametrize(
    ("start", "jumps", "peak", "holds"),
    [
        ("jump", 3.0, ERROR, {"P1": "yes", "P2": "yes", "P3": "yes"}),
        ("jump", 3.0, 1, {"P1": "no", "P2": "yes", "P3": "yes"}),
        ("valid", 3.0, ERROR, {"P1": "yes", "P2": "no", "P3": "yes"}),
        ("jump", 0.5, ERROR, {"P1": "yes", "P2": "yes", "P3": "no"}),
    ],
)
def test_the_flipped_premise_is_named(tmp_path, monkeypatch, start, jumps, peak, holds):
    assert run_audits(write_traces(tmp_path, start, jumps, peak)) == holds


def test_shuffled_files_give_the_same_values_and_variants_stand_side_by_side(tmp_path):
    tables = []
    for order in (1, -1):
        run = write_traces(tmp_path / str(order), "jump", 3.0, ERROR, order)
        run_audits(run)
        tables.append((run / "tables/audits_t.csv").read_bytes())
    assert tables[0] == tables[1]
    markdown = (run / "tables/audits_t.md").read_text()
    assert "| quantity | main | late |" in markdown and "Rank-surprisal" in markdown
    assert markdown.index("distance 0 ") < markdown.index("distance +2 ")


def test_restarts_and_cuts_after_the_error_are_no_mid_trace_repairs():
    start, mid = make_guided(make_repairs(0, "jump")), make_repairs(2, "valid")
    others = [row for kept_steps, how in ((0, "jump"), (3, "valid")) for row in make_repairs(kept_steps, how)]
    quantities = audits.compare_hint_places(start, mid + others, TRUTH)
    assert quantities["valid of accepted, hint at mid"].n == N
    assert get_value(quantities, "gap, mean over problems") == 1
    assert audits.compare_hint_places(start, others, TRUTH)["gap, mean over problems"].n == 0


def test_scores_of_other_repairs_are_refused(tmp_path):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    path = run / "traces/t/teacher_seed0/scores/main.parquet"
    records.write(path, "scores", [make_score(make_repairs(2, "valid")[0], 1.0) | {"trace_id": "foreign"}])
    with pytest.raises(HealError, match="a score without its repair"):
        run_audits(run)


@pytest.mark.parametrize("world", ["mini", "gsm_symbolic"])
def test_a_teacher_without_repairs_is_audited_and_nothing_is_said(world):
    problems = [
        {"problem_id": "a", "question": "q", "answer": "5", "solution": "2 + 3 = 5", "source": "gsm_symbolic/template1"}
    ]
    if world == "mini":
        problems = [make_problem(puzzle) for puzzle in puzzles.generate("hard", 2, seed=0)]
    empty = audits.Variant("none", [], {}, [])
    traces = audits.TeacherTraces(problems, [], [], [], {}, [empty])
    frame = audits.build_audits(traces, Pure(), 0)
    assert len(frame) and frame["value"].isna().all()
    assert set(check_premises(frame)["holds"]) == {"cannot say"}
