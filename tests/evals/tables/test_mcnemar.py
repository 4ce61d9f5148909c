"""Two checkpoints, compared question by question."""

from __future__ import annotations

import pytest

from evals.answers import read_answers
from evals.tables import mcnemar as checkpoints
from heal.errors import HealError
from tests.support.run_factory import METHODS, write_run
from tests.support.tables import ACCURACY, use_other_engine


def test_two_checkpoints_are_counted_question_by_question(tmp_path):
    run = write_run(tmp_path / "run", accuracy=ACCURACY, methods=METHODS)
    a, b = (run / f"evals/t/teacher_seed0/s/{name}/seed0/greedy/answers.parquet" for name in ("heal", "rs"))
    text = "\n".join(checkpoints.compare_checkpoints(a, b, None, "strict"))
    answers = [read_answers(path).scores_QR[:, 0] for path in (a, b)]
    only_a, only_b = (int(((x == 1) & (y == 0)).sum()) for x, y in (answers, answers[::-1]))
    assert f"only A {only_a}, only B {only_b}" in text and only_a > only_b and "p = " in text
    swapped = "\n".join(checkpoints.compare_checkpoints(b, a, None, "strict"))
    assert f"only A {only_b}, only B {only_a}" in swapped
    repeated = a.parent.parent / "b/answers.parquet"
    with pytest.raises(HealError, match="4 repeats, where the test takes one"):
        checkpoints.compare_checkpoints(repeated, repeated, None, "strict")
    assert "p = 1 " in "\n".join(checkpoints.compare_checkpoints(repeated, repeated, 3, "strict"))
    with pytest.raises(HealError, match="found 4"):
        checkpoints.compare_checkpoints(repeated, repeated, 4, "strict")
    with pytest.raises(HealError, match="4 repeats against 1"):
        checkpoints.compare_checkpoints(a, repeated, None, "strict")
    use_other_engine(run, seed=0)
    assert "cannot say: answered on different engines" in "\n".join(
        checkpoints.compare_checkpoints(a, b, None, "strict")
    )
