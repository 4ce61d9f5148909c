"""Answers as the tables read them: strata and votes."""

from __future__ import annotations

import numpy as np

from evals.answers import build_answers
from evals.results import STRATA


def test_every_pass_rate_has_one_stratum():
    rate_Q = np.array([right / repeats for repeats in (1, 3, 4, 64) for right in range(repeats + 1)])
    assert (sum(stratum(rate_Q).astype(int) for stratum in STRATA.values()) == 1).all()


def test_a_right_answer_out_of_its_box_has_no_vote_where_the_strict_reading_counts():
    row = {"problem_id": "p", "gold": "7", "extracted": "7", "flexible": True, "reason": "not_boxed"}
    rows = [row | {"repeat": 0, "strict": False}, row | {"repeat": 1, "strict": True, "reason": ""}]
    assert build_answers(rows, "x", "strict").votes_QR == ((None, "7"),)
    assert build_answers(rows, "x", "flexible").votes_QR == (("7", "7"),)
