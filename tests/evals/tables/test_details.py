"""Details of a comparison: strata, pass@k, maj@k and ranks."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from evals import results as outcomes
from heal import records
from tests.support.run_factory import write_run
from tests.support.tables import ACCURACY, run_check, use_other_engine, write_detail_tables


def test_strata_part_the_questions(detail_folder):
    main, strata = pd.read_csv(detail_folder / "main.csv"), pd.read_csv(detail_folder / "main_strata.csv")
    assert set(strata["benchmark"]) <= {f"b:{name}" for name in outcomes.STRATA}  # greedy has one repeat
    heal = strata[strata["method"] == "heal"]
    assert heal["n_questions"].sum() == 60
    whole = main[(main["method"] == "heal") & (main["benchmark"] == "b")].iloc[0]
    assert (heal["mean"] * heal["n_questions"]).sum() / 60 == pytest.approx(whole["mean"], abs=1e-4)
    teacher = strata[strata["method"] == "teacher"].set_index("benchmark")["mean"]
    assert list(teacher) == sorted(teacher) and teacher["b:unsolved"] == 0 and teacher["b:always"] == 1


def test_one_sample_is_the_mean_and_more_samples_pass_more(detail_folder):
    main, at_k = pd.read_csv(detail_folder / "main.csv"), pd.read_csv(detail_folder / "main_at_k.csv")
    assert set(at_k["benchmark"]) == {"b"} and set(at_k["k"]) == {1, 2, 4}
    means = main[main["benchmark"] == "b"].set_index("method")["mean"]
    for method, rows in at_k.groupby("method"):
        passed, voted = (rows[rows["measure"] == name].set_index("k")["mean"] for name in ("pass", "maj"))
        assert passed[1] == voted[1] == pytest.approx(means[method], abs=1e-4)
        assert passed[1] < passed[2] < passed[4] and (voted <= passed).all()
    rows = records.read(detail_folder.parent / "evals/t/teacher/b/answers.parquet", "answers")
    solved = {row["problem_id"] for row in rows if row["strict"]}
    teacher = at_k[(at_k["method"] == "teacher") & (at_k["measure"] == "pass") & (at_k["k"] == 4)].iloc[0]
    assert teacher["mean"] == pytest.approx(len(solved) / 60, abs=1e-4)


def test_few_seeds_are_not_ranked_and_five_are(detail_folder, tmp_path):
    few = pd.read_csv(detail_folder / "main_ranks.csv")
    assert few[["rank_best", "rank_worst"]].isna().all(axis=None)
    assert set(few["why_not"]) == {"cannot say: 3 training seeds are too few to rank"}
    assert "cannot say: 3 training seeds" in (detail_folder / "main_ranks.md").read_text()
    enough = write_detail_tables(
        write_run(tmp_path / "five/run", accuracy=ACCURACY, training_seeds=5), training_seeds=5
    )
    ranks = pd.read_csv(enough / "main_ranks.csv")
    ranks_of_b = ranks[ranks["benchmark"] == "b"].set_index("method")
    assert ranks_of_b["why_not"].isna().all()
    assert ranks_of_b.loc["heal", ["rank_best", "rank_worst"]].tolist() == [1, 1]
    for method in ("rs", "oracle"):  # equal answers
        assert ranks_of_b.loc[method, ["rank_best", "rank_worst"]].tolist() == [2, 3]
    several = write_detail_tables(
        write_run(tmp_path / "several/run", accuracy=ACCURACY, teacher_seeds=2, training_seeds=5),
        teacher_seeds=2,
        training_seeds=5,
    )
    assert set(pd.read_csv(several / "main_ranks.csv")["why_not"]) == {
        "cannot say: 2 teacher sampling seeds (means over their training seeds) are too few to rank"
    }


def test_nothing_is_said_of_students_on_different_engines(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, training_seeds=5)
    use_other_engine(run, seed=1)
    detail_folder = write_detail_tables(run, training_seeds=5)
    main = pd.read_csv(detail_folder / "main.csv").set_index(["method", "benchmark"])
    assert main.loc["heal"]["verdict"].eq("cannot say").all() and main.loc["heal"]["p"].isna().all()
    assert set(main.loc["heal"]["why_not"]) == {"answered on different engines"}
    assert not main.loc["oracle"]["verdict"].eq("cannot say").any()
    ranks = pd.read_csv(detail_folder / "main_ranks.csv").set_index(["method", "benchmark"])
    assert ranks.loc[("heal", "b"), ["rank_best", "rank_worst"]].tolist() == [1, 3]
    run_check(run)


def test_shuffled_answers_give_equal_bytes(detail_folder, tmp_path):
    def shuffled(rows):
        return random.Random(len(rows)).sample(rows, len(rows))

    other = write_detail_tables(write_run(tmp_path / "other/run", accuracy=ACCURACY, order=shuffled))
    names = {path.name for path in detail_folder.iterdir() if not path.name.endswith(".provenance.json")}
    assert {"main_strata.md", "main_at_k.csv", "main_ranks.csv", "main_outcomes.parquet"} <= names
    for name in names:
        assert (detail_folder / name).read_bytes() == (other / name).read_bytes(), name
