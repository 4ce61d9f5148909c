"""The plan beside the ledger of a run that took what was planned, or more."""

import pandas as pd
import pytest

from heal import records
from heal.errors import HealError
from heal.planning import assumptions
from heal.planning import costs as plan
from heal.planning import ledger as plan_ledger
from tests.support.planning import make_settings, run_cli


def make_trace(tokens):
    one = {"trace_id": "t", "problem_id": "p", "index": 0, "text": "x", "finish_reason": "stop"}
    return one | {"token_ids": [1] * tokens, "logprobs": [0.0] * tokens, "entropies": [0.0] * tokens}


def write_finished_run(folder, planned, factor):
    """A run whose ledger says `factor` times what a plan says; each rule's jobs, in one student, teacher and draw."""
    outputs = {
        "base_samples": ("heal.pipeline.sample", "traces/default/draw0/shards/samples/{}.parquet"),
        "guided_samples": ("heal.pipeline.sample", "traces/default/draw0/shards/guided/{}.parquet"),
        "extra_samples": ("heal.pipeline.sample", "traces/default/draw0/extra/uniform-x{}.parquet"),
        "repairs": ("heal.pipeline.repair", "traces/default/draw0/shards/repairs/x/{}.parquet"),
        "trace_scores": ("heal.pipeline.score", "traces/default/draw0/shards/scores/x/{}.parquet"),
        "student": ("heal.training.train", "students/default/draw0/tiny/heal/seed{}"),
        "evaluate_student": ("evals.run", "evals/default/draw0/tiny/heal/seed{}/evaluation"),
        "evaluate_untrained": ("evals.run", "evals/students/tiny/evaluation"),
        "evaluate_teacher": ("evals.run", "evals/default/teacher/evaluation"),
    }
    for one in planned:
        stage, pattern = outputs[one.rule]
        for job in range(one.jobs):
            output, share = pattern.format(job), factor / one.jobs
            kinds = {"trained": one.tokens_read} if one.rule == "student" else {"prefill": one.tokens_read}
            tokens = {name: value * share for name, value in (kinds | {"generated": one.tokens_written}).items()}
            provenance = {"stage": stage, "seconds": 3600 * one.hours * share, "gpu_seconds": 0.0}
            if stage == "evals.run":
                answer = {"problem_id": "p", "repeat": 0, "gold": "1", "text": "", "extracted": None, "reason": ""}
                answer |= {"strict": True, "flexible": True, "truncated": False}
                row = answer | {"n_tokens": round(tokens["generated"])}
                records.write((folder / output).parent / "b/answers.parquet", "answers", [row])
            else:
                provenance["tokens"] = tokens
            records.write_json(folder / f"{output}.provenance.json", provenance)
    other = {"stage": "heal.pipeline.grade", "seconds": 1000.0, "gpu_seconds": 0.0}
    records.write_json(folder / "traces/default/draw0/grades.parquet.provenance.json", other)
    return folder


PREMISE = {
    "problems": 500,
    "treated": 250,
    "pass_rates": [
        {"samples": 8, "correct": 0, "problems": 250},
        {"samples": 8, "correct": 3, "problems": 50},
        {"samples": 8, "correct": 4, "problems": 200},
    ],
    "guided": {"accepted": 500},
    "repairs": {"accepted": 450},
}


def test_a_run_that_took_what_was_planned_has_ratios_of_one_and_half_of_it_two(capsys, tmp_path):
    planned = plan.plan(make_settings(card="cpu"))
    for factor in (1, 2):
        run = write_finished_run(tmp_path / f"{factor}/mini", planned, factor)
        records.write_json(run / "traces/default/draw0/premise.json", PREMISE)
        status, output, error = run_cli(capsys, "plan", "--from", run, "--csv", tmp_path / "c.csv")
        assert status == 0, error
        assert max(len(line.replace(str(tmp_path), "")) for line in output.splitlines()) <= 120
        frame = pd.read_csv(tmp_path / "c.csv")
        jobs = frame["quantity"] == "jobs"
        assert set(frame["quantity"]) == {"jobs", "tokens read", "tokens written", "seconds"}  # no GPU, none told
        assert (frame[jobs]["plan/ledger"] == 1).all()
        assert frame[~jobs]["plan/ledger"].to_numpy() == pytest.approx(1 / factor, rel=1e-4)
        assert "not whole" not in output
    (run / "students/default/draw0/tiny/heal/seed11.provenance.json").unlink()
    assert "The run is not whole: 34 of 35 jobs." in run_cli(capsys, "plan", "--from", run)[1]


def test_the_runs_own_shares_are_those_of_its_premise(tmp_path):
    run = write_finished_run(tmp_path / "mini", plan.plan(make_settings(card="cpu")), 1)
    with pytest.raises(HealError, match=r"no premise.json"):
        plan_ledger.own_shares(run, make_settings())
    records.write_json(run / "traces/default/draw0/premise.json", PREMISE)
    shares = plan_ledger.own_shares(run, make_settings())
    assert shares == pytest.approx(
        {
            "treated_share": 0.5,
            "guided_share": 0.6,
            "guided_accepted": 500 / (250 * 8),
            "repairs_accepted": 450 / (250 * 2 * 0.9 * 4),
        }
    )


def test_a_folder_that_is_no_run_or_of_no_known_config_is_refused(capsys, tmp_path):
    for folder, message in ((tmp_path / "absent", "no file in config/"), (tmp_path / "mini", "no such folder")):
        status, _, error = run_cli(capsys, "plan", "--from", folder)
        assert status == 2 and message in error and "Fix" in error
    (tmp_path / "mini").mkdir()
    assert "no provenance" in run_cli(capsys, "plan", "--from", tmp_path / "mini")[2]


def test_bytes_per_token_are_measured_where_a_run_lies(tmp_path):
    assert assumptions.bytes_per_token(tmp_path) is None
    path = tmp_path / "a/traces/default/draw0/samples.parquet"
    records.write(path, "samples", [make_trace(100)], usage={"generated": 100})
    measured = assumptions.bytes_per_token(tmp_path)
    assert measured.value == pytest.approx(path.stat().st_size / 100, abs=0.1) and "measured" in measured.source
