"""Laws of the audits and of the figures of single traces, on mini puzzles with errors put in at known steps."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evals.audits import gear as cut_audit
from evals.audits import pure as pure_audit
from evals.audits import run as audits
from evals.audits import wrong_gold as gold_audit
from evals.audits.checker_truth import Truth, mean, ratio
from evals.figures import accuracy as figures
from evals.figures import traces as trace_figures
from heal import records
from heal.config.experiment import Gear, Pure
from heal.errors import HealError
from heal.records import Row
from heal.worlds.mini import puzzles
from tests.support.run_factory import problem, repair, score, trace, wrong_steps

ERROR = 3  # the first wrong step of every wrong trace, from 1
N = 24
PUZZLES = puzzles.generate("train", N, seed=1)
PROBLEMS = [problem(puzzle) for puzzle in PUZZLES]
TRUTH = Truth(PROBLEMS)
USAGE = {"prefill": 500, "generated": 2000, "scored": 0}


def entropies(steps: int, peak: int, rng: np.random.Generator) -> list[float]:
    """Step entropies around 0.3 nats, 2 nats at the peak step (from 1)."""
    values = rng.uniform(0.25, 0.35, steps)
    values[peak - 1] = 2.0
    return values.tolist()


RNG = np.random.default_rng(0)
SAMPLES = [
    trace(row, 0, steps := wrong_steps(puzzle, ERROR), entropies(len(steps), ERROR, RNG))
    for row, puzzle in zip(PROBLEMS, PUZZLES, strict=True)
]
BY_ID = {row["trace_id"]: row for row in SAMPLES}


def jump(puzzle: puzzles.Puzzle, kept: list[str]) -> list[str]:
    """Kept steps, then the answer out of nowhere: verifies, but is not valid."""
    return [*kept, f"The start must be {puzzle.answer}.", puzzles.answer_text(puzzle.answer)]


def repaired(kept: int, how: str) -> list[Row]:
    """One accepted repair per problem, cut after `kept` steps; how: valid | jump | alternate."""
    rows = []
    for number, (puzzle, source) in enumerate(zip(PUZZLES, SAMPLES, strict=True)):
        before = wrong_steps(puzzle, ERROR)[:kept]
        right = before + puzzles.worked_steps(puzzle)[kept:]
        mended = how == "valid" or (how == "alternate" and number % 2)
        rows.append(repair(source, kept, right if mended else jump(puzzle, before)))
    return rows


def value(found: cut_audit.Quantities, name: str) -> float:
    return found[name][0].mean


@pytest.mark.parametrize(
    ("kept", "distance", "prefix"), [(0, -2, 0.0), (1, -1, 0.5), (2, 0, 1.0), (3, 1, 1.0), (4, 2, 1.0)]
)
def test_cuts_are_measured_against_the_first_wrong_step(kept, distance, prefix):
    found = cut_audit.cut_quantities(repaired(kept, "valid"), BY_ID, TRUTH)
    assert value(found, "exact") == (distance == 0)
    assert value(found, "distance in steps") == distance
    assert value(found, "after the error") == (distance > 0)
    assert value(found, "share of right prefix kept") == prefix
    assert value(found, "restart") == (kept == 0)
    assert math.isnan(value(found, "exact, without restarts")) == (kept == 0)
    assert value(found, f"distance {distance:+d}" if distance else "distance 0") == 1


def test_repairs_of_one_trace_share_one_cut_and_traces_without_breakpoint_are_no_cuts():
    twice = repaired(2, "valid") + repaired(2, "jump")
    none = [repair(SAMPLES[0], None, [])]
    assert cut_audit.cut_quantities(twice, BY_ID, TRUTH)["exact"][1] == N
    found = cut_audit.cut_quantities(twice[1:N] + none, BY_ID, TRUTH)
    assert found["exact"][1] == N - 1
    assert value(found, "breakpoint found") == pytest.approx((N - 1) / N)


def test_errors_are_inherited_or_fresh_by_where_the_cut_was():
    assert {TRUTH.origin_of_error(row) for row in repaired(2, "valid")} == {"valid"}
    assert {TRUTH.origin_of_error(row) for row in repaired(2, "jump")} == {"fresh"}
    assert {TRUTH.origin_of_error(row) for row in repaired(3, "valid")} == {"inherited"}


def test_valid_repairs_per_token_count_rejected_repairs_tokens():
    rows = repaired(2, "alternate")
    found = cut_audit.repair_quantities(rows, USAGE, TRUTH)
    assert value(found, "valid of accepted") == 0.5
    assert value(found, "fresh error of accepted") == 0.5
    assert value(found, "inherited error of accepted") == 0
    assert value(found, "valid repairs per 1,000 teacher tokens") == pytest.approx(1000 * N / 2 / 2500)
    rejected = [row | {"accepted": False} for row in repaired(2, "jump")]
    more = cut_audit.repair_quantities(rows + rejected, {"prefill": 500, "generated": 4000}, TRUTH)
    assert value(more, "valid repairs per 1,000 teacher tokens") == pytest.approx(1000 * N / 2 / 4500)
    assert value(more, "accepted") == 0.5


def test_cut_at_the_error_beats_other_cuts_and_order_does_not_matter():
    exact = cut_audit.repair_quantities(repaired(2, "valid"), USAGE, TRUTH)
    late = cut_audit.repair_quantities(repaired(4, "valid"), USAGE, TRUTH)
    primary = "valid repairs per 1,000 teacher tokens"
    assert value(exact, primary) > value(late, primary) == 0
    assert cut_audit.repair_quantities(repaired(2, "valid")[::-1], USAGE, TRUTH) == exact


def test_a_repairs_file_without_costs_is_refused():
    with pytest.raises(HealError, match="does not say what it cost"):
        cut_audit.repair_quantities(repaired(2, "valid"), {}, TRUTH)


def test_entropy_marks_the_error_only_where_it_does():
    marked = cut_audit.entropy_quantities(repaired(2, "valid"), BY_ID, TRUTH)
    assert value(marked, "AUROC of step entropy for the first wrong step") == 1
    assert value(marked, "largest surge is a wrong step") == 1
    rng = np.random.default_rng(3)
    loud = [
        row
        | {"step_entropies": np.array(e := entropies(len(row["step_entropies"]), 1, rng)), "surges": np.array(e) - 0.3}
        for row in repaired(2, "valid")
    ]
    quiet = cut_audit.entropy_quantities(loud, BY_ID, TRUTH)
    assert value(quiet, "largest surge is a wrong step") == 0
    assert value(quiet, "AUROC of step entropy for the first wrong step") < 0.7


def scored(rows: list[Row], jumps: float, insights: float) -> list[Row]:
    return [score(row, insights if TRUTH.is_valid(row) else jumps) for row in rows]


def separation(rows: list[Row], jumps: float, insights: float) -> cut_audit.Quantities:
    gold = {row["problem_id"]: row["answer"] for row in PROBLEMS}
    return pure_audit.separation_quantities(scored(rows, jumps, insights), rows, TRUTH, Pure(), gold, 0)


def test_pure_is_judged_for_fresh_and_inherited_errors_apart():
    rows = repaired(2, "alternate") + [row | {"trace_id": row["trace_id"] + "i"} for row in repaired(3, "valid")]
    found = separation(rows, jumps=3.0, insights=0.5)
    assert value(found, "AUROC fresh: anomaly") == value(found, "AUROC inherited: anomaly") == 1
    assert value(separation(rows, 0.5, 3.0), "AUROC fresh: anomaly") == 0
    assert value(separation(rows, 1.0, 1.0), "AUROC fresh: max step perplexity") == 0.5
    assert found["AUROC fresh: anomaly"][1] == found["AUROC inherited: anomaly"][1] / 2 == N / 2
    assert math.isnan(value(separation(repaired(2, "jump"), 3.0, 0.5), "AUROC fresh: anomaly"))


def test_an_early_mention_of_the_answer_is_suspect():
    told = score(SAMPLES[0], 1.0)
    steps = ["It is 7 at once.\n\n", "So.\n\n", "x = \\boxed{7}"]
    early = pure_audit.first_mention(told | {"steps": steps, "statement": 3}, "7")
    late = pure_audit.first_mention(told | {"steps": steps[1:2] + steps[:1] + steps[2:], "statement": 3}, "7")
    assert early > late > 0
    assert pure_audit.first_mention(told | {"steps": ["77 = 71\n\n", steps[2]], "statement": 2}, "7") == 0


def test_rules_keep_what_they_say():
    rows = repaired(2, "alternate")
    found = pure_audit.rule_quantities(scored(rows, 3.0, 0.5), rows, TRUTH, Pure(drop_share=0.5), 0)
    assert value(found, "valid, no rule") == 0.5
    assert value(found, "valid of kept, quantile") == value(found, "valid of kept, oracle") == 1
    assert value(found, "valid ones kept, oracle") == 1
    assert value(found, "kept, random") == 0.5
    blind = pure_audit.rule_quantities(scored(rows, 1.0, 1.0), rows, TRUTH, Pure(drop_share=0.5), 0)
    assert value(blind, "valid of kept, random") < 1


def test_shares_of_zero_and_one_keep_a_width_and_groups_count():
    assert ratio([1] * 8, [1] * 8, range(8)).low < 0.8
    narrow, wide = mean([0, 1] * 50, range(100)), mean([0, 1] * 50, np.repeat([0, 1, 2, 3, 4], 20))
    assert narrow.high - narrow.low > 0.1 and wide.mean == narrow.mean == 0.5
    clustered = mean([0] * 50 + [1] * 50, np.repeat(range(10), 10))
    assert clustered.high - clustered.low > 2 * (narrow.high - narrow.low)
    assert math.isnan(ratio([], [], []).mean)


def test_problems_of_another_world_are_refused():
    with pytest.raises(HealError, match="cannot be checked"):
        Truth([{"problem_id": "1", "question": "What is 1 + 1?"}])


def guided(rows: list[Row]) -> list[Row]:
    keep = ("problem_id", "index", "text", "token_ids", "finish_reason", "extracted", "accepted", "reason")
    own = {"logprobs": [-0.1], "entropies": [0.2]}
    return [{key: row[key] for key in keep} | own | {"trace_id": f"guided {row['trace_id']}"} for row in rows]


def write_traces(folder: Path, start: str, jumps: float, peak: int, order: int = 1) -> Path:
    """A run's traces: valid and jumping mid-trace repairs, guided samples as `start` says, entropy peaks at `peak`."""
    traces, rng = folder / "traces/t/draw0", np.random.default_rng(5)
    records.write(folder / "problems/train.parquet", "problems", PROBLEMS)
    samples = [row | {"entropies": entropies(len(row["entropies"]), peak, rng)} for row in SAMPLES]
    rows = repaired(2, "alternate")
    rows += [row | {"trace_id": row["trace_id"] + "2"} for row in repaired(2, "valid")]
    mine = {row["trace_id"]: np.array(row["entropies"]) for row in samples}
    rows = [
        row | {"step_entropies": mine[row["source_id"]], "surges": np.diff(mine[row["source_id"]], prepend=0.3)}
        for row in rows
    ]
    records.write(traces / "samples.parquet", "samples", samples[::order], usage=USAGE)
    records.write(traces / "guided.parquet", "guided", guided(repaired(0, start))[::order], usage=USAGE)
    records.write(traces / "repairs/main.parquet", "repairs", rows[::order], usage=USAGE)
    records.write(traces / "repairs/late.parquet", "repairs", repaired(4, "valid")[::order], usage=USAGE)
    records.write(traces / "scores/main.parquet", "scores", scored(rows, jumps, 0.5)[::order], usage=USAGE)
    return folder


