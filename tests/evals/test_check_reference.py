"""The check of a reference: tables follow from outcomes, and every changed number is found."""

from __future__ import annotations

import pandas as pd
import pytest

from evals.tables import details
from heal import records
from heal.errors import HealError
from tests.support.run_factory import write_run
from tests.support.tables import ACCURACY, run_check, write_detail_tables


@pytest.mark.parametrize(("teacher_seeds", "training_seeds"), [(1, 3), (2, 2)])
def test_the_tables_follow_from_the_outcomes_alone(tmp_path, capsys, teacher_seeds, training_seeds):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, teacher_seeds=teacher_seeds, training_seeds=training_seeds)
    tables_of = write_detail_tables(run, teacher_seeds=teacher_seeds, training_seeds=training_seeds)
    reference = tmp_path / "reference/kept"
    reference.mkdir(parents=True)
    tables_of.rename(reference / "tables")
    run_check(reference, tmp_path)
    output = capsys.readouterr().out
    assert "all reproduced" in output and f"{tmp_path}: no raw answers" in output


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("main.csv", lambda f: f.assign(mean=f["mean"] + 0.001 * (f["method"] == "heal")), r"heal b\), mean: found"),
        (
            "main.csv",
            lambda f: f.assign(verdict=f["verdict"].replace("higher", "lower")),
            "found lower, expected higher",
        ),
        ("main.csv", lambda f: f.drop(columns="p_bh"), "no column p_bh"),
        ("main_at_k.csv", lambda f: f.iloc[:-1], "found 29 rows, expected 30"),
        ("main_strata.csv", lambda f: f.assign(p=f["p"] / 2), "p: found"),
        ("main_ranks.csv", lambda f: f.assign(rank_best=1), "rank_best: found 1, expected nothing"),
    ],
)
def test_a_changed_number_is_found_with_file_row_and_column(detail_folder, file, change, message):
    run_check(detail_folder.parent)
    change(pd.read_csv(detail_folder / file)).to_csv(detail_folder / file, index=False)
    with pytest.raises(HealError, match=message) as refused:
        run_check(detail_folder.parent)
    assert f"tables/{file}" in str(refused.value) and "not reproduced" in str(refused.value)


def test_rounding_is_no_difference(detail_folder):
    frame = pd.read_csv(detail_folder / "main.csv", dtype=str, keep_default_na=False)
    frame["mean"] = [f"{float(mean) + 1e-4:.4f}" for mean in frame["mean"]]
    frame.to_csv(detail_folder / "main.csv", index=False)
    run_check(detail_folder.parent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [row | {"strict": not row["strict"]} if i == 70 else row for i, row in enumerate(rows)],
            "row 71",
        ),
        (lambda rows: [row for row in rows if row["method"] != "oracle"], "no answers"),
        (lambda rows: rows[:-1], "has no answer|questions do not pair up"),
    ],
)
def test_changed_answers_are_found(detail_folder, change, message):
    path = detail_folder / "main_outcomes.parquet"
    metadata = records.open_table(path).schema.metadata
    changed = details.pa.Table.from_pylist(
        change(records.read(path, "outcomes")), schema=records.get_schema("outcomes")
    )
    records.write_table(path, changed.replace_schema_metadata(metadata))
    with pytest.raises(HealError, match=message):
        run_check(detail_folder.parent)


def test_outcomes_that_say_nothing_of_their_tables_and_a_missing_table_are_refused(detail_folder):
    path = detail_folder / "main_outcomes.parquet"
    table = records.open_table(path)
    (detail_folder / "main_at_k.csv").unlink()
    with pytest.raises(HealError, match="no such file") as refused:
        run_check(detail_folder.parent)
    assert refused.value.where.endswith("main_at_k.csv")
    records.write_table(path, table.replace_schema_metadata({}))
    with pytest.raises(HealError, match="does not describe its tables"):
        run_check(detail_folder.parent)
    path.unlink()
    with pytest.raises(HealError, match="no raw answers in any folder"):
        run_check(detail_folder.parent)
