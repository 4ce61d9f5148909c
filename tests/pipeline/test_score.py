"""Scores measure every step without the hint."""

import numpy as np
import pytest

from heal.config.data import Dataset
from heal.config.experiment import Scoring
from heal.data.load_problems import load
from heal.pipeline.sample import make_sampler
from heal.pipeline.score import Scorer
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