def audited(run: Path, monkeypatch) -> dict[str, str]:
    out = run / "tables/audits_t.csv"
    arguments = ["--run", str(run), "--teacher", "t", "--repairs-variants", "main", "late", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["audits", *arguments])
    audits.main()
    flags = pd.read_csv(run / "tables/premises_t.csv")
    return dict(zip(flags["premise"], flags["holds"], strict=True))


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
    assert audited(write_traces(tmp_path, start, jumps, peak), monkeypatch) == holds


def test_shuffled_files_give_the_same_values_and_variants_stand_side_by_side(tmp_path, monkeypatch):
    tables = []
    for order in (1, -1):
        run = write_traces(tmp_path / str(order), "jump", 3.0, ERROR, order)
        audited(run, monkeypatch)
        tables.append((run / "tables/audits_t.csv").read_bytes())
    assert tables[0] == tables[1]
    markdown = (run / "tables/audits_t.md").read_text()
    assert "| quantity | main | late |" in markdown and "Rank-surprisal" in markdown
    assert markdown.index("distance 0 ") < markdown.index("distance +2 ")


def test_restarts_and_cuts_after_the_error_are_no_mid_trace_repairs():
    start, mid = guided(repaired(0, "jump")), repaired(2, "valid")
    others = [row for kept, how in ((0, "jump"), (3, "valid")) for row in repaired(kept, how)]
    found = audits.start_or_mid(start, mid + others, TRUTH)
    assert found["valid of accepted, hint at mid"][1] == N
    assert value(found, "gap, mean over problems") == 1
    assert audits.start_or_mid(start, others, TRUTH)["gap, mean over problems"][1] == 0


