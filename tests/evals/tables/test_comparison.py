"""Laws of the comparison, on synthetic runs."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evals import results as outcomes
from evals import stats
from evals.pooled_model import fit_pooled_model
from evals.tables import comparison as tables
from evals.tables.comparison import COLUMNS_OF_ANSWERS
from evals.tables.comparison_rows import choose_verdict
from evals.tables.notes import Topic, get_notes_path, read_notes, select_notes
from heal import records
from heal.errors import HealError
from heal.worlds.registry import get_world
from tests.support.run_factory import METHODS, write_run
from tests.support.tables import ACCURACY, get_row, write_comparison, write_detail_tables

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
    assert (same["diff"], same["p"], same["verdict"]) == (0.0, 1.0, "not distinguishable")
    assert same["diff_low"] == -same["diff_high"] < 0
    assert get_row(table, "rs")["verdict"] == "reference"
    assert pd.isna(get_row(table, "rs")["diff"])


def test_a_real_difference_is_found_in_its_direction(table):
    row = get_row(table, "heal")
    assert row["diff"] > 0.1 and row["diff_low"] > 0 and row["verdict"] == row["new_verdict"] == "higher"
    assert row["diff"] == pytest.approx(row["mean"] - get_row(table, "rs")["mean"], abs=1.1e-4)
    assert choose_verdict(-0.1, -0.01) == "lower"
    assert choose_verdict(-0.1, 0.1) == "not distinguishable"


def test_the_primary_contrast_comes_first_and_is_not_adjusted(run, table):
    primary = table.iloc[0]
    assert (primary["method"], primary["benchmark"], primary["family"]) == ("heal", "b", "primary")
    assert primary["level"] == 0.95 and pd.isna(primary["p_bh"])
    assert (table["family"] == "primary").sum() == 1
    for file in ("main.md", "main.tex", "main.txt"):
        text = (run / "tables" / file).read_text()
        first = text.index("Primary contrast, not adjusted: heal - rs on b: 60 questions")
        assert first < text.index("teacher t, student s", text.index("untrained")), file
        assert text.count("higher (primary, not adjusted)") == 2, file  # apart, and in its place


def test_all_other_rows_are_adjusted_together(table):
    others = table[table["p"].notna() & (table["family"] != "primary")]
    assert len(others) == 5  # two compared methods on b, b:unsolved and greedy, less the primary contrast
    assert stats.compute_adjusted_p(others["p"]) == pytest.approx(others["p_bh"].to_numpy(), abs=2e-6)
    assert others["level"].unique() == pytest.approx([stats.compute_adjusted_level(others["p"])], abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_verdict_says_what_the_interval_next_to_it_says(tmp_path, seed):
    """And what p, adjusted or not, says."""
    rng = np.random.default_rng(seed)
    accuracy = {"rs": 0.4, "heal": 0.4 + rng.normal(0, 0.06), "oracle": 0.4 + rng.normal(0, 0.06)}
    folder = write_detail_tables(write_run(tmp_path / "run", accuracy=accuracy, questions=150))
    for name in ("main.csv", "main_strata.csv"):
        rows = pd.read_csv(folder / name)
        rows = rows[rows["diff"].notna()]
        assert len(rows)
        for row in rows.itertuples():
            assert row.verdict == choose_verdict(row.diff_low, row.diff_high)
            assert row.new_verdict == choose_verdict(row.new_low, row.new_high)
            p = row.p if row.family == "primary" else row.p_bh
            assert (row.verdict != "not distinguishable") == (p <= 0.05)
            assert row.new_low <= row.diff_low <= row.diff <= row.diff_high <= row.new_high


def test_the_same_row_has_the_same_numbers_in_every_table(tmp_path):
    """In the main table, one with further methods, one with fewer, the strata, pass@1 and the ranks."""
    methods = {**METHODS, "none": "heal", "more": "heal"}
    accuracy = {**ACCURACY, "none": 0.35, "more": 0.7}
    run = write_run(tmp_path / "run", accuracy=accuracy, methods=methods)
    main = read_rows(write_detail_tables(run) / "main.csv")
    further = write_detail_tables(run, methods=methods, main_methods=list(METHODS), folder="further")
    fewer = {"rs": "rejection_sampling", "heal": "heal", "more": "heal"}
    fewer = write_detail_tables(run, methods=fewer, main_methods=list(METHODS), folder="fewer")
    further_rows = []
    for name, n_rows in (("further", len(main)), ("fewer", len(main) - 3)):
        rows = read_rows(tmp_path / f"run/{name}/main.csv")
        shared = main.index.intersection(rows.index)
        assert len(shared) == n_rows
        pd.testing.assert_frame_equal(main.loc[shared], rows.loc[shared])
        further_rows.append(rows.xs("more", level="method"))
    assert len(further_rows[0]) == 3
    pd.testing.assert_frame_equal(*further_rows)
    strata = read_rows(further / "main_strata.csv")
    shared = main.index.intersection(strata.index)
    assert len(shared) == 5
    columns = [column for column in COLUMNS_OF_ANSWERS if column in main]
    pd.testing.assert_frame_equal(main.loc[shared, columns], strata.loc[shared, columns])
    at_1 = pd.read_csv(further / "main_at_k.csv").query("k == 1")
    ranks = pd.read_csv(further / "main_ranks.csv")
    for rows, columns in ((at_1, ["mean", "ci_low", "ci_high"]), (ranks, ["mean"])):
        for row in rows.to_dict("records"):
            key = (row["benchmark"], row["method"])
            if key in main.index:
                assert [f"{row[column]:.4f}" for column in columns] == main.loc[key, columns].tolist()


def read_rows(path: Path) -> pd.DataFrame:
    """A comparison by benchmark and method."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index(["benchmark", "method"])


