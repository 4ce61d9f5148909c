"""What the untrained student makes of the teacher's correct samples: on the shipped mini student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heal.config.data import Dataset
from heal.config.experiment import Gear, Prefixes, Sampling
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from heal.pipeline import student_pass
from tests.support.paths import ROOT

OPTIONS = Prefixes(cuts=3, continuations=2)
SAMPLING = Sampling(n=1, max_new_tokens=160)


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(str(ROOT / "heal/worlds/mini/models/student"), batch_size=64, threads=1)


@pytest.fixture(scope="module")
def problems():
    return load(Dataset(source="mini", split="easy", n=4), 0)


@pytest.fixture(scope="module")
def batch(problems):
    """Correct samples by problem: the worked solutions, one of them with words that no student knows."""
    rows = [
        [{"trace_id": f"t{n}", "problem_id": p["problem_id"], "text": p["solution"]}] for n, p in enumerate(problems)
    ]
    rows[0].append({"trace_id": "odd", "problem_id": problems[0]["problem_id"], "text": "Schadenfreude"})
    return rows


def index_problems(problems):
    return {problem["problem_id"]: problem for problem in problems}


def make_continuations(engine, problems, batch, **options):
    chosen = OPTIONS.model_copy(update=options)
    patterns = Gear().leak_patterns
    continuer = student_pass.Continuer(engine, index_problems(problems), chosen, SAMPLING, patterns, (0, 0))
    return continuer.continue_batch(batch)[0]


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_cuts_are_spread_and_leave_the_last_step_to_the_student(steps):
    cuts = student_pass.choose_cuts(steps, 4)
    assert cuts[0] == 0 and max(cuts) < steps and len(cuts) == min(steps, 4) == len(set(cuts))
    assert student_pass.choose_cuts(0, 4) == []


def test_the_likeliest_token_has_rank_one_and_every_rank_follows_from_the_logits(engine, problems, batch):
    rows, usage = student_pass.rank_batch(engine, index_problems(problems), batch)
    assert usage["requests"] == 4 and usage["skipped_unreadable"] == 1
    assert [row["trace_id"] for row in rows] == ["t0", "t1", "t2", "t3"]  # the odd one cannot be read
    row, problem = rows[0], problems[0]
    prompt = engine.tokenize_chat(problem["question"])
    new = [*engine.tokenizer.encode(problem["solution"], add_special_tokens=False), engine.end_token_id]
    logits = engine.model(torch.tensor([[*prompt, *new]])).logits[0, len(prompt) - 1 : -1]
    own = logits.gather(-1, torch.tensor(new)[:, None])
    assert row["ranks"].tolist() == (1 + (logits > own).sum(-1)).tolist() and (row["ranks"] == 1).any()
    assert row["logprobs"] == pytest.approx((own[:, 0] - logits.logsumexp(-1)).tolist(), abs=1e-5)
    alone = []
    for part in batch[::-1]:
        alone += student_pass.rank_batch(engine, index_problems(problems), [part])[0]
    assert {one["trace_id"]: list(one["ranks"]) for one in alone} == {r["trace_id"]: list(r["ranks"]) for r in rows}


def test_ranks_end_with_the_token_that_ends_a_turn_whatever_the_tokenizer_calls_eos(
    engine, problems, batch, monkeypatch
):
    asked = []
    score = engine.score

    def noting(sequences):
        asked.extend(sequences)
        return score(sequences)

    monkeypatch.setattr(engine, "score", noting)
    monkeypatch.setattr(engine, "end_token_id", engine.tokenizer.pad_token_id)
    student_pass.rank_batch(engine, index_problems(problems), batch)
    assert {new[-1] for _, new in asked} == {engine.end_token_id} != {engine.tokenizer.eos_token_id}


def test_a_continuation_begins_where_the_source_was_cut_and_is_judged(engine, problems, batch):
    rows = make_continuations(engine, problems, batch)
    assert len(rows) == 4 * OPTIONS.cuts * OPTIONS.continuations
    solutions = {f"t{n}": problem["solution"] for n, problem in enumerate(problems)}
    for row in rows:
        assert row["text"] == row["kept"] + row["continuation"]
        assert solutions[row["source_id"]].startswith(row["kept"]) and (row["kept"] == "") == (row["kept_steps"] == 0)
        assert row["kept"].count("\n\n") == row["kept_steps"] < row["steps"]
        assert row["accepted"] == (row["reason"] == "")
    rates = [np.mean([row["accepted"] for row in rows if (row["kept_steps"] == 0) == whole]) for whole in (True, False)]
    assert min(rates) > 0.5  # it knows the easy operations


def test_continuations_do_not_depend_on_the_batch_and_differ_by_seed(engine, problems, batch):
    rows = make_continuations(engine, problems, batch)
    alone = [row for part in batch[::-1] for row in make_continuations(engine, problems, [part])]
    assert sorted(row["trace_id"] for row in alone) == sorted(row["trace_id"] for row in rows)
    fewer = {row["trace_id"] for row in make_continuations(engine, problems, batch, continuations=1)}
    assert fewer < {row["trace_id"] for row in rows}