def test_scores_of_other_repairs_are_refused(tmp_path, monkeypatch):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    path = run / "traces/t/draw0/scores/main.parquet"
    records.write(path, "scores", [score(repaired(2, "valid")[0], 1.0) | {"trace_id": "foreign"}])
    with pytest.raises(HealError, match="a score of no repair"):
        audited(run, monkeypatch)


WRONG = 8  # the first so many problems get a wrong gold answer
GEAR = Gear(max_pass_rate=0.0, max_wrong_agreement=0.8)


def with_wrong_gold() -> list[Row]:
    shifted = [str((puzzle.start + 1) % puzzles.MODULUS) for puzzle in PUZZLES]
    return [
        row | {"answer": other if number < WRONG else row["answer"]}
        for number, (row, other) in enumerate(zip(PROBLEMS, shifted, strict=True))
    ]


def graded(agreeing: int) -> list[Row]:
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


def of_gold(agreeing: int, rows: list[Row], kept: dict[str, set[str]]) -> dict[str, cut_audit.Quantities]:
    return gold_audit.gold_quantities(with_wrong_gold(), graded(agreeing), [], rows, kept, GEAR)


def test_what_filters_let_through_is_counted_for_wrong_and_right_gold_apart():
    treated = repaired(2, "valid")[2:]
    leaked = [row | {"accepted": False, "reason": "leak", "trace_id": row["trace_id"] + "l"} for row in treated[:3]]
    rows = treated + leaked
    kept = {"all": {row["trace_id"] for row in treated}, "right": {row["trace_id"] for row in treated[WRONG - 2 :]}}
    found = of_gold(2, rows, kept)
    assert gold_audit.wrong_gold(with_wrong_gold()) == {row["problem_id"] for row in PROBLEMS[:WRONG]}
    wrong, right = found["wrong gold"], found["right gold"]
    assert value(wrong, "unsolved, of problems") == 1 and wrong["unsolved, of problems"][1] == WRONG
    assert value(wrong, "wrong answers differ enough, of unsolved") == (WRONG - 2) / WRONG
    assert value(right, "wrong answers differ enough, of unsolved") == 1
    assert value(wrong, "no leak, of verified") == (WRONG - 2) / (WRONG + 1)
    assert value(right, "no leak, of verified") == value(wrong, "no duplicate, of those") == 1
    assert value(wrong, "kept by PURE all, of accepted") == 1 and value(wrong, "kept by PURE right, of accepted") == 0
    assert value(wrong, "a repair is left after PURE all, of problems") == (WRONG - 2) / WRONG
    assert value(wrong, "share of the repairs left after PURE right") == 0
    assert value(wrong, "share of the repairs accepted") == pytest.approx((WRONG - 2) / (N - 2))


