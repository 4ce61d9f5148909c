"""The summary in words: its sentences follow from the rows of the table and from premise.json."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evals.report import summary
from evals.results import UNSOLVED
from evals.tables.comparison import ComparisonRow
from heal import records
from heal.errors import HealError

ROWS = [
    ComparisonRow("t", "", "teacher", "b", 0.5, 0.4, 0.6, 0, 0, 40),
    ComparisonRow("t", "", "teacher", f"b{UNSOLVED}", 0.0, 0.0, 0.0, 0, 0, 12),
]
for benchmark, questions in (("b", 40), (f"b{UNSOLVED}", 12)):
    ROWS.append(ComparisonRow("t", "s", "untrained", benchmark, 0.1, 0.0, 0.2, 0, 0, questions))
    ROWS.append(ComparisonRow("t", "s", "rs", benchmark, 0.2, 0.1, 0.3, 5, 1, questions, verdict="reference"))
    for method, mean in (("heal", 0.8), ("oracle", 0.9)):
        row = ComparisonRow("t", "s", method, benchmark, mean, mean - 0.1, mean + 0.1, 5, 1, questions)
        diff, family = mean - 0.2, "primary" if (method, benchmark) == ("heal", "b") else "main"
        low, high = diff - 0.1, diff + 0.1
        row = replace(
            row, family=family, diff=diff, diff_low=low, diff_high=high, new_low=low - 0.1, new_high=high + 0.1
        )
        ROWS.append(replace(row, new_verdict="higher", p=0.01, p_bh=0.02, detectable=0.1))


def judge(**verdicts: str) -> list[ComparisonRow]:
    """ROWS with a verdict for each method, "higher" unless given."""
    rows = []
    for row in ROWS:
        if row.method in ("heal", "oracle"):
            row = replace(row, verdict=verdicts.get(row.method, "higher"), diff_covers="training seeds")
        rows.append(row)
    return rows


@pytest.mark.parametrize("verdict", summary.REPLIES)
def test_the_reply_follows_the_verdict_and_other_methods_do_not_change_it(verdict):
    rows = judge(heal=verdict)
    first = summary.build_sentences(rows, "heal")[0]
    assert first.startswith(f"{summary.REPLIES[verdict]} on b (40 questions; teacher t, student s): ")
    assert "heal 0.800, rs 0.200, difference 0.600 [0.500, 0.700], p 0.010, not adjusted" in first
    assert "on new questions [0.400, 0.800], higher" in first
    assert summary.build_sentences([row for row in rows if row.method != "oracle"], "heal")[0] == first
    assert summary.build_sentences(rows[::-1], "heal")[0] == first


def test_the_primary_contrast_is_told_apart_from_the_adjusted_rows():
    sentences = summary.build_sentences(judge(), "heal")
    assert sum("not adjusted" in sentence for sentence in sentences) == 1
    assert any(sentence.startswith(f"heal is higher than rs on b{UNSOLVED}") for sentence in sentences)
    without = [replace(row, family=row.family and "main") for row in judge()]
    assert (
        summary.build_sentences(without, "heal")[0] == "The run has no primary contrast: every difference is adjusted."
    )


def test_a_row_that_says_nothing_says_why():
    rows = [replace(row, why_not="one training seed") if row.family else row for row in judge(heal="cannot say")]
    first, second = summary.build_sentences(rows, "heal")[:2]
    assert first.endswith("heal 0.800, rs 0.200, not compared: one training seed.")
    assert second == f"heal cannot be compared with rs on b{UNSOLVED} (one training seed)."


def test_other_methods_that_differ_are_named_and_only_those():
    lower = summary.build_sentences(judge(oracle="lower"), "heal")
    assert any(sentence.startswith("oracle is lower than rs on b (40 questions") for sentence in lower)
    undecided = summary.build_sentences(judge(oracle="not distinguishable"), "heal")
    assert "No other method is distinguishable from rs on any benchmark." in undecided
    assert not any("oracle" in sentence for sentence in undecided)
    untested = summary.build_sentences(judge(oracle="cannot say"), "heal")
    assert "No other method can be compared with rs on any benchmark." in untested


def test_a_table_without_heal_or_with_heal_as_reference_has_a_summary():
    without = [row for row in judge() if row.method != "heal"]
    assert summary.choose_method([], without) is None
    assert summary.build_sentences(without, None)[0] == "The table has no HEAL method; its reference is rs."
    assert summary.choose_method(["mine", "heal"], judge()) == "heal"
    assert not any("rs 0.200, rs" in sentence for sentence in summary.build_sentences(judge(), "rs"))


def test_the_basis_counts_seeds_and_limits_rankings():
    basis = summary.build_sentences(judge(), "heal")[-1]
    assert basis == (
        "Basis: 5 training seeds per method and 1 teacher sampling seed. "
        "Intervals of the differences cover: training seeds."
    )
    few = [replace(row, n_seeds=3) if row.n_seeds else row for row in judge()]
    assert "enough to display, not to rank" in summary.build_sentences(few, "heal")[-1]


def test_the_best_method_of_each_benchmark_is_named_with_ties():
    lines = summary.list_best_methods(judge(), "heal")
    assert [line[4] for line in lines] == ["oracle (0.900)"] * 2
    assert lines[0][5:] == ["0.600 [0.500, 0.700]", "higher", "0.100"]
    tied = [replace(row, mean=0.9) if row.method == "heal" else row for row in judge()]
    assert {line[4] for line in summary.list_best_methods(tied, "heal")} == {"heal, oracle (0.900)"}


def test_premises_are_absent_present_or_unknown():
    holds = {"holds": True, "unsolved": 3, "problems": 9, "margin": 0.531}
    broken = {"holds": False, "reasons": ["no hint uplift"]}
    absent, present = summary.describe_premises({("t", 0): holds, ("t", 1): broken})
    assert absent == ["Premise absent for teacher t, teacher seed 1 (no hint uplift): not a test of HEAL."]
    assert "3 of 9 training problems unsolved" in present[0] and "by 53 percentage points" in present[0]
    assert "not recorded" in summary.describe_premises({})[1][0]
    lifted = holds | {"ceiling": {"greedy": 0.487, "majority": 0.0, "of_sampling": True}}
    absent, present = summary.describe_premises({("t", 0): lifted})
    assert len(present) == len(absent) == 1 and absent[0].startswith("Greedy decoding solves 49%")


def test_a_csv_without_a_column_is_refused(tmp_path):
    path = tmp_path / "main.csv"
    records.write_text(path, "teacher,student\nt,s\n")
    with pytest.raises(HealError, match="no column 'method'"):
        summary.read_comparison(path)
