"""Samples of the shipped mini teacher: independent of their company, greedy where they should be."""

from heal.config.experiment import LowTemperature, Sampling
from heal.pipeline.sample import make_low_temperature_sampler, make_sampler
from heal.pipeline.verdict import get_question
from tests.support.mini_teacher import SAMPLING


def test_samples_do_not_depend_on_which_problems_are_sampled_together(sample_batch, problems, samples):
    alone = [row for problem in problems[::-1] for row in sample_batch([problem])[0]]
    assert sorted(row["trace_id"] for row in alone) == sorted(row["trace_id"] for row in samples)
    assert len({row["text"] for row in samples}) > len(problems)


def test_another_teacher_seed_gives_other_samples(engine, problems, samples):
    sample_batch = make_sampler(engine, SAMPLING, (0, 1, "base"), range(SAMPLING.n), get_question)
    assert not {row["text"] for row in sample_batch(problems)[0]} & {row["text"] for row in samples}


LOW = LowTemperature(n=3, temperature=0.001)


def sample_low(engine, problems, sampling=SAMPLING, teacher_seed=0):
    work = make_low_temperature_sampler(engine, sampling, LOW, (0, teacher_seed, "low_temperature"))
    return work(problems)


def test_low_temperature_samples_are_one_greedy_and_n_others_problem_by_problem(engine, problems):
    rows, used = sample_low(engine, problems)
    assert [row["index"] for row in rows] == [0, 1, 2, 3] * len(problems)
    assert [row["problem_id"] for row in rows[::4]] == [problem["problem_id"] for problem in problems]
    assert used["generated"] == sum(len(row["token_ids"]) for row in rows)
    assert used["requests"] == len(rows)


def test_only_the_greedy_sample_depends_on_no_seed_and_no_temperature(engine, problems):
    rows, _ = sample_low(engine, problems)
    others, _ = sample_low(engine, problems, Sampling(max_new_tokens=160, temperature=2.0), teacher_seed=1)
    texts, other_texts = ([row["text"] for row in one] for one in (rows, others))
    assert texts[::4] == other_texts[::4] and texts != other_texts
    greedy = [row["text"] for row in rows if row["index"] == 0 for _ in range(LOW.n)]
    low = [row["text"] for row in rows if row["index"] > 0]
    agreeing = sum(a == b for a, b in zip(greedy, low, strict=True))
    assert agreeing > len(low) / 2  # nearly every token is the likeliest


def test_low_temperature_samples_do_not_depend_on_the_batch(engine, problems):
    apart = [row for problem in problems for row in sample_low(engine, [problem])[0]]
    assert [row["trace_id"] for row in apart] == [row["trace_id"] for row in sample_low(engine, problems)[0]]