def read_verdicts(folder: Path, **view) -> pd.Series:
    """The verdict of heal on each benchmark, as a reader sees it."""
    write_comparison(folder, folder / "main.csv", **view)
    rows = pd.read_csv(folder / "main.csv")
    rows = rows[rows["method"] == "heal"].set_index("benchmark")
    silent = rows["verdict"] == "cannot say"
    meaningless = ["diff", "diff_low", "diff_high", "new_low", "new_high", "p", "p_bh", "detectable", "level"]
    assert rows.loc[silent, meaningless].isna().all(axis=None)
    text = (folder / "main.md").read_text()
    for reason in rows.loc[silent, "why_not"]:
        assert f"cannot say: {reason}" in text
    return rows["verdict"].where(~silent, rows["why_not"])


def test_too_few_questions_are_said_in_words(tmp_path):
    few = write_run(tmp_path / "few", accuracy=ACCURACY, questions=40)
    assert read_verdicts(few)["b:unsolved"] == "16 questions, fewer than 20"
    rows = pd.read_csv(few / "main.csv")
    assert rows.loc[rows["benchmark"] == "b:unsolved", ["ci_low", "ci_high"]].isna().all(axis=None)
    one = write_run(tmp_path / "one", accuracy=ACCURACY, questions=1)
    assert set(read_verdicts(one)) == {"one question"}


def test_equal_results_in_all_cells_are_said_in_words(tmp_path):
    run = write_run(tmp_path / "run", accuracy=dict.fromkeys(ACCURACY, 9.0))
    assert read_verdicts(run)["b"] == "no method's accuracy varies with the seed"


@pytest.mark.parametrize(
    ("cut_off", "verdict"),
    [
        ({"rs": 0.4}, "the token limit cuts off 40% of rs's answers and 0% of heal's"),
        ({"heal": 0.4}, "higher"),  # the cut-off answers can only have hidden more of the difference
        ({"rs": 0.4, "heal": 0.4}, "higher"),
    ],
)
def test_a_difference_that_the_token_limit_explains_is_said_in_words(tmp_path, cut_off, verdict):
    run = write_run(tmp_path / "run", accuracy=ACCURACY)
    for method, share in cut_off.items():
        for path in run.glob(f"evals/t/teacher_seed0/s/{method}/seed*/b/answers.parquet"):
            rows = records.read(path, "answers")
            for row in sorted(rows, key=lambda row: row["strict"])[: round(share * len(rows))]:
                row["reason"] = "truncated"
            records.write(path, "answers", rows)
    assert read_verdicts(run)["b"] == verdict


