"""Laws of the findings: each kind of missing content is named; a whole run has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heal.method.steps import TokenTexts
from heal.rehearsal import findings
from heal.rehearsal.traces import FIRST
from heal.stages import Stage, add_facts, list_stages
from tests.support.user_models import build_user_tokenizer


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_samples(folder: Path, right: int, wrong: int, truncated: int) -> None:
    kinds = [(True, "stop")] * right + [(False, "stop")] * wrong + [(False, "length")] * truncated
    names = [f"t{number}" for number in range(len(kinds))]
    grades = [{"trace_id": name, "correct": correct} for name, (correct, _) in zip(names, kinds, strict=True)]
    samples = [{"trace_id": name, "finish_reason": reason} for name, (_, reason) in zip(names, kinds, strict=True)]
    write(folder / "grades.parquet", grades)
    write(folder / "samples.parquet", samples)


def test_samples_of_every_kind_have_no_finding(tmp_path: Path) -> None:
    write_samples(tmp_path, 1, 1, 1)
    assert not list(findings.find_in_samples(tmp_path))


@pytest.mark.parametrize(("counts", "missing"), [((0, 1, 1), "right"), ((1, 0, 1), "wrong"), ((1, 1, 0), "truncated")])
def test_a_missing_kind_of_sample_is_named(tmp_path: Path, counts: tuple[int, int, int], missing: str) -> None:
    write_samples(tmp_path, *counts)
    (finding,) = findings.find_in_samples(tmp_path)
    assert finding.stage == "sample_base" and f"no {missing} sample" in finding.problem


def write_verdicts(path: Path, *reasons: str) -> Path:
    """reasons: of each trace; empty where it is accepted."""
    return write(path, [{"accepted": not reason, "reason": reason} for reason in reasons])


def test_repairs_of_which_none_is_accepted_are_named(tmp_path: Path) -> None:
    assert not list(findings.find_in_verdicts(write_verdicts(tmp_path / "a.parquet", "", "leak"), "repair_traces"))
    (finding,) = findings.find_in_verdicts(write_verdicts(tmp_path / "b.parquet", "wrong", "leak"), "repair_traces")
    assert "none is accepted (" in finding.problem


def test_one_leak_among_all_hinted_traces_is_enough_and_none_is_named(tmp_path: Path) -> None:
    without, leaking = (
        write_verdicts(tmp_path / "a.parquet", "", "wrong"),
        write_verdicts(tmp_path / "b.parquet", "leak"),
    )
    assert not list(findings.find_missing_leaks([without, leaking]))
    (finding,) = findings.find_missing_leaks([without])
    assert "leak" in finding.problem


def test_a_cut_ends_with_the_token_that_holds_the_line_end(tmp_path: Path) -> None:
    """Some tokenizers have tokens of a line end and indentation; indentation in a token of its own is not kept."""
    tokenizer = build_user_tokenizer("qwen3")
    tokenizer.add_tokens(["\n\n  "])
    tokenizer.save_pretrained(tmp_path / "teacher")
    line = tokenizer.encode("First.\n\n")
    indentation, both = tokenizer.encode("  "), tokenizer.encode("First.\n\n  ")
    assert len(both) == len(line) - 1
    for ids, count in [(line, 0), (both, 0), ([*line, *indentation], 1)]:
        row = {"kept": "".join(TokenTexts(tokenizer)(ids)), "token_ids": [*ids, *line]}
        path = write(tmp_path / "repairs.parquet", [row])
        assert len(list(findings.find_broken_lines(path, tmp_path / "teacher"))) == count


@pytest.mark.parametrize(("end", "count"), [("\n\n", 0), ("\n\n  ", 0), ("\n\n   Let me try", 1), ("", 1)])
def test_repairs_of_which_none_is_cut_before_the_choice_are_named(tmp_path: Path, end: str, count: int) -> None:
    path = write(tmp_path / "repairs.parquet", [{"kept": "<think>\n" + FIRST + end}, {"kept": ""}])
    assert len(list(findings.find_missing_cuts(path))) == count


@pytest.mark.parametrize(("requests", "skipped", "count"), [(0, {"no_room": 4}, 1), (1, {"no_room": 3}, 0), (0, {}, 0)])
def test_a_command_that_skipped_every_request_is_named(
    tmp_path: Path, requests: int, skipped: dict, count: int
) -> None:
    record = {"command": "repair", "output": "r.parquet", "requests": requests, "skipped": skipped}
    (tmp_path / "r.parquet.provenance.json").write_text(json.dumps(record))
    assert len(list(findings.find_skipping(tmp_path))) == count


def test_a_failed_job_is_told_with_rule_log_and_its_last_error(tmp_path: Path) -> None:
    (tmp_path / "repairs.log").write_text("loading\nerror: request 3: too long\n  Fix: shorten\n")
    log = tmp_path / "workflow.log"
    log.write_text("\nError in rule repair_traces:\n    jobid: 7\n    log: repairs.log (check log file(s))\n\nend\n")
    (finding,) = findings.find_failed_jobs(log, tmp_path)
    assert finding.stage == "repair_traces" and "request 3: too long" in finding.problem
    assert finding.where.endswith("repairs.log")


def test_requests_tokens_and_skipped_ones_add_up_per_stage() -> None:
    stage = Stage("repairs")
    for _ in range(2):
        add_facts(stage, {"requests": 4, "tokens": {"generated": 10}, "skipped": {"no_room": 1}})
    assert (stage.requests, stage.tokens, stage.skipped) == (8, {"generated": 20}, {"no_room": 2})


def test_a_stage_takes_seconds_of_all_jobs_and_the_peak_of_the_largest(tmp_path: Path) -> None:
    for name, seconds, peak in (("0", 2.0, 10.0), ("1", 3.0, 4.0)):
        path = tmp_path / "benchmarks/samples" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\n{seconds}\n")
        record = {"command": "sample base", "output": f"{name}.parquet", "peak_mb": peak}
        (tmp_path / f"{name}.parquet.provenance.json").write_text(json.dumps(record))
    (stage,) = list_stages(tmp_path)
    assert (stage.jobs, stage.seconds, stage.peak_mb) == (2, 5.0, 10.0)
