"""The plan beside the ledger of a run that took what was planned, or more."""

import pandas as pd
import pytest

from heal import records
from heal.errors import HealError
from heal.planning.assumptions import measure_bytes_per_token
from heal.planning.costs import plan_costs
from heal.planning.ledger import find_rule, measure_shares
from tests.support.planning import make_inputs, run_cli, write_config


def make_trace(tokens):
    one = {"trace_id": "t", "problem_id": "p", "index": 0, "text": "x", "finish_reason": "stop"}
    return one | {"token_ids": [1] * tokens, "logprobs": [0.0] * tokens, "entropies": [0.0] * tokens}


def write_finished_run(folder, planned, factor):
    """A run whose ledger has `factor` times a plan's amounts, for one student and one teacher seed."""
    traces = "traces/default/teacher_seed0"
    outputs = {
        "sample_base": ("sample base", f"{traces}/shards/samples/{{}}.parquet"),
        "sample_guided": ("sample guided", f"{traces}/shards/guided/{{}}.parquet"),
        "sample_extra": ("sample extra", f"{traces}/extra/uniform/{{}}.parquet"),
        "repair_traces": ("repair", f"{traces}/shards/repairs/default/{{}}.parquet"),
        "score_traces": ("score", f"{traces}/shards/scores/default/{{}}.parquet"),
        "score_guided": ("score", f"{traces}/guided_scores/{{}}.parquet"),
        "train_student": ("train", "students/default/teacher_seed0/tiny/heal/seed{}"),
        "evaluate_student": ("evaluate", "evals/default/teacher_seed0/tiny/heal/seed{}/evaluation"),
        "evaluate_untrained": ("evaluate", "evals/students/tiny/evaluation"),
        "evaluate_teacher": ("evaluate", "evals/default/teacher/evaluation"),
    }
    for one in planned:
        if one.rule == "plan_cuts":  # runs no model
            continue
        command, pattern = outputs[one.rule]
        outputs_of_job = 3 if one.rule in ("train_student", "evaluate_student") else 1  # config.yaml's seeds_per_job
        for number in range(one.jobs * outputs_of_job):
            output, share = pattern.format(number), factor / (one.jobs * outputs_of_job)
            kinds = {"trained": one.tokens_read} if one.rule == "train_student" else {"prefill": one.tokens_read}
            tokens = {name: value * share for name, value in (kinds | {"generated": one.tokens_written}).items()}
            provenance = {"command": command, "seconds": 3600 * one.hours * share, "gpu_seconds": 0.0}
            if command == "evaluate":
                answer = {"problem_id": "p", "repeat": 0, "gold": "1", "text": "", "extracted": None, "reason": ""}
                answer |= {"strict": True, "flexible": True, "truncated": False}
                row = answer | {"n_tokens": round(tokens["generated"])}
                records.write((folder / output).parent / "b/answers.parquet", "answers", [row])
            else:
                provenance["tokens"] = tokens
            records.write_json(folder / f"{output}.provenance.json", provenance)
    other = {"command": "grade", "seconds": 1000.0, "gpu_seconds": 0.0}
    records.write_json(folder / "traces/default/teacher_seed0/grades.parquet.provenance.json", other)
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
    planned = plan_costs(make_inputs(gpu="cpu"))
    config = write_config(tmp_path / "config.yaml")
    for factor in (1, 2):
        run = write_finished_run(tmp_path / f"{factor}/mini", planned, factor)
        records.write_json(run / "traces/default/teacher_seed0/premise.json", PREMISE)
        status, output, error = run_cli(capsys, "plan", "--config", config, "--from", run, "--csv", tmp_path / "c.csv")
        assert status == 0, error
        assert max(len(line.replace(str(tmp_path), "")) for line in output.splitlines()) <= 120
        frame = pd.read_csv(tmp_path / "c.csv")
        jobs = frame["quantity"] == "jobs"
        assert set(frame["quantity"]) == {"jobs", "tokens read", "tokens written", "seconds"}  # no GPU, none told
        assert (frame[jobs]["plan/ledger"] == 1).all()
        assert frame[~jobs]["plan/ledger"].to_numpy() == pytest.approx(1 / factor, rel=1e-4)
        assert "Unfinished run" not in output
    (run / "students/default/teacher_seed0/tiny/heal/seed9.provenance.json").unlink()
    assert "Unfinished run: 21 of 22 jobs." in run_cli(capsys, "plan", "--config", config, "--from", run)[1]


def test_the_runs_own_shares_are_those_of_its_premise(tmp_path):
    run = write_finished_run(tmp_path / "mini", plan_costs(make_inputs(gpu="cpu")), 1)
    with pytest.raises(HealError, match=r"no premise.json"):
        measure_shares(run, make_inputs())
    records.write_json(run / "traces/default/teacher_seed0/premise.json", PREMISE)
    shares = measure_shares(run, make_inputs())
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
    assert measure_bytes_per_token(tmp_path) is None
    path = tmp_path / "a/traces/default/teacher_seed0/samples.parquet"
    records.write(path, "samples", [make_trace(100)], usage={"generated": 100})
    measured = measure_bytes_per_token(tmp_path)
    assert measured.value == pytest.approx(path.stat().st_size / 100, abs=0.1) and "measured" in measured.source


@pytest.mark.parametrize(
    ("command", "output", "rule"),
    [
        ("sample base", "traces/t/teacher_seed1/shards/samples/0.parquet", "sample_base"),
        ("sample base", "traces/t/teacher_seed1/shards/students/s/samples/0.parquet", "sample_student"),
        ("score", "traces/t/teacher_seed0/shards/guided_scores/0.parquet", "score_guided"),
        ("score", "traces/t/teacher_seed0/shards/scores/default/0.parquet", "score_traces"),
        ("sample low-temperature", "x.parquet", "sample_low_temperature"),
        ("student-pass repair-ranks", "x.parquet", "rank_repairs"),
        ("student-pass ranks", "traces/t/teacher_seed0/shards/students/s/ranks/0.parquet", "rank_samples"),
        ("student-pass continuations", "x.parquet", "continue_samples"),
        ("train", "models/teachers/t", "warm_up_model"),
        ("train", "students/t/teacher_seed0/s/heal/seed2", "train_student"),
        ("evaluate", "evals/students/teacher/evaluation", "evaluate_untrained"),
        ("grade", "traces/t/teacher_seed0/grades.parquet", None),
        ("merge", "traces/t/teacher_seed0/samples.parquet", None),
    ],
)
def test_an_output_of_the_ledger_belongs_to_the_rule_that_wrote_it(command, output, rule):
    assert find_rule(command, output) == rule