def test_every_form_of_the_table_has_the_share_of_cut_off_answers(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, training_seeds=3)
    for path in run.glob("evals/t/teacher_seed0/s/heal/seed*/b/answers.parquet"):
        rows = records.read(path, "answers")
        for row in rows[: round(0.15 * len(rows))]:
            row["reason"] = "truncated"
        records.write(path, "answers", rows)
    out = write_comparison(run)
    assert get_row(pd.read_csv(out), "heal")["truncated"] == 0.15
    for suffix, separator in ((".md", "|"), (".tex", "&"), (".txt", "  ")):
        lines = out.with_suffix(suffix).read_text().splitlines()
        place = next(number for number, line in enumerate(lines) if line.strip(" |").startswith("heal"))
        header = next(line for line in reversed(lines[:place]) if "cut off" in line)
        assert header.count("cut off") == 1 and "0.150" in [cell.strip(" \\") for cell in lines[place].split(separator)]


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
    assert 0 < len(unsolved) < 60
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
        25000,
        5000,
    )  # + guided samples and their scores, repairs and theirs
    assert (get_row(table, "oracle")[generated], get_row(table, "oracle")[prefilled]) == (0, 0)
    assert get_row(table, "rs")["training_tokens"] == 101


def test_several_teacher_seeds_are_compared_by_their_means(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, teacher_seeds=3, training_seeds=2)
    write_comparison(run, run / "main.csv", teacher_seeds=3, training_seeds=2)
    scores = {
        name: outcomes.Run(run, "t", "s", [name], ["b"], 3, 2).get_student_scores("t", "s", name, "b")
        for name in ("heal", "rs", "oracle")
    }
    model = fit_pooled_model([scores[name].mean(axis=1) for name in ("rs", "heal", "oracle")])
    expected = model.compare(1, 0)
    row = get_row(pd.read_csv(run / "main.csv"), "heal")
    assert expected.dof == 4
    assert (row["diff"], row["diff_low"], row["p"]) == pytest.approx(
        (expected.diff, expected.compute_interval()[0], expected.p), abs=1e-4
    )
    assert row["teacher_tokens_generated"] == 25000  # per teacher seed
    assert "3 teacher sampling seeds (means over their training seeds)" in (run / "main.md").read_text()


def test_one_seed_says_nothing_about_differences(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, training_seeds=1)
    assert set(read_verdicts(run, training_seeds=1)) == {"one training seed"}


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
    with pytest.raises(HealError, match="no answer to 1 of 61 problems, the first is new"):
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
    assert tex.count("\\midrule") == 4 and "\\toprule" in tex and "p\\_bh" in tex


@pytest.mark.parametrize("greedy", [0.0, 0.487])
def test_a_ceiling_that_greedy_decoding_lifts_is_called_one_of_sampling(tmp_path, greedy):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, greedy=greedy)
    write_comparison(run, run / "main.csv")
    sentence = "Greedy decoding solves 49% of the treated problems: the ceiling is one of sampling, not of what the "
    for file in ("main.md", "main.txt"):
        assert (f"{sentence}teacher knows (t, teacher seed 0)." in (run / file).read_text()) == bool(greedy)


GATE = "gate,quantity,teacher,value,low,high,asks,holds\nsize,hard test questions,,300,,,at least 300,yes\n"


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (["student,hard,t,0.9,,,at least 0.8,yes"], "All 2 gates of this world hold ("),
        (
            ["student,hard,t,0.7123,,,at least 0.8,no", "teacher,easy,t,,,,at least 0.95,cannot say"],
            "2 of 3 gates of this world do not hold (",
        ),
        (["student,hard,another,0.7,,,at least 0.8,no"], ""),
    ],
)
def test_the_gates_of_the_world_are_told_where_a_teacher_of_the_run_was_measured(tmp_path, rows, note):
    run = write_run(tmp_path / "run", accuracy=ACCURACY)
    gates = tmp_path / "gates.csv"
    gates.write_text(GATE + "\n".join(rows) + "\n")
    write_comparison(run, run / "main.csv", gates=gates)
    text = (run / "main.txt").read_text()
    assert (note in text) if note else ("gates" not in text)
    assert ("): hard (0.7123); easy (not measured)." in text) == note.startswith("2 of 3")


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
