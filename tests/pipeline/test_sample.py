"""Samples of the shipped mini teacher: independent of their company, graded, within the budget."""

import pytest

from heal import records
from heal.config.experiment import Engine, Guided
from heal.config.models import ModelSource
from heal.pipeline.sample import ExtraBudget, SampleExtra, make_guided_sampler, make_sampler
from heal.pipeline.verdict import get_question
from tests.support.mini_teacher import GEAR, SAMPLING, SEED

GUIDED = Guided(template="{question} Hint: the answer is {answer}.")


def test_samples_do_not_depend_on_which_problems_are_sampled_together(sample_batch, problems, samples):
    alone = [row for problem in problems[::-1] for row in sample_batch([problem])[0]]
    assert sorted(row["trace_id"] for row in alone) == sorted(row["trace_id"] for row in samples)
    assert len({row["text"] for row in samples}) > len(problems)


def test_another_teacher_seed_gives_other_samples(engine, problems, samples):
    sample_batch = make_sampler(engine, SAMPLING, (0, 1, "base"), range(SAMPLING.n), get_question)
    assert not {row["text"] for row in sample_batch(problems)[0]} & {row["text"] for row in samples}


def test_guided_samples_are_graded_and_the_hint_stays_out_of_the_text(engine, problems):
    sample_and_judge = make_guided_sampler(engine, SAMPLING, GUIDED, GEAR.leak_patterns, (*SEED, "guided"))
    rows, used = sample_and_judge(problems)
    assert any(row["accepted"] for row in rows) and used["generated"] == sum(len(row["token_ids"]) for row in rows)
    assert all(row["accepted"] == (row["reason"] == "") for row in rows)
    assert not any("Hint" in row["text"] for row in rows if row["accepted"])


def spend_budget(engine, problems, folder, name):
    """Extra samples for 4,000 tokens, in batches of 4 problems."""
    matched = folder / "matched.parquet"
    records.write(matched, "samples", [], usage={"generated": 4000})
    options = SampleExtra(
        model=ModelSource(path="unused"),
        engine=Engine(problems_per_batch=4),
        sampling=SAMPLING,
        seed=SEED[0],
        teacher_seed=SEED[1],
        problems=folder / "problems.parquet",
        grades=folder / "grades.parquet",
        match=[matched],
        out=folder / name,
    )
    return ExtraBudget(options, engine, problems).spend("f")


def test_extra_samples_keep_to_the_budget_and_resume_after_a_kill(engine, problems, tmp_path):
    used = spend_budget(engine, problems, tmp_path, "a.parquet")
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
            spend_budget(engine, problems, tmp_path, "b.parquet")
    assert once.done(1)
    assert spend_budget(engine, problems, tmp_path, "b.parquet") == used
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
