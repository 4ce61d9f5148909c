"""Laws of premise.json, on hand-made traces whose rates can be counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from heal import records
from heal.command import parse_command
from heal.config.experiment import Gear, Premise
from heal.errors import HealError
from heal.pipeline import premise
from heal.records import Row
from heal.worlds.mini import puzzles
from tests.support.run_factory import make_problem, make_repair, make_trace

STEPS = 4
USAGES = {name: {"prefill": 300, "generated": 0, "scored": 0} for name in ("samples", "guided", "repairs")}


def make_traces(correct: list[list[bool]]) -> tuple[list[Row], list[Row], list[Row]]:
    """Problems, samples and grades; correct[i][j]: sample j of problem i. Samples have 4 tokens and own texts."""
    problems = [make_problem(puzzle) for puzzle in puzzles.generate("hard", len(correct), seed=0)]
    samples, grades = [], []
    for row, flags in zip(problems, correct, strict=True):
        for index, right in enumerate(flags):
            one = make_trace(row, index, [f"step {k} of {index}" for k in range(STEPS)], [0.1] * STEPS)
            samples.append(one)
            ids = {key: one[key] for key in ("trace_id", "problem_id")}
            grades.append(ids | {"extracted": str(index), "correct": right, "reason": ""})
    return problems, samples, grades


def measure_premise(correct: list[list[bool]], accepted: int, tried: int, options: Premise | None = None) -> dict:
    """The premise where each treated problem has `tried` repairs of which `accepted` verify, 2 new tokens each."""
    problems, samples, grades = make_traces(correct)
    treated = {row["problem_id"] for row, flags in zip(problems, correct, strict=True) if not any(flags)}
    first = {row["problem_id"]: row for row in reversed(samples)}
    repairs = [
        make_repair(first[i], 2, [*["x"] * 2, f"new {n}", "end"], n < accepted, n)
        for i in sorted(treated)
        for n in range(tried)
    ]
    usages = USAGES | {"repairs": {"prefill": 100, "generated": 2 * len(repairs), "scored": 0}}
    return premise.check_premise(
        problems, samples, grades, [], [], repairs, Gear(max_wrong_agreement=1.0), usages, options or Premise()
    )


def test_counts_of_a_small_case():
    summary = measure_premise([[False] * 4] * 2 + [[True, False, False, False]], accepted=1, tried=5)
    assert (summary["problems"], summary["unsolved"], summary["treated"]) == (3, 2, 2)
    assert summary["pass_rates"] == [
        {"samples": 4, "correct": 0, "problems": 2},
        {"samples": 4, "correct": 1, "problems": 1},
    ]
    # 2 problems × 5 repairs × 2 new tokens + 100 of prompts, rejected ones included; 2 accepted
    assert summary["repairs"]["tokens"] == 120
    assert summary["repairs"]["per_1000_tokens"] == pytest.approx(1000 * 2 / 120)
    assert summary["repairs"]["share_of_treated"] == 1.0


def test_luck_is_counted_where_selection_has_not_looked():
    # never right in the first half, always in the second: selected, and counted
    late, early = [False, False, True, True], [True, True, False, False]
    summary = measure_premise([late] * 3 + [early] * 2, accepted=0, tried=1)
    without = summary["resampling"]
    assert (without["problems"], without["correct"]) == (3, 6)
    assert without["tokens"] == 3 * (2 * STEPS + 300 / 5)  # two samples each, and each problem's prompt once


def test_equal_samples_count_once():
    problems, samples, grades = make_traces([[False, False, True, True]])
    samples[3]["text"] = samples[2]["text"]
    summary = premise.measure_resampling(samples, grades, 0.0, Gear())
    assert summary["correct"] == 1


def test_a_hint_s_own_tokens_are_paid_for():
    problems, samples, grades = make_traces([[False] * 4])
    repairs = [make_repair(samples[0], 2, ["a", "b", "c", "d"])]
    treated = {problems[0]["problem_id"]}
    plain = premise.measure_hinted(repairs, {"prefill": 10, "generated": 2}, treated)
    hinted = premise.measure_hinted(repairs, {"prefill": 10, "generated": 52}, treated)
    assert (plain["tokens"], hinted["tokens"]) == (12, 62)


def test_the_premise_holds_and_fails_for_each_reason():
    unsolved = [[False] * 4] * Premise().min_unsolved
    assert measure_premise(unsolved, accepted=1, tried=2)["holds"]
    few = measure_premise(unsolved[1:], accepted=1, tried=2)
    assert not few["holds"] and "unsolved problems, fewer than" in few["reasons"][0]
    useless = measure_premise(unsolved, accepted=0, tried=2)
    assert any("no hint uplift" in reason for reason in useless["reasons"])
    assert any("have an accepted repair" in reason for reason in useless["reasons"])
    lucky = measure_premise([[False, False, True, True]] * 30 + unsolved, accepted=1, tried=2000)
    assert lucky["uplift"] < 1 and any("no hint uplift" in reason for reason in lucky["reasons"])


def test_a_pass_rate_outside_its_bounds_and_small_margin_are_told():
    traces = [[False] * 4] * 20 + [[False, False, True, True]] * 20
    summary = measure_premise(traces, accepted=1, tried=2)
    # half of the repairs are accepted; of the second halves of all 40 problems, half of the samples are correct
    assert (summary["pass_rate"], summary["margin"]) == (0.25, 0.0) and summary["holds"]
    bounded = measure_premise(traces, accepted=1, tried=2, options=Premise(min_pass_rate=0.3, max_pass_rate=0.8))
    assert bounded["reasons"] == ["the teacher's pass rate is 25.0%, not between 30% and 80%"]
    with_margin = measure_premise(traces, accepted=1, tried=2, options=Premise(min_margin=0.1))
    assert len(with_margin["reasons"]) == 1 and "by 0.0 points" in with_margin["reasons"][0]


def test_a_problem_whose_wrong_answers_agree_is_suspect():
    problems, samples, grades = make_traces([[False] * 4, [False] * 4])
    for grade in grades[:4]:
        grade["extracted"] = "17"
    summary = premise.check_premise(problems, samples, grades, [], [], [], Gear(), USAGES, Premise())
    assert summary["suspect"] == [problems[0]["problem_id"]] and summary["treated"] == 1


def make_greedy(problems: list[Row], solved: int) -> list[Row]:
    """One greedy sample per problem, of which the first `solved` are right."""
    rows = []
    for number, problem in enumerate(problems):
        verdict = {"extracted": "7", "accepted": number < solved, "reason": "" if number < solved else "wrong"}
        rows.append(make_trace(problem, 0, ["step"], [0.1]) | verdict)
    return rows


@pytest.mark.parametrize(("solved", "of_sampling"), [(0, False), (1, False), (2, True)])
def test_a_ceiling_that_greedy_decoding_lifts_is_one_of_sampling(solved, of_sampling):
    problems, samples, grades = make_traces([[False] * 4] * 10 + [[True] * 4] * 5)
    untreated_are_no_part_of_it = make_greedy(problems, solved) + make_greedy(problems[10:], 5)
    gear = Gear(max_wrong_agreement=1.0)
    summary = premise.check_premise(
        problems, samples, grades, [], untreated_are_no_part_of_it, [], gear, USAGES, Premise(max_greedy=0.1)
    )
    assert summary["ceiling"] == {"greedy": solved / 10, "majority": 0.0, "of_sampling": of_sampling}
    without = premise.check_premise(problems, samples, grades, [], [], [], gear, USAGES, Premise())
    assert without["ceiling"]["greedy"] is None and not without["ceiling"]["of_sampling"]


@pytest.mark.parametrize(
    ("answers", "chance"),
    [
        (["7", "7", "3", "4"], 1.0),
        (["7", "3", "3", "4"], 0.0),
        (["7", "3", None, None], 0.5),
        (["7", "3", "4", None], 1 / 3),
        ([None, None, None, None], 0.0),
        (["3", "3", "4", "4"], 0.0),
    ],
)
def test_the_majority_is_right_as_often_as_a_random_tie_break_makes_it(answers, chance):
    ids = {"trace_id": "x", "problem_id": "p", "reason": ""}
    grades = [ids | {"extracted": answer, "correct": answer == "7"} for answer in answers]
    assert premise.compute_majority_share(grades) == pytest.approx(chance)


def test_the_fresh_majority_is_that_of_samples_that_the_selection_has_not_seen():
    summary = measure_premise([[False, False, True, True]] * 3 + [[False] * 4], accepted=0, tried=1)
    assert summary["resampling"]["majority"] == 0.75 and summary["ceiling"]["majority"] == 0.0
    assert measure_premise([[True] * 4], accepted=0, tried=0)["resampling"]["majority"] is None


def test_more_questions_show_smaller_differences():
    assert premise.compute_detectable_difference(400) == pytest.approx(
        premise.compute_detectable_difference(100) / 2, abs=1e-4
    )
    assert premise.compute_detectable_difference(0) is None


def test_a_sample_without_grade_is_named():
    problems, samples, grades = make_traces([[False] * 4])
    with pytest.raises(HealError, match="no grade"):
        premise.check_premise(problems, samples, grades[1:], [], [], [], Gear(), USAGES, Premise())
    with pytest.raises(HealError, match="no problem"):
        premise.check_premise([], samples, grades, [], [], [], Gear(), USAGES, Premise())


def test_the_command_gives_equal_bytes_for_shuffled_files(tmp_path: Path):
    problems, samples, grades = make_traces([[False] * 4] * 3 + [[False, False, True, True]] * 2 + [[True] * 4])
    repairs = [make_repair(row, 2, ["a", "b", f"c {row['index']}", "d"]) for row in samples[:20]]
    tables = {
        "problems": problems,
        "samples": samples,
        "grades": grades,
        "guided": [],
        "greedy": [],
        "repairs": repairs,
    }
    contents = []
    for name, order in (("one", 1), ("two", -1)):
        flags = ["--out", str(tmp_path / f"{name}.json"), "--gear.max-wrong-agreement", "1.0"]
        for table, rows in tables.items():
            path = tmp_path / name / f"{table}.parquet"
            records.write(
                path, "guided" if table == "greedy" else table, rows[::order], usage={"prefill": 7, "generated": 80}
            )
            flags += [f"--{table}", str(path)]
        flags += ["--tests", str(tmp_path / name / "problems.parquet")]
        parse_command(premise.Premise, "premise", flags).run()
        contents.append((tmp_path / f"{name}.json").read_bytes())
    assert contents[0] == contents[1]
    assert b'"questions": 6' in contents[0]
