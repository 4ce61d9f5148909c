"""Samples of the shipped mini teacher: independent of their company, graded, within the budget."""

import pytest

from heal import records
from heal.config.experiment import Guided
from heal.pipeline import sample
from tests.support.mini_teacher import GEAR, SAMPLING, SEED

GUIDED = Guided(template="{question} Hint: the answer is {answer}.")


def test_samples_do_not_depend_on_which_problems_are_sampled_together(engine, problems, samples):
    draw = sample.sampler(engine, SAMPLING, (*SEED, "base"), range(SAMPLING.n), lambda problem: problem["question"])
    alone = [row for problem in problems[::-1] for row in draw([problem])[0]]
    assert sorted(row["trace_id"] for row in alone) == sorted(row["trace_id"] for row in samples)
    assert len({row["text"] for row in samples}) > len(problems)


def test_another_draw_gives_other_samples(engine, problems, samples):
    draw = sample.sampler(engine, SAMPLING, (0, 1, "base"), range(SAMPLING.n), lambda problem: problem["question"])
    assert not {row["text"] for row in draw(problems)[0]} & {row["text"] for row in samples}


def test_guided_samples_are_graded_and_the_hint_stays_out_of_the_text(engine, problems):
    rows, used = sample.graded(engine, SAMPLING, GUIDED, GEAR, (*SEED, "guided"))(problems)
    assert any(row["accepted"] for row in rows) and used["generated"] == sum(len(row["token_ids"]) for row in rows)
    assert all(row["accepted"] == (row["reason"] == "") for row in rows)
    assert not any("Hint" in row["text"] for row in rows if row["accepted"])


def test_extra_samples_keep_to_the_budget_and_go_on_after_a_kill(engine, problems, tmp_path):
    arguments = (engine, problems, SAMPLING, (*SEED, "extra"), 4000)
    used = sample.draw_extra(*arguments, str(tmp_path / "a.parquet"), 4, "f")
    assert 3500 < sum(used.values()) <= 4000
    rows = records.read(tmp_path / "a.parquet", "samples")
    assert sum(len(row["token_ids"]) for row in rows) == used["generated"]
    assert min(row["index"] for row in rows) == SAMPLING.n
    once = records.Pieces(tmp_path / "b.parquet", "samples", ["f", 4000, 4])
    calls = []

    class Killed(Exception):
        pass

    add = records.Pieces.add

    def dying(self, number, rows, usage):
        add(self, number, rows, usage)
        calls.append(number)
        if number == 1:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.Pieces, "add", dying)
        with pytest.raises(Killed):
            sample.draw_extra(*arguments, str(tmp_path / "b.parquet"), 4, "f")
    assert once.done(1)
    assert sample.draw_extra(*arguments, str(tmp_path / "b.parquet"), 4, "f") == used
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
