"""Requests keep to the model's length: capped at the room that is left, or skipped and counted."""

import numpy as np
import pytest

from heal.config.experiment import Gear, Guided, Hint, Prefixes, Scoring
from heal.grading.grader import Grader
from heal.pipeline import student_pass
from heal.pipeline.import_traces import make_trace_measurer
from heal.pipeline.repair import Repairer
from heal.pipeline.requests import RequestLog, cap_request
from heal.pipeline.runner import describe_usage
from heal.pipeline.sample import make_sampler
from heal.pipeline.sample_guided import make_guided_sampler
from heal.pipeline.score import Scorer
from heal.pipeline.verdict import get_question
from tests.support.mini_teacher import GEAR, SAMPLING, SEED


def index_problems(problems):
    return {problem["problem_id"]: problem for problem in problems}


def choose_cut(cuts):
    return next(cut for cut in cuts if cut["breakpoint"] is not None)


def make_repairer(engine, problems, options=GEAR):
    return Repairer(engine, index_problems(problems), options, SAMPLING, SEED)


@pytest.mark.parametrize("room", [5, 1])
def test_a_repair_whose_prefix_leaves_few_tokens_asks_for_them(engine, problems, cuts, monkeypatch, room):
    cut = choose_cut(cuts)
    repairer = make_repairer(engine, problems)
    whole, _ = repairer.repair_batch([[cut]])
    request = repairer.build_request(cut, whole[0]["hint"])
    monkeypatch.setattr(engine, "max_positions", len(request.prompt_ids) + room)
    assert cap_request(engine, request, SAMPLING.max_new_tokens).max_new_tokens == room
    rows, usage = repairer.repair_batch([[cut]])
    assert usage["requests"] == GEAR.repairs_per_trace and usage["generated"] == room * GEAR.repairs_per_trace
    for row, longer in zip(rows, whole, strict=True):
        assert len(row["logprobs"]) == room and row["finish_reason"] == "length" and row["reason"] == "truncated"
        new_ids = list(row["token_ids"][len(cut["kept_ids"]) :])
        assert new_ids == list(longer["token_ids"][len(cut["kept_ids"]) :][:room])


def test_a_repair_without_room_is_recorded_and_the_others_are_made(engine, problems, cuts, monkeypatch):
    repairer = make_repairer(engine, problems)
    tried = [cut for cut in cuts if cut["breakpoint"] is not None]
    with Grader() as grader:
        hint = repairer.write_hints(tried[:1], RequestLog(engine), grader)[0]
    lengths = [len(repairer.build_request(cut, hint).prompt_ids) for cut in tried]
    monkeypatch.setattr(engine, "max_positions", max(lengths))
    rows, usage = repairer.repair_batch([tried])
    longest = [cut["source_id"] for cut, length in zip(tried, lengths, strict=True) if length == max(lengths)]
    untried = [row for row in rows if row["trace_id"] is None]
    assert sorted(row["source_id"] for row in untried) == sorted(longest) and len(longest) < len(tried)
    assert {row["reason"] for row in untried} == {"no_room"} and not any(row["accepted"] for row in untried)
    kept_by_source = {cut["source_id"]: repairer.decode_kept(cut) for cut in tried}
    assert all(row["kept"] == kept_by_source[row["source_id"]] for row in untried)
    assert usage["skipped_no_room"] == len(longest) * GEAR.repairs_per_trace
    assert usage["requests"] == (len(tried) - len(longest)) * GEAR.repairs_per_trace


def test_a_hint_that_cannot_be_asked_for_leaves_its_cut_untried(engine, problems, cuts, monkeypatch):
    options = Gear(
        hint=Hint(source="teacher", ask_template="{question} {question} {question} {kept}"), repairs_per_trace=1
    )
    prompt = engine.tokenize_chat(problems[0]["question"])
    monkeypatch.setattr(engine, "max_positions", 2 * len(prompt))
    rows, usage = make_repairer(engine, problems, options).repair_batch([[choose_cut(cuts)]])
    assert [row["reason"] for row in rows] == ["no_room"] and usage["skipped_no_room"] == 1


