"""One sentence per stage: counts of what came out, whatever the shards; the job's log ends with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heal.outcome import Outcome, add_outcomes, count_rows, name_outcome, parse_outcome, read_outcome, record_outcome
from heal.provenance import SUFFIX, record_run
from heal.stages import describe_stages, list_stages

VERDICTS = ["", "", "wrong", "truncated", "no_breakpoint"]
REPAIRS = [
    {"accepted": not reason, "reason": reason, "finish_reason": "none" if reason == "no_breakpoint" else "stop"}
    for reason in VERDICTS
]
FOLDER = "results/toy/traces/default/teacher_seed0"


def test_a_sentence_counts_what_was_tried_with_reasons_and_the_truncated_share() -> None:
    text = count_rows(REPAIRS).describe()
    assert text == "2 of 4 accepted (50 %); 1 no_breakpoint, 1 truncated (25 %), 1 wrong"


def test_samples_have_no_verdict_and_the_truncated_ones_are_counted() -> None:
    outcome = count_rows([{"finish_reason": "stop"}] * 3 + [{"finish_reason": "length"}])
    assert (outcome.count, outcome.good, outcome.truncated_share) == (4, None, 0.25)
    assert outcome.describe() == "4; 1 truncated (25 %)" and Outcome(0).truncated_share == 0.0


def test_shards_add_up_to_the_whole() -> None:
    whole = count_rows(REPAIRS)
    for cut in range(len(REPAIRS) + 1):
        parts = add_outcomes([count_rows(REPAIRS[:cut]), count_rows(REPAIRS[cut:])])
        assert (parts.count, parts.good, parts.reasons) == (whole.count, whole.good, whole.reasons)
        assert parts.verdict == whole.verdict


def test_a_file_is_read_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "repairs.parquet"
    pq.write_table(pa.Table.from_pylist(REPAIRS), path)
    assert read_outcome(path) == count_rows(REPAIRS)
    pq.write_table(pa.Table.from_pylist([{"trace_id": "a"}, {"trace_id": "b"}]), path)
    assert read_outcome(path) == Outcome(2)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"command": "repair", "output": f"{FOLDER}/shards/repairs/no_hint/1.parquet"}, "repairs/no_hint of default"),
        ({"command": "grade", "output": f"{FOLDER}/grades.parquet"}, "grades of default"),
        (
            {"command": "evaluate", "output": "evals/x", "options": {"student": "tiny", "method": "heal"}},
            "answers of tiny, trained by heal",
        ),
        ({"command": "load-problems", "output": "results/toy/problems/dev.parquet"}, "load-problems, dev"),
    ],
)
def test_an_output_is_named_by_what_it_is(record: dict[str, Any], name: str) -> None:
    assert name_outcome(record) == name


def test_a_command_ends_with_its_sentence_and_records_its_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / FOLDER / "grades.parquet"
    with record_run(output, "grade", 1, {"tokens_per_s": 1204.0}) as facts:
        facts |= record_outcome(Outcome(10, 4, "right", {"wrong": 6}))
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "grades of default: 4 of 10 right (40 %); 6 wrong; 0 s, 1,204 tokens/s"
    assert parse_outcome(json.loads(Path(f"{output}{SUFFIX}").read_text())["outcome"]).good == 4


def test_a_run_has_one_sentence_for_all_shards_of_a_file(tmp_path: Path) -> None:
    for shard in range(2):
        output = tmp_path / FOLDER / f"shards/repairs/default/{shard}.parquet"
        record = {"command": "repair", "output": str(output), "seconds": 10.0, "tokens_per_s": 100.0 * (1 + 2 * shard)}
        output.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{output}{SUFFIX}").write_text(
            json.dumps(record | record_outcome(Outcome(5, 1, "accepted", {"leak": 4})))
        )
    (sentence,) = describe_stages(list_stages(tmp_path))
    assert sentence == "repairs/default of default: 2 of 10 accepted (20 %); 8 leak; 20 s, 200 tokens/s"
