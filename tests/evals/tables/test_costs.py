"""Laws of the cost table: it adds up the ledger of what a method needs, and names what is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from evals.tables import costs
from heal import records
from heal.config.run_config import ComparisonView
from heal.errors import HealError
from heal.provenance import SUFFIX
from tests.support.run_factory import METHODS, make_view, write_run

ACCURACY = {"rs": 0.3, "heal": 0.6, "oracle": 0.3}


def write_provenance(output: Path, seconds: float, gpus: int = 0) -> None:
    record = {"command": "x", "seconds": seconds, "gpu_seconds": seconds * gpus}
    records.write_json(f"{output}{SUFFIX}", record)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Every trace file 10 s and two shards of 100 s on two GPUs; training 7 and 9 s by seed, answers 1 s."""
    folder = write_run(tmp_path / "run", accuracy=ACCURACY, teacher_seeds=2, training_seeds=2)
    for traces in folder.glob("traces/t/teacher_seed*"):
        for file in list(traces.rglob("*.parquet")):
            write_provenance(file, 10)
            if file.name != "grades.parquet":
                shards = traces / "shards" / file.relative_to(traces).with_suffix("")
                for shard in range(2):
                    write_provenance(shards / f"{shard}.parquet", 100, gpus=2)
    for curriculum in folder.glob("curricula/*/*/*/*/curriculum.jsonl"):
        write_provenance(curriculum, 1)
    for seed, seconds in ((0, 7), (1, 9)):
        for student in folder.glob(f"students/*/*/*/*/seed{seed}"):
            write_provenance(student, seconds, gpus=1)
        for answers in folder.glob(f"evals/*/teacher_seed*/*/*/seed{seed}"):
            write_provenance(answers / "evaluation", 1)
    return folder


def build_table(run: Path) -> pd.DataFrame:
    out = run / "tables/main_costs.csv"
    view = make_view(run, teacher_seeds=2, training_seeds=2)
    costs.TabulateCosts(comparison="main", view=view, out=out).run()
    return pd.read_csv(out).set_index("method")


def test_costs_add_up_what_a_method_needs(run):
    frame = build_table(run)
    assert list(frame.index) == list(METHODS)
    assert frame.loc["rs", "teacher_seconds"] == 10 + 200 + 10 + 1  # samples with their shards, grades, the curriculum
    assert frame.loc["rs", "teacher_gpu_seconds"] == 400
    assert frame.loc["heal", "teacher_seconds"] == 5 * 210 + 10 + 1  # + guided, its scores, repairs, their scores
    assert frame.loc["oracle", "teacher_seconds"] == 1 and frame.loc["oracle", "teacher_tokens_generated"] == 0
    assert frame.loc["heal", ["teacher_tokens_generated", "teacher_tokens_prefilled"]].tolist() == [25000, 5000]
    price = ComparisonView.model_fields["read_price"].default
    assert frame.loc["heal", "teacher_cost"] == 25000 + price * 5000
    assert set(frame["training_seconds"]) == set(frame["training_gpu_seconds"]) == {8.0}
    assert set(frame["evaluation_seconds"]) == {1.0} and set(frame["evaluation_gpu_seconds"]) == {0.0}
    assert "GPU-seconds" in (run / "tables/main_costs.md").read_text()


@pytest.mark.parametrize(
    "output",
    [
        "traces/t/teacher_seed1/guided.parquet",
        "students/t/teacher_seed0/s/heal/seed1",
        "curricula/t/teacher_seed1/s/rs/curriculum.jsonl",
    ],
)
def test_missing_provenance_is_named(run, output):
    (run / f"{output}{SUFFIX}").unlink()
    with pytest.raises(HealError, match="no such file") as refused:
        build_table(run)
    assert refused.value.where.endswith(f"{output}{SUFFIX}")