def test_samples_are_capped_and_a_question_without_room_is_skipped(engine, problems, monkeypatch):
    sample = make_sampler(engine, SAMPLING, (*SEED, "base"), range(2), get_question)
    lengths = sorted(len(engine.tokenize_chat(problem["question"])) for problem in problems)
    monkeypatch.setattr(engine, "max_positions", lengths[-1])
    rows, usage = sample(problems)
    longest = [p for p in problems if len(engine.tokenize_chat(p["question"])) == lengths[-1]]
    assert usage["skipped_no_room"] == 2 * len(longest) and len(rows) == 2 * (len(problems) - len(longest))
    prompts = {p["problem_id"]: len(engine.tokenize_chat(p["question"])) for p in problems}
    assert all(len(row["token_ids"]) + prompts[row["problem_id"]] <= lengths[-1] for row in rows)
    assert any(row["finish_reason"] == "length" for row in rows)


def test_a_guided_sample_cut_off_by_the_models_length_is_not_accepted(engine, problems, monkeypatch):
    guided = Guided(template="{question} Hint: the answer is {answer}.")
    sample = make_guided_sampler(engine, SAMPLING, guided, GEAR.leak_patterns, (*SEED, "guided"))
    monkeypatch.setattr(engine, "max_positions", 60)
    rows, usage = sample(problems)
    cut_off = [row for row in rows if row["finish_reason"] == "length"]
    assert cut_off and {row["reason"] for row in cut_off} == {"truncated"}
    assert len(rows) + usage.get("skipped_no_room", 0) == SAMPLING.n * len(problems)


def test_a_trace_too_long_to_score_has_no_row_and_is_counted(engine, problems, samples, monkeypatch):
    scorer = Scorer(engine, index_problems(problems), Scoring(cue="x = \\boxed{"), 1, 0.1)
    batch = [("repair", row) for row in samples if row["finish_reason"] == "stop"]
    every, _ = scorer.score_batch(batch)
    prompts = {p["problem_id"]: len(engine.tokenize_chat(p["question"])) for p in problems}
    lengths = [prompts[row["problem_id"]] + len(row["token_ids"]) for _, row in batch]
    monkeypatch.setattr(engine, "max_positions", int(np.median(lengths)))
    rows, usage = scorer.score_batch(batch)
    assert 0 < len(rows) < len(batch) and usage["skipped_too_long_to_score"] == len(batch) - len(rows)
    by_id = {row["trace_id"]: row for row in every}
    for row in rows:
        assert row["nll_mean"] == pytest.approx(by_id[row["trace_id"]]["nll_mean"], abs=1e-5)
    monkeypatch.setattr(engine, "max_positions", 10)
    assert scorer.score_batch(batch)[0] == []


def test_an_imported_trace_that_is_too_long_is_skipped(engine, problems, monkeypatch):
    traces = {problem["question"]: [problem["solution"]] for problem in problems[:3]}
    measure = make_trace_measurer(engine, traces, "file")
    monkeypatch.setattr(engine, "max_positions", 20)
    rows, usage = measure(problems[:3])
    assert rows == [] and usage["skipped_too_long_to_score"] == 3 and usage["requests"] == 0


def test_student_passes_skip_what_does_not_fit(engine, problems, monkeypatch):
    batch = []
    for number, problem in enumerate(problems[:3]):
        batch.append([{"trace_id": f"t{number}", "problem_id": problem["problem_id"], "text": problem["solution"]}])
    monkeypatch.setattr(engine, "max_positions", 50)
    rows, usage = student_pass.rank_batch(engine, index_problems(problems), batch)
    assert len(rows) + usage["skipped_too_long_to_score"] == 3 and len(rows) < 3
    prefixes = Prefixes(cuts=4, continuations=1)
    continuer = student_pass.Continuer(engine, index_problems(problems), prefixes, SAMPLING, [], SEED)
    rows, usage = continuer.continue_batch(batch)
    assert usage["skipped_no_room"] and len(rows) == usage["requests"]
    for row in rows:
        assert row["finish_reason"] == "stop" or not row["accepted"]


def test_provenance_has_tokens_requests_and_skips_by_reason():
    usage = {"prefill": 3, "generated": 2, "scored": 0, "requests": 4, "skipped_no_room": 1, "skipped_unreadable": 2}
    assert describe_usage(usage) == {
        "tokens": {"prefill": 3, "generated": 2, "scored": 0},
        "requests": 4,
        "skipped": {"no_room": 1, "unreadable": 2},
    }
