"""The audit of wrong gold answers: what each filter lets through."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from evals.audits import wrong_gold as gold_audit
from evals.audits.estimates import Quantities
from heal import records
from heal.config.experiment import Gear
from heal.records import Row
from heal.worlds.mini import puzzles
from tests.support.audit_factory import (
    ERROR,
    PROBLEMS,
    PUZZLES,
    SAMPLES,
    USAGE,
    N,
    get_value,
    make_jump,
    make_repairs,
    make_scores,
    run_audits,
    write_traces,
)
from tests.support.run_factory import make_repair, make_wrong_steps

WRONG = 8  # the first so many problems get a wrong gold answer
GEAR = Gear(max_pass_rate=0.0, max_wrong_agreement=0.8)


def make_wrong_gold() -> list[Row]:
    shifted = [str((puzzle.start + 1) % puzzles.MODULUS) for puzzle in PUZZLES]
    return [
        row | {"answer": other if number < WRONG else row["answer"]}
        for number, (row, other) in enumerate(zip(PROBLEMS, shifted, strict=True))
    ]


def make_grades(agreeing: int) -> list[Row]:
    """Four wrong answers per problem; of the first problems they agree, so that their gold answer is suspect."""
    return [
        {
            "trace_id": f"{row['problem_id']} {index}",
            "problem_id": row["problem_id"],
            "extracted": "5" if number < agreeing else str(index),
            "correct": False,
            "reason": "wrong",
        }
        for number, row in enumerate(PROBLEMS)
        for index in range(4)
    ]


def measure_gold(agreeing: int, rows: list[Row], kept_ids: dict[str, set[str]]) -> dict[str, Quantities]:
    return gold_audit.measure_wrong_gold(make_wrong_gold(), make_grades(agreeing), [], rows, kept_ids, GEAR)


def test_what_filters_let_through_is_counted_for_wrong_and_right_gold_apart():
    treated = make_repairs(2, "valid")[2:]
    leaked = [row | {"accepted": False, "reason": "leak", "trace_id": row["trace_id"] + "l"} for row in treated[:3]]
    rows = treated + leaked
    kept_ids = {"all": {row["trace_id"] for row in treated}, "right": {row["trace_id"] for row in treated[WRONG - 2 :]}}
    quantities = measure_gold(2, rows, kept_ids)
    assert gold_audit.find_wrong_gold(make_wrong_gold()) == {row["problem_id"] for row in PROBLEMS[:WRONG]}
    wrong, right = quantities["wrong gold"], quantities["right gold"]
    assert get_value(wrong, "unsolved, of problems") == 1 and wrong["unsolved, of problems"].n == WRONG
    assert get_value(wrong, "wrong answers differ enough, of unsolved") == (WRONG - 2) / WRONG
    assert get_value(right, "wrong answers differ enough, of unsolved") == 1
    assert get_value(wrong, "no leak, of verified") == (WRONG - 2) / (WRONG + 1)
    assert get_value(right, "no leak, of verified") == get_value(wrong, "no duplicate, of those") == 1
    assert (
        get_value(wrong, "kept by PURE all, of accepted") == 1
        and get_value(wrong, "kept by PURE right, of accepted") == 0
    )
    assert get_value(wrong, "a repair is left after PURE all, of problems") == (WRONG - 2) / WRONG
    assert get_value(wrong, "share of the repairs left after PURE right") == 0
    assert get_value(wrong, "share of the repairs accepted") == pytest.approx((WRONG - 2) / (N - 2))


def test_every_row_that_comes_to_a_filter_has_wrong_or_right_gold_and_order_does_not_matter():
    rows = make_repairs(2, "alternate")
    kept_ids = {"some": {row["trace_id"] for row in rows[::3]}}
    quantities = measure_gold(4, rows, kept_ids)
    assert quantities == measure_gold(4, rows[::-1], kept_ids)
    for name in quantities["wrong gold"]:
        wrong, right = quantities["wrong gold"][name], quantities["right gold"][name]
        if name.startswith("share"):
            assert wrong.n == right.n and wrong.interval.mean + right.interval.mean == pytest.approx(1)
        elif name.startswith("kept"):
            assert wrong.n == WRONG and right.n == N - WRONG


def test_wrong_gold_is_audited_where_there_is_some_and_the_oracle_lets_none_through(tmp_path):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    run_audits(run)
    assert "wrong gold" not in set(pd.read_csv(run / "tables/audits_t.csv")["audit"])
    records.write(run / "problems/train.parquet", "problems", make_wrong_gold())
    records.write(run / "traces/t/teacher_seed0/grades.parquet", "grades", make_grades(2))
    jumps = [
        make_repair(
            source, 2, make_jump(replace(puzzle, start=int(row["answer"])), make_wrong_steps(puzzle, ERROR)[:2])
        )
        for row, puzzle, source in zip(make_wrong_gold(), PUZZLES, SAMPLES, strict=True)
    ]
    traces = run / "traces/t/teacher_seed0"
    records.write(traces / "repairs/main.parquet", "repairs", jumps, usage=USAGE)
    records.write(traces / "scores/main.parquet", "scores", make_scores(jumps, 3.0, 0.5), usage=USAGE)
    run_audits(run)
    table = pd.read_csv(run / "tables/audits_t.csv").set_index(["audit", "variant", "quantity"])["value"]
    assert table["wrong gold", "wrong gold", "kept by PURE oracle, of accepted"] == 0
    assert table["wrong gold", "wrong gold", "kept by PURE quantile, of accepted"] > 0
    assert "| quantity | wrong gold | right gold |" in (run / "tables/audits_t.md").read_text()
