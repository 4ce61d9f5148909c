"""Laws of what stands beside a table (strata, pass@k, maj@k, ranks), of two checkpoints, and of the check."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evals import check_reference as check
from evals import results as outcomes
from evals.tables import comparison as tables
from evals.tables import details
from evals.tables import mcnemar as checkpoints
from heal import records
from heal.errors import HealError
from tests.support.run_factory import METHODS, table_arguments, write_run

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.3}


def made(monkeypatch: pytest.MonkeyPatch, run: Path, **axes: int) -> Path:
    """The folder with the comparison and its details."""
    arguments = table_arguments(run, run / "tables/main.csv", **axes)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    tables.main()
    costs = arguments.index("--methods-json")
    monkeypatch.setattr(sys, "argv", ["command", *arguments[:costs], *arguments[costs + 2 :]])
    details.main()
    return run / "tables"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made(monkeypatch, write_run(tmp_path / "run", accuracy=ACCURACY))


def checked(monkeypatch: pytest.MonkeyPatch, *runs: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, runs)])
    check.main()


def test_strata_part_the_questions_and_the_first_is_the_main_table_s(folder):
    main, strata = pd.read_csv(folder / "main.csv"), pd.read_csv(folder / "main_strata.csv")
    assert set(strata["benchmark"]) <= {f"b:{name}" for name in outcomes.STRATA}  # greedy has one repeat
    heal = strata[strata["method"] == "heal"]
    assert heal["n_questions"].sum() == 40
    whole = main[(main["method"] == "heal") & (main["benchmark"] == "b")].iloc[0]
    assert (heal["mean"] * heal["n_questions"]).sum() / 40 == pytest.approx(whole["mean"], abs=1e-4)
    teacher = strata[strata["method"] == "teacher"].set_index("benchmark")["mean"]
    assert list(teacher) == sorted(teacher) and teacher["b:unsolved"] == 0 and teacher["b:always"] == 1
    columns = ["method", "mean", "ci_low", "ci_high", "diff", "p", "diff_covers"]
    unsolved = [table[table["benchmark"] == "b:unsolved"][columns].reset_index(drop=True) for table in (main, strata)]
    pd.testing.assert_frame_equal(*unsolved)


def test_every_pass_rate_has_one_stratum():
    rate_Q = np.array([right / repeats for repeats in (1, 3, 4, 64) for right in range(repeats + 1)])
    assert (sum(stratum(rate_Q).astype(int) for stratum in outcomes.STRATA.values()) == 1).all()


def test_one_sample_is_the_mean_and_more_samples_pass_more(folder):
    main, at_k = pd.read_csv(folder / "main.csv"), pd.read_csv(folder / "main_at_k.csv")
    assert set(at_k["benchmark"]) == {"b"} and set(at_k["k"]) == {1, 2, 4}
    means = main[main["benchmark"] == "b"].set_index("method")["mean"]
    for method, rows in at_k.groupby("method"):
        passed, voted = (rows[rows["measure"] == name].set_index("k")["mean"] for name in ("pass", "maj"))
        assert passed[1] == voted[1] == pytest.approx(means[method], abs=1e-4)
        assert passed[1] < passed[2] < passed[4] and (voted <= passed).all()
    rows = records.read(folder.parent / "evals/t/teacher/b/answers.parquet", "answers")
    solved = {row["problem_id"] for row in rows if row["strict"]}
    teacher = at_k[(at_k["method"] == "teacher") & (at_k["measure"] == "pass") & (at_k["k"] == 4)].iloc[0]
    assert teacher["mean"] == pytest.approx(len(solved) / 40)


def test_a_right_answer_out_of_its_box_has_no_vote_where_the_strict_reading_counts():
    row = {"problem_id": "p", "gold": "7", "extracted": "7", "flexible": True, "reason": "not_boxed"}
    rows = [row | {"repeat": 0, "strict": False}, row | {"repeat": 1, "strict": True, "reason": ""}]
    assert outcomes.answers_of(rows, "x", "strict").votes_QR == ((None, "7"),)
    assert outcomes.answers_of(rows, "x", "flexible").votes_QR == (("7", "7"),)


def test_few_seeds_are_not_ranked_and_five_are(folder, tmp_path, monkeypatch):
    few = pd.read_csv(folder / "main_ranks.csv")
    assert few[["rank_best", "rank_worst"]].isna().all(axis=None)
    assert set(few["why_not"]) == {"cannot say: 3 training seeds are too few to rank"}
    assert "cannot say: 3 training seeds" in (folder / "main_ranks.md").read_text()
    enough = made(monkeypatch, write_run(tmp_path / "five/run", accuracy=ACCURACY, seeds=5), seeds=5)
    ranks = pd.read_csv(enough / "main_ranks.csv")
    here = ranks[ranks["benchmark"] == "b"].set_index("method")
    assert here["why_not"].isna().all()
    assert here.loc["heal", ["rank_best", "rank_worst"]].tolist() == [1, 1]
    for method in ("rs", "oracle"):  # equal answers
        assert here.loc[method, ["rank_best", "rank_worst"]].tolist() == [2, 3]
    several = made(
        monkeypatch, write_run(tmp_path / "draws/run", accuracy=ACCURACY, draws=2, seeds=5), draws=2, seeds=5
    )
    assert set(pd.read_csv(several / "main_ranks.csv")["why_not"]) == {
        "cannot say: 2 means of teacher draws are too few to rank"
    }


def other_engine(run: Path, seed: int) -> None:
    for benchmark in ("b", "greedy"):
        results = run / f"evals/t/draw0/s/heal/seed{seed}/{benchmark}/results.json"
        records.write_json(results, {"settings": {"temperature": 1.0, "repeats": 4, "engine": "vllm 0.32"}})


def test_nothing_is_said_of_students_on_different_engines(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, seeds=5)
    other_engine(run, seed=1)
    folder = made(monkeypatch, run, seeds=5)
    main = pd.read_csv(folder / "main.csv").set_index(["method", "benchmark"])
    assert main.loc["heal"]["verdict"].eq("cannot say").all() and main.loc["heal"]["p"].isna().all()
    assert main.loc["heal"]["diff"].notna().all()
    assert not main.loc["oracle"]["verdict"].eq("cannot say").any()
    ranks = pd.read_csv(folder / "main_ranks.csv").set_index(["method", "benchmark"])
    assert ranks.loc[("heal", "b"), ["rank_best", "rank_worst"]].tolist() == [1, 3]
    checked(monkeypatch, run)


def test_shuffled_answers_give_equal_bytes(folder, tmp_path, monkeypatch):
    def shuffled(rows):
        return random.Random(len(rows)).sample(rows, len(rows))

    other = made(monkeypatch, write_run(tmp_path / "other/run", accuracy=ACCURACY, order=shuffled))
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".provenance.json")}
    assert {"main_strata.md", "main_at_k.csv", "main_ranks.csv", "main_outcomes.parquet"} <= names
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(("draws", "seeds"), [(1, 3), (2, 2)])
def test_the_tables_follow_from_the_outcomes_alone(tmp_path, monkeypatch, capsys, draws, seeds):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, draws=draws, seeds=seeds)
    tables_of = made(monkeypatch, run, draws=draws, seeds=seeds)
    kept = tmp_path / "reference/kept"
    kept.mkdir(parents=True)
    tables_of.rename(kept / "tables")
    checked(monkeypatch, kept, tmp_path)
    said = capsys.readouterr().out
    assert "all reproduced" in said and f"{tmp_path}: no raw answers" in said


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("main.csv", lambda f: f.assign(mean=f["mean"] + 0.001 * (f["method"] == "heal")), r"heal b\), mean: found"),
        (
            "main.csv",
            lambda f: f.assign(verdict=f["verdict"].replace("higher", "lower")),
            "found lower, expected higher",
        ),
        ("main.csv", lambda f: f.drop(columns="p_bh"), "column p_bh: not there"),
        ("main_at_k.csv", lambda f: f.iloc[:-1], "found 29 rows, expected 30"),
        ("main_strata.csv", lambda f: f.assign(p=f["p"] / 2), "p: found"),
        ("main_ranks.csv", lambda f: f.assign(rank_best=1), "rank_best: found 1, expected nothing"),
    ],
)
def test_a_changed_number_is_found_with_file_row_and_column(folder, monkeypatch, file, change, said):
    checked(monkeypatch, folder.parent)
    change(pd.read_csv(folder / file)).to_csv(folder / file, index=False)
    with pytest.raises(HealError, match=said) as refused:
        checked(monkeypatch, folder.parent)
    assert f"tables/{file}" in str(refused.value) and "not reproduced" in str(refused.value)


def test_rounding_is_no_difference(folder, monkeypatch):
    frame = pd.read_csv(folder / "main.csv", dtype=str, keep_default_na=False)
    frame["mean"] = [f"{float(mean) + 1e-4:.4f}" for mean in frame["mean"]]
    frame.to_csv(folder / "main.csv", index=False)
    checked(monkeypatch, folder.parent)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda rows: [row | {"strict": not row["strict"]} if i == 70 else row for i, row in enumerate(rows)],
            "row 71",
        ),
        (lambda rows: [row for row in rows if row["method"] != "oracle"], "no answers"),
        (lambda rows: rows[:-1], "has no answer|questions do not pair up"),
    ],
)
def test_changed_answers_are_found(folder, monkeypatch, change, said):
    path = folder / "main_outcomes.parquet"
    metadata = records.open_table(path).schema.metadata
    changed = details.pa.Table.from_pylist(change(records.read(path, "outcomes")), schema=records.schema("outcomes"))
    records.write_table(path, changed.replace_schema_metadata(metadata))
    with pytest.raises(HealError, match=said):
        checked(monkeypatch, folder.parent)


def test_outcomes_that_say_nothing_of_their_tables_and_a_missing_table_are_refused(folder, monkeypatch):
    path = folder / "main_outcomes.parquet"
    table = records.open_table(path)
    (folder / "main_at_k.csv").unlink()
    with pytest.raises(HealError, match="no such file") as refused:
        checked(monkeypatch, folder.parent)
    assert refused.value.where.endswith("main_at_k.csv")
    records.write_table(path, table.replace_schema_metadata({}))
    with pytest.raises(HealError, match="does not say of which tables"):
        checked(monkeypatch, folder.parent)
    path.unlink()
    with pytest.raises(HealError, match="no raw answers in any folder"):
        checked(monkeypatch, folder.parent)


def test_two_checkpoints_are_counted_question_by_question(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, methods=METHODS)
    a, b = (run / f"evals/t/draw0/s/{name}/seed0/greedy/answers.parquet" for name in ("heal", "rs"))
    text = "\n".join(checkpoints.compare(a, b, None, "strict"))
    answers = [outcomes.read_answers(path).scores_QR[:, 0] for path in (a, b)]
    only_a, only_b = (int(((x == 1) & (y == 0)).sum()) for x, y in (answers, answers[::-1]))
    assert f"only A {only_a}, only B {only_b}" in text and only_a > only_b and "p = " in text
    swapped = "\n".join(checkpoints.compare(b, a, None, "strict"))
    assert f"only A {only_b}, only B {only_a}" in swapped
    repeated = a.parent.parent / "b/answers.parquet"
    with pytest.raises(HealError, match="4 repeats, where the test takes one"):
        checkpoints.compare(repeated, repeated, None, "strict")
    assert "p = 1 " in "\n".join(checkpoints.compare(repeated, repeated, 3, "strict"))
    with pytest.raises(HealError, match="found 4"):
        checkpoints.compare(repeated, repeated, 4, "strict")
    with pytest.raises(HealError, match="4 repeats against 1"):
        checkpoints.compare(a, repeated, None, "strict")
    other_engine(run, seed=0)
    assert "cannot say: answered on different engines" in "\n".join(checkpoints.compare(a, b, None, "strict"))
