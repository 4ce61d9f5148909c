"""Scores measure every step without the hint, and locate the step that makes the answer certain."""

import numpy as np
import pytest

from heal.config.data import Dataset
from heal.config.experiment import Pure, Scoring
from heal.data.load_problems import load
from heal.engines.base import Score, Usage
from heal.method.pure import compute_anomaly, find_last_scored_step
from heal.pipeline import score
from heal.pipeline.sample import make_sampler
from heal.pipeline.score import Scorer, select_traces
from heal.pipeline.verdict import get_question
from tests.support.mini_teacher import SAMPLING, SEED


def test_scores_measure_every_step_without_the_hint(engine, problems):
    easy = load(Dataset(source="mini", split="easy", n=6), 0)
    sample_batch = make_sampler(engine, SAMPLING, (*SEED, "base"), range(1), get_question)
    traces = sample_batch(easy)[0]
    by_id = {problem["problem_id"]: problem for problem in easy + problems}
    options = Scoring(cue="x = \\boxed{")
    batch = [("sample", trace) for trace in traces]
    rows, usage = Scorer(engine, by_id, options, 1, 0.1).score_batch(batch)
    assert usage["requests"] == len(traces) == len(rows)
    for row, trace in zip(rows, traces, strict=True):
        steps = len(row["steps"])
        assert "".join(row["steps"]) == trace["text"] and row["statement"] == steps
        assert all(len(row[name]) == steps for name in ("nll_mean", "nll_max", "uncertainty_product"))
        assert np.all(np.asarray(row["nll_mean"]) <= np.asarray(row["nll_max"]) + 1e-6)
        assert row["uncertainty_product"][steps - 2] < 0.1 < row["uncertainty_product"][0]
    few = Scorer(engine, by_id, options.model_copy(update={"max_points": 2}), 1, 0.1).score_batch(batch)[0]
    assert [row["uncertainty_product"][-1] for row in few] == pytest.approx(
        [r["uncertainty_product"][-1] for r in rows]
    )


def test_traces_are_chosen_without_reading_their_tokens_or_texts():
    """Each shard chooses among all traces, and reads those of its own batches only."""

    class Light(dict):
        def __missing__(self, name):
            raise AssertionError(f"{name} was read")

    def make_rows(name, accepted):
        rows = []
        for number in range(3):
            row = {"trace_id": f"{name}{number}", "problem_id": f"p{number % 2}", "accepted": accepted}
            rows.append(Light(row))
        return rows

    chosen = select_traces(make_rows("r", True), make_rows("g", True), make_rows("s", False), 5)
    assert [(origin, row["trace_id"]) for origin, row in chosen] == [
        *(("repair", f"r{number}") for number in range(3)),
        *(("guided", f"g{number}") for number in range(3)),
        *(("sample", f"s{number}") for number in range(2)),
    ]
    assert select_traces(make_rows("r", False), [], [], 5) == []


class Certainty:
    """An engine whose gold answer has the probability that a trace's state says: certain from one step on.

    A trace's tokens are its steps' numbers; its first token names the step from which the answer is certain.
    """

    end_token_id = 0

    class tokenizer:
        @staticmethod
        def encode(text, add_special_tokens=False):
            return [1]

        @staticmethod
        def decode(ids, **_):
            return f"step {ids[0]}\n\n"

    def __init__(self):
        self.calls = 0
        self.branches = 0
        self.usage = Usage()

    def tokenize_chat(self, question, prefix_ids=()):
        return (0,)

    def count_room(self, prompt_ids):
        return None

    def score(self, sequences):
        return [Score(np.zeros(len(new), np.float32), np.zeros(len(new), np.float32)) for _, new in sequences]

    def score_branches(self, trunks):
        self.calls += 1
        results = []
        for trunk, branches in trunks:
            self.branches += len(branches)
            certain_from = trunk[1] if len(trunk) > 1 else 10**6
            probabilities = [1.0 if branch.at - 1 >= certain_from else 0.01 for branch in branches]
            results.append([np.log([probability]) for probability in probabilities])
        return results


def make_synthetic_traces(steps, count=40):
    """(row, nll per step, is a jump). A jump: the step that makes the answer certain is the surprising one.

    Work: an earlier step is as surprising, and the answer gets certain in an ordinary step.
    """
    rng = np.random.default_rng(steps)
    traces = []
    for number in range(count):
        certain = int(rng.integers(steps // 3, steps - 2))
        is_jump = number % 2 == 0
        surprising = certain if is_jump else int(rng.integers(2, certain))
        nll_K = rng.uniform(0.1, 0.4, steps)
        nll_K[surprising - 1] = 2.0
        ids = [certain, *range(2, steps + 1)]
        row = {"trace_id": f"t{number}", "problem_id": "p", "token_ids": ids}
        traces.append((row, nll_K, is_jump, certain))
    return traces


def measure_auroc(anomalies, labels):
    positive, negative = np.array(anomalies)[labels], np.array(anomalies)[~np.array(labels)]
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(wins)


@pytest.mark.parametrize(("steps", "most_rounds"), [(10, 0), (16, 0), (60, 1), (200, 2)])
def test_the_step_that_makes_the_answer_certain_is_found_however_long_the_trace_is(steps, most_rounds):
    engine, traces = Certainty(), make_synthetic_traces(steps)
    scorer = Scorer(engine, {"p": {"question": "", "answer": "5"}}, Scoring(), 1, 0.1)
    rows, _ = scorer.score_batch([("repair", row) for row, _, _, _ in traces])
    assert engine.calls == 1 + most_rounds
    assert engine.branches <= len(traces) * (1 + min(steps, 16) + 7 * most_rounds)
    anomalies = []
    for row, (_, nll_K, _, certain) in zip(rows, traces, strict=True):
        assert find_last_scored_step(row["uncertainty_product"], row["statement"], 0.1) == certain
        assert np.array_equal(np.array(row["uncertainty_product"]) < 0.1, np.arange(1, steps + 1) >= certain)
        anomalies.append(compute_anomaly(row | {"nll_mean": nll_K}, Pure()))
    assert measure_auroc(anomalies, [is_jump for _, _, is_jump, _ in traces]) == 1.0


@pytest.mark.parametrize("steps", [60, 200])
def test_a_grid_alone_cannot_tell_a_jump_from_work(steps, monkeypatch):
    """Why the crossing is located: between two points a jump is paired with the uncertainty before it."""
    monkeypatch.setattr(score, "section_crossing", lambda *_: [])
    traces = make_synthetic_traces(steps)
    scorer = Scorer(Certainty(), {"p": {"question": "", "answer": "5"}}, Scoring(), 1, 0.1)
    rows, _ = scorer.score_batch([("repair", row) for row, _, _, _ in traces])
    anomalies = []
    for row, (_, nll_K, _, _) in zip(rows, traces, strict=True):
        anomalies.append(compute_anomaly(row | {"nll_mean": nll_K}, Pure()))
    assert measure_auroc(anomalies, [is_jump for _, _, is_jump, _ in traces]) < 0.8
