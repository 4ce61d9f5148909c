"""Samples of the shipped mini teacher: independent of their company, graded, within the budget."""

import pytest

from heal import records
from heal.config.experiment import Engine, Guided
from heal.config.models import ModelSource
from heal.pipeline import sample
from heal.pipeline.runner import describe_usage, take_shard
from heal.pipeline.sample import ExtraBudget, SampleExtra, make_guided_sampler, make_sampler, share_budget
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


def make_options(folder, name, shard="0/1", matched_tokens=4000):
    matched = folder / "matched.parquet"
    records.write(matched, "samples", [], usage={"generated": matched_tokens, "requests": 7, "skipped_no_room": 1})
    return SampleExtra(
        model=ModelSource(path="unused"),
        engine=Engine(problems_per_batch=4),
        sampling=SAMPLING,
        seed=SEED[0],
        teacher_seed=SEED[1],
        problems=folder / "problems.parquet",
        grades=folder / "grades.parquet",
        match=[matched],
        shard=shard,
        out=folder / name,
    )


def spend_budget(engine, problems, folder, name, shard="0/1"):
    """Extra samples for 4,000 tokens of all shards, in batches of 4 problems."""
    options = make_options(folder, name, shard)
    budget = share_budget(options.match, len(problems), shard)
    usage = ExtraBudget(options, engine, list(take_shard(problems, shard)), budget).spend("f")
    return describe_usage(usage)["tokens"]


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


def list_ids(path):
    return [row["trace_id"] for row in records.read(path, "samples")]


@pytest.mark.parametrize("shards", [1, 3, 4])
def test_the_shards_of_the_extra_samples_spend_the_whole_budget(engine, problems, tmp_path, shards):
    budgets = []
    for number in range(shards):
        shard = f"{number}/{shards}"
        budgets.append(share_budget(make_options(tmp_path, "x.parquet").match, len(problems), shard))
        spent = sum(spend_budget(engine, problems, tmp_path, f"{number}.parquet", shard).values())
        rows = records.read(tmp_path / f"{number}.parquet", "samples")
        longest = max(len(row["token_ids"]) for row in rows) + max(
            len(engine.tokenize_chat(problem["question"])) for problem in problems
        )
        assert budgets[-1] - longest < spent <= budgets[-1]
        assert {row["problem_id"] for row in rows} <= {p["problem_id"] for p in take_shard(problems, shard)}
    assert sum(budgets) == 4000


def test_extra_samples_do_not_depend_on_the_batches_and_fill_them(engine, problems, tmp_path, monkeypatch):
    """The same rows with one cell at a time; with many, every batch but the last is as large as one of base samples."""
    spend_budget(engine, problems, tmp_path, "a.parquet")
    sizes = []
    sample_cells = sample.sample_cells

    def noting(engine, sampling, seed_parts, cells, render_question):
        sizes.append(sum(len(indices) for _, indices in cells))
        return sample_cells(engine, sampling, seed_parts, cells, render_question)

    monkeypatch.setattr(sample, "sample_cells", noting)
    options = make_options(tmp_path, "b.parquet")
    options.engine = Engine(problems_per_batch=1)
    ExtraBudget(options, engine, problems, 4000).spend("f")
    assert sizes and max(sizes) == SAMPLING.n
    assert list_ids(tmp_path / "a.parquet") == list_ids(tmp_path / "b.parquet")
    sizes.clear()
    options = make_options(tmp_path, "c.parquet")
    ExtraBudget(options, engine, problems[:1], 12_000).spend("f")
    indices = {row["index"] for row in records.read(tmp_path / "c.parquet", "samples")}
    assert sizes[0] == 4 * SAMPLING.n and len(indices) > 20


def test_extra_samples_end_where_no_problem_leaves_room(engine, problems, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "max_positions", 3)
    options = make_options(tmp_path, "a.parquet")
    usage = ExtraBudget(options, engine, problems, 4000).spend("f")
    assert describe_usage(usage)["skipped"] == {"no_room": len(problems)}
    assert records.read(tmp_path / "a.parquet", "samples") == []
