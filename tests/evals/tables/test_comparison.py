"""Laws of the comparison, on synthetic runs."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from evals import results as outcomes
from evals import stats
from evals.tables import comparison as tables
from evals.tables.notes import Topic, get_notes_path, read_notes, select_notes
from heal import records
from heal.errors import HealError
from heal.worlds.registry import get_world
from tests.support.run_factory import write_run
from tests.support.tables import ACCURACY, get_row, write_comparison

FILES = ("main.csv", "main.md", "main.tex", "main.txt", "main_notes.json")


def test_shuffled_answers_give_the_same_bytes(tmp_path):
    def shuffled(rows):
        return random.Random(len(rows)).sample(rows, len(rows))

    contents = []
    for name, order in (("one", list), ("two", shuffled)):
        folder = write_run(tmp_path / name / "run", accuracy=ACCURACY, order=order)
        write_comparison(folder)
        contents.append([(folder / "tables" / file).read_bytes() for file in FILES])
    assert contents[0] == contents[1]


def test_the_same_answers_differ_by_zero_and_the_reference_has_no_difference(table):
    same = get_row(table, "oracle")
    assert (same["diff"], same["diff_low"], same["diff_high"], same["p"]) == (0.0, 0.0, 0.0, 1.0)
    assert same["verdict"] == "not distinguishable"
    assert get_row(table, "rs")["verdict"] == "reference"
    assert pd.isna(get_row(table, "rs")["diff"])


def test_a_real_difference_is_found_in_its_direction(table):
    row = get_row(table, "heal")
    assert row["diff"] > 0.1 and row["diff_low"] > 0 and row["verdict"] == "higher"
    assert row["diff"] == pytest.approx(row["mean"] - get_row(table, "rs")["mean"], abs=1.1e-4)
    assert tables.choose_verdict(-0.1, 0.01) == "lower"
    assert tables.choose_verdict(0.1, 0.06) == "not distinguishable"
    assert tables.choose_verdict(0.1, float("nan")) == "cannot say"


def test_p_is_adjusted_over_the_whole_table(table):
    known = table["p"].notna()
    assert known.sum() == 6  # two compared methods on b, b:unsolved and greedy
    assert stats.compute_adjusted_p(table["p"])[known] == pytest.approx(table["p_bh"][known], abs=1e-5)
    assert (table["p_bh"][known] >= table["p"][known] - 1e-9).all()


def test_teacher_and_untrained_student_stand_at_every_benchmark(table):
    for benchmark in ("b", "b:unsolved", "greedy"):
        for method in ("teacher", "untrained"):
            row = get_row(table, method, benchmark)
            assert pd.isna(row["diff"]) and row["n_seeds"] == 0
    assert get_row(table, "untrained")["mean"] < get_row(table, "rs")["mean"]


def test_the_stratum_is_what_the_teacher_never_solves(run, table):
    rows = records.read(run / "evals/t/teacher/b/answers.parquet", "answers")
    solved = {row["problem_id"] for row in rows if row["strict"]}
    unsolved = {row["problem_id"] for row in rows} - solved
    assert 0 < len(unsolved) < 40
    assert get_row(table, "heal", "b:unsolved")["n_questions"] == len(unsolved)
    assert get_row(table, "teacher", "b:unsolved")["mean"] == 0
    student = records.read(run / "evals/t/teacher_seed0/s/heal/seed0/b/answers.parquet", "answers")
    verdicts = [row["strict"] for row in student if row["problem_id"] in unsolved]
    assert outcomes.Run(run, "t", "s", ["heal"], ["b"], 1, 1).get_student_scores(
        "t", "s", "heal", "b:unsolved"
    ).mean() == (pytest.approx(sum(verdicts) / len(verdicts)))
    assert "greedy:unsolved" not in set(table["benchmark"])  # one repeat says too little of the teacher


def test_costs_follow_from_what_a_method_needs(table):
    generated, prefilled = "teacher_tokens_generated", "teacher_tokens_prefilled"
    assert (get_row(table, "rs")[generated], get_row(table, "rs")[prefilled]) == (5000, 1000)  # samples
    assert (get_row(table, "heal")[generated], get_row(table, "heal")[prefilled]) == (
        20000,
        4000,
    )  # + guided, repairs, scores
    assert (get_row(table, "oracle")[generated], get_row(table, "oracle")[prefilled]) == (0, 0)
    assert get_row(table, "rs")["training_tokens"] == 101


def test_several_teacher_seeds_are_compared_by_their_means(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, teacher_seeds=3, training_seeds=2)
    write_comparison(run, run / "main.csv", teacher_seeds=3, training_seeds=2)
    scores = {
        name: outcomes.Run(run, "t", "s", [name], ["b"], 3, 2).get_student_scores("t", "s", name, "b")
        for name in ("heal", "rs")
    }
    expected = stats.compute_paired_t(scores["heal"].mean(axis=1), scores["rs"].mean(axis=1))
    row = get_row(pd.read_csv(run / "main.csv"), "heal")
    assert expected.dof == 2
    assert (row["diff"], row["diff_low"], row["p"]) == pytest.approx(
        (expected.diff, expected.low, expected.p), abs=1e-4
    )
    assert row["teacher_tokens_generated"] == 20000  # per teacher seed
    assert "3 teacher sampling seeds (means over their training seeds)" in (run / "main.md").read_text()


def test_one_seed_says_nothing_about_differences(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, training_seeds=1)
    write_comparison(run, run / "main.csv", training_seeds=1)
    row = get_row(pd.read_csv(run / "main.csv"), "heal")
    assert row["verdict"] == "cannot say" and pd.isna(row["p"]) and row["diff"] > 0


def damage_answers(run: Path, change) -> str:
    path = run / "evals/t/teacher_seed0/s/heal/seed1/b/answers.parquet"
    rows = change(records.read(path, "answers"))
    records.write(path, "answers", rows)
    return "heal/seed1/b/answers.parquet"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "has no answer in repeat 0"),
        (lambda rows: rows[4:], "questions do not pair up: 1 differ; the first file lacks problem"),
        (lambda rows: [row for row in rows if row["repeat"] < 3], "3 repeats against 4"),
        (lambda rows: [*rows, rows[0]], "duplicate answer"),
        (lambda rows: [rows[0] | {"gold": "2"}, *rows[1:]], "differ between its repeats"),
        (lambda rows: [row | {"gold": "2"} for row in rows], "differ: '1', '2'"),
        (lambda rows: [], "no answers"),
    ],
)
def test_answers_that_do_not_pair_up_are_refused(run, change, message):
    where = damage_answers(run, change)
    with pytest.raises(HealError, match=message) as refused:
        write_comparison(run, run / "main.csv")
    assert where in str(refused.value)


@pytest.mark.parametrize(
    "file",
    [
        "evals/t/teacher_seed0/s/heal/seed2/greedy/answers.parquet",
        "evals/students/s/b/answers.parquet",
        "evals/t/teacher/b/answers.parquet",
        "students/t/teacher_seed0/s/heal/seed2/training.json",
        "traces/t/teacher_seed0/guided.parquet",
        "traces/t/teacher_seed0/premise.json",
    ],
)
def test_a_missing_file_is_named(run, file):
    (run / file).unlink()
    with pytest.raises(HealError, match="no such file") as refused:
        write_comparison(run, run / "main.csv")
    assert refused.value.where.endswith(file)


def test_a_problem_that_nobody_was_asked_is_found(run, monkeypatch):
    problems = records.read(run / "problems/hard.parquet", "problems")
    records.write(run / "problems/hard.parquet", "problems", [*problems, problems[0] | {"problem_id": "new"}])
    monkeypatch.setattr(tables, "list_benchmarks", lambda: {"b": "hard"})
    with pytest.raises(HealError, match="no answer to 1 of 41 problems, the first is new"):
        write_comparison(run, run / "main.csv")


def test_notes_under_the_table(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, holds=False)
    write_comparison(run, run / "main.csv")
    for file in ("main.md", "main.txt"):
        text = (run / file).read_text()
        assert "premise absent: not a test of HEAL (t, teacher seed 0: no hint uplift)" in text
        assert "shows the machinery, not that the paper is right" in text
    markdown = (run / "main.md").read_text()
    for sentence in (
        "re-implemented from a description",
        "3 training seeds",
        "Settings of b: repeats 4, temperature 1.0",
    ):
        assert sentence in markdown
    tex = (run / "main.tex").read_text()
    assert tex.count("\\midrule") == 3 and "\\toprule" in tex and "p\\_bh" in tex


def test_the_terminal_shows_notes_by_topic_however_they_are_worded(tmp_path, monkeypatch):
    monkeypatch.setattr(type(get_world("mini")), "note", "These puzzles are toys.")
    run = write_run(tmp_path / "run", accuracy=ACCURACY, holds=False)
    write_comparison(run, run / "main.csv")
    lines = (run / "main.txt").read_text().splitlines()
    assert lines[-2:] == [
        "These puzzles are toys.",
        "premise absent: not a test of HEAL (t, teacher seed 0: no hint uplift).",
    ]
    notes = read_notes(get_notes_path(run / "main.csv"))
    assert [note.text for note in select_notes(notes, Topic.WORLD)] == ["These puzzles are toys."]
    assert "".join(f"* {note.text}\n" for note in notes) in (run / "main.md").read_text()


def test_different_settings_are_refused(run):
    records.write_json(run / "evals/t/teacher_seed0/s/heal/seed1/b/results.json", {"settings": {"temperature": 0.0}})
    with pytest.raises(HealError, match="settings.temperature is 0.0, but 1.0"):
        write_comparison(run, run / "main.csv")


def test_models_may_have_templates_of_their_own(run):
    settings = {"temperature": 1.0, "repeats": 4, "chat_template_sha256": "abc"}
    records.write_json(run / "evals/t/teacher/b/results.json", {"settings": settings})
    records.write_json(
        run / "evals/students/s/b/results.json", {"settings": settings | {"chat_template_sha256": "def"}}
    )
    write_comparison(run, run / "main.csv")
    assert 'chat_template_sha256 "abc | def"' in (run / "main.md").read_text()