def test_every_row_that_comes_to_a_filter_has_wrong_or_right_gold_and_order_does_not_matter():
    rows = repaired(2, "alternate")
    kept = {"some": {row["trace_id"] for row in rows[::3]}}
    found = of_gold(4, rows, kept)
    assert found == of_gold(4, rows[::-1], kept)
    for name in found["wrong gold"]:
        (wrong, n_wrong), (right, n_right) = (found[f"{gold} gold"][name] for gold in ("wrong", "right"))
        if name.startswith("share"):
            assert n_wrong == n_right and wrong.mean + right.mean == pytest.approx(1)
        elif name.startswith("kept"):
            assert n_wrong == WRONG and n_right == N - WRONG


def test_wrong_gold_is_audited_where_there_is_some_and_the_oracle_lets_none_through(tmp_path, monkeypatch):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    audited(run, monkeypatch)
    assert "wrong gold" not in set(pd.read_csv(run / "tables/audits_t.csv")["audit"])
    records.write(run / "problems/train.parquet", "problems", with_wrong_gold())
    records.write(run / "traces/t/draw0/grades.parquet", "grades", graded(2))
    jumps = [
        repair(source, 2, jump(replace(puzzle, start=int(row["answer"])), wrong_steps(puzzle, ERROR)[:2]))
        for row, puzzle, source in zip(with_wrong_gold(), PUZZLES, SAMPLES, strict=True)
    ]
    records.write(run / "traces/t/draw0/repairs/main.parquet", "repairs", jumps, usage=USAGE)
    records.write(run / "traces/t/draw0/scores/main.parquet", "scores", scored(jumps, 3.0, 0.5), usage=USAGE)
    audited(run, monkeypatch)
    table = pd.read_csv(run / "tables/audits_t.csv").set_index(["audit", "variant", "quantity"])["value"]
    assert table["wrong gold", "wrong gold", "kept by PURE oracle, of accepted"] == 0
    assert table["wrong gold", "wrong gold", "kept by PURE quantile, of accepted"] > 0
    assert "| quantity | wrong gold | right gold |" in (run / "tables/audits_t.md").read_text()


