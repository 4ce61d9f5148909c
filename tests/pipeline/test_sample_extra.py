"""Extra samples of the shipped mini teacher: they cost what the matched files cost, whatever the batches and shards."""

import pytest

from heal import records
from heal.config.experiment import Engine
from heal.config.models import ModelSource
from heal.cost import price_usage
from heal.pipeline import sample_extra
from heal.pipeline.runner import describe_usage, take_shard
from heal.pipeline.sample_extra import ExtraBudget, SampleExtra, share_budget
from heal.trace_files import EXTRA_BLOCK
from tests.support.mini_teacher import SAMPLING, SEED

PRICE = 0.5


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
        read_price=PRICE,
        shard=shard,
        out=folder / name,
    )


def spend_budget(engine, problems, folder, name, shard="0/1"):
    """Extra samples for 4,000 generated tokens of all shards, in batches of 4 problems; returns their tokens."""
    options = make_options(folder, name, shard)
    budget = share_budget(options.match, len(problems), shard, PRICE)
    usage = ExtraBudget(options, engine, list(take_shard(problems, shard)), budget).spend("f")
    return describe_usage(usage)["tokens"]


def test_extra_samples_keep_to_the_budget_and_resume_after_a_kill(engine, problems, tmp_path):
    used = spend_budget(engine, problems, tmp_path, "a.parquet")
    assert 3500 < price_usage(used, PRICE) <= 4000
    rows = records.read(tmp_path / "a.parquet", "samples")
    assert sum(len(row["token_ids"]) for row in rows) == used["generated"]
    assert min(row["index"] for row in rows) == SAMPLING.n
    once = records.Pieces(tmp_path / "b.parquet", "samples", ["f", 4000.0, 4])
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
        budgets.append(share_budget(make_options(tmp_path, "x.parquet").match, len(problems), shard, PRICE))
        spent = price_usage(spend_budget(engine, problems, tmp_path, f"{number}.parquet", shard), PRICE)
        rows = records.read(tmp_path / f"{number}.parquet", "samples")
        longest = max(len(row["token_ids"]) for row in rows) + max(
            len(engine.tokenize_chat(problem["question"])) for problem in problems
        )
        assert budgets[-1] - longest < spent <= budgets[-1]
        assert {row["problem_id"] for row in rows} <= {p["problem_id"] for p in take_shard(problems, shard)}
    assert sum(budgets) == pytest.approx(4000)


def test_extra_samples_do_not_depend_on_the_batches_and_fill_them(engine, problems, tmp_path, monkeypatch):
    """The same rows with one cell at a time; with many, every batch but the last is as large as one of base samples.

    And few that the budget does not buy.
    """
    spend_budget(engine, problems, tmp_path, "a.parquet")
    sizes = []
    sample_cells = sample_extra.sample_cells

    def noting(engine, sampling, seed_parts, cells, render_question):
        sizes.append(sum(len(indices) for _, indices in cells))
        return sample_cells(engine, sampling, seed_parts, cells, render_question)

    monkeypatch.setattr(sample_extra, "sample_cells", noting)
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
    sizes.clear()
    options = make_options(tmp_path, "d.parquet")
    options.engine = Engine(problems_per_batch=64)
    ExtraBudget(options, engine, problems, 1000).spend("f")
    assert sum(sizes) <= 1.5 * len(list_ids(tmp_path / "d.parquet")) + EXTRA_BLOCK


def test_extra_samples_end_where_no_problem_leaves_room(engine, problems, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "max_positions", 3)
    options = make_options(tmp_path, "a.parquet")
    usage = ExtraBudget(options, engine, problems, 4000).spend("f")
    assert describe_usage(usage)["skipped"] == {"no_room": len(problems)}
    assert records.read(tmp_path / "a.parquet", "samples") == []


@pytest.mark.parametrize("kind", ["prefill", "scored"])
def test_a_read_token_buys_as_much_as_its_price_says(kind, tmp_path):
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    records.write(paths[0], "samples", [], usage={"generated": 1000, "requests": 7})
    records.write(paths[1], "samples", [], usage={kind: 3000, "skipped_no_room": 1})
    for price in (0.0, 0.1, 1.0):
        assert share_budget(paths, 10, "0/1", price) == pytest.approx(1000 + 3000 * price)
    assert share_budget(paths, 0, "0/1", 0.1) == 0


def test_a_cheaper_prompt_leaves_more_samples(engine, problems, tmp_path):
    counts = []
    for price in (0.0, 1.0, 5.0):
        options = make_options(tmp_path, f"{price}.parquet")
        options.read_price = price
        ExtraBudget(options, engine, problems, 4000).spend("f")
        counts.append(len(list_ids(tmp_path / f"{price}.parquet")))
    assert counts[0] > counts[1] > counts[2]