def test_trace_figure_knows_kept_and_new_tokens():
    source = SAMPLES[0]
    row = repaired(2, "valid")[0]
    pieces = [[step + puzzles.BLANK for step in text.split(puzzles.BLANK)] for text in (source["text"], row["text"])]
    numbers = trace_figures.trace_numbers(source, row, pieces, 1)
    steps = len(pieces[0])
    assert numbers["part"].value_counts().to_dict() == {"trace": steps, "kept": 2, "continuation": steps - 2}
    assert numbers["step"].tolist() == [*range(1, steps + 1)] * 2
    kept = numbers[numbers["part"] == "kept"]["entropy_nats"].tolist()
    assert kept == source["entropies"][:2]


def test_pure_figure_drops_the_rule_s_share(tmp_path, monkeypatch):
    run = write_traces(tmp_path, "jump", 3.0, ERROR)
    traces = run / "traces/t/draw0"
    files = {"problems": run / "problems/train.parquet"}
    files |= {kind: traces / kind / "main.parquet" for kind in ("repairs", "scores")}
    arguments = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    for name in ("one", "two"):
        monkeypatch.setattr(sys, "argv", ["figures", "pure", *arguments, "--out", str(run / name / "pure.svg")])
        figures.main()
    assert (run / "one/pure.svg").read_bytes() == (run / "two/pure.svg").read_bytes()
    numbers = pd.read_csv(run / "one/pure.csv")
    assert (~numbers["kept"]).sum() == math.floor(0.2 * len(numbers))
    assert set(numbers["error"]) == {"valid", "fresh"}


@pytest.mark.parametrize("world", ["mini", "gsm_symbolic"])
def test_a_teacher_without_repairs_is_audited_and_nothing_is_said(world):
    problems = [
        {"problem_id": "a", "question": "q", "answer": "5", "solution": "2 + 3 = 5", "source": "gsm_symbolic/template1"}
    ]
    if world == "mini":
        problems = [problem(puzzle) for puzzle in puzzles.generate("hard", 2, seed=0)]
    empty = audits.Variant("none", [], {}, [])
    frame = audits.audit(problems, [], [], {}, [empty], Pure(), 0)
    assert len(frame) and frame["value"].isna().all()
    assert set(audits.premises(frame)["holds"]) == {"cannot say"}
