"""The baselines of the literature: each does what its paper is known for, on traces made by hand."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import bread, east, limo, mix_distillation, rs_matched, rsr, s1
from baselines.extra_easy import select_further
from heal import records, registry
from heal.errors import HealError
from heal.method.base import Traces
from heal.pipeline import curriculum
from heal.trace_files import (
    EXTRA_SAMPLES,
    GRADES,
    GUIDED,
    GUIDED_SCORES,
    LOW_TEMPERATURE_SAMPLES,
    SAMPLES,
    find_trace_file,
)
from tests.support.trace_folder import (
    METHODS,
    make_examples,
    make_grade,
    make_problems,
    make_ranks,
    make_repair,
    make_trace,
)

EXTRA = EXTRA_SAMPLES.of(allocation="uniform", variant="default")


def compare_texts(answer, candidate):
    """Equality as the grader tells it, of texts."""
    return "correct" if answer.strip() == candidate.strip() else "wrong"


def make_row(name, tokens, problem="p"):
    return {"trace_id": name, "problem_id": problem, "text": name, "token_ids": [1] * tokens}


def test_star_rationalizes_what_is_unsolved_and_nothing_else(trace_folder):
    examples, usual = make_examples("star", trace_folder), make_examples("rejection_sampling", trace_folder)
    assert [e for e in examples if e.origin == "sample"] == usual
    rationalized = {e.problem_id for e in examples if e.origin == "guided"}
    assert rationalized and not rationalized & {e.problem_id for e in usual}


def test_limo_takes_few_of_the_hardest_and_one_trace_of_each(trace_folder):
    examples = make_examples("limo", trace_folder)
    assert [e.problem_id for e in examples] == [
        "p11"
    ]  # a fifth of the five solved, the one that was solved once of twice
    assert METHODS["limo"].options.share == 0.2


def test_a_trace_that_checks_itself_is_better_formed_and_order_changes_nothing():
    texts = ["so x is 3", "perhaps x is 3, since we check it, therefore", "x x x x x x x x x x x x"]
    score = limo.score_form(texts)
    assert score.argmax() == 1 and (score >= 0).all() and (score <= 1).all()
    assert limo.score_form(texts[::-1]) == pytest.approx(score[::-1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Check, check_it; écheck checking CHECK",
        "verif verify Verified. verif_1 unverified",
        "x_1 ≤ π2 ²³ 中文",
    ],
)
def test_limo_counts_words_as_regular_expressions_do(text):
    assert limo.count_words(text) == len(re.findall(r"\w+", text))
    found = limo.count_matches(text.lower(), limo.COUNTED[0][1])
    assert found == len(re.findall(r"\b(check|verif\w+)\b", text, re.IGNORECASE))


def test_s1_leaves_out_what_the_student_solves(trace_folder):
    """It solves problem i in i of 4 attempts: of the teacher's, problems 0 and 1 are solved in less than a half."""
    assert {e.problem_id for e in make_examples("s1", trace_folder)} == {"p0", "p1"}


def test_s1_spreads_over_domains_and_prefers_long_traces():
    rows = [make_row(f"a{n}", n, f"a{n}") for n in range(1, 31)] + [make_row(f"b{n}", n, f"b{n}") for n in range(1, 4)]
    domains = [0] * 30 + [1] * 3
    selections = [s1.draw_spread(rows, domains, 6, seed) for seed in range(40)]
    share = np.mean([one["trace_id"][0] == "b" for chosen in selections for one in chosen])
    assert 0.3 < share < 0.6  # by problems it would be 3 of 33
    assert np.mean([len(one["token_ids"]) for chosen in selections for one in chosen if one["trace_id"][0] == "a"]) > 25
    assert len({one["trace_id"] for one in s1.draw_spread(rows, domains, 99, 0)}) == 33
    domains = s1.cluster_questions(["red apple tree", "red apple pie", "blue sea water", "blue sea salt"], 2, 0)
    assert domains[0] == domains[1] != domains[2] == domains[3]
    assert set(s1.cluster_questions(["same", "same"], 50, 0)) == {0}


def test_s1_draws_by_powers_of_two_normalized_in_a_domain():
    """Of two rows the longer is drawn first with probability 2/3, of three the longest with 4/7."""
    for count, expected in ((2, 2 / 3), (3, 4 / 7)):
        rows = [make_row(f"{n}", n) for n in range(1, count + 1)]
        first = [s1.draw_spread(rows, [0] * count, 1, seed)[0]["trace_id"] == str(count) for seed in range(3000)]
        assert np.mean(first) == pytest.approx(expected, abs=0.03)


def test_s1_keeps_competition_problems_first_and_of_others_the_long_ones():
    method = s1.S1(s1.Options())
    assert method.is_kept(make_row("a", 1), "gneubig/aime-1983-2024") and method.is_kept(make_row("a", 1), "GPQA")
    assert method.is_kept(make_row("a", 5601), "DigitalLearningGmbH/MATH-lighteval")
    assert not method.is_kept(make_row("a", 5600), "MATH") and not method.is_kept(make_row("a", 9999), "mini/hard")
    rows = [make_row(f"{n}", n) for n in range(1, 30)]
    for seed in range(20):
        chosen = s1.draw_spread(rows, [0] * 29, 4, seed, kept=[2, 0])
        assert [one["trace_id"] for one in chosen[:2]] == ["3", "1"] and len({one["trace_id"] for one in chosen}) == 4


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_mix_keeps_its_ratio_and_takes_from_the_ends(share):
    taken, counts = 0, Counter()
    for problem in range(25):
        by_length = [make_row(f"{problem}-{n}", n) for n in range(1, 11)]
        chosen = mix_distillation.mix_by_length(by_length, 4, share, taken)
        taken += len(chosen)
        lengths = [len(one["token_ids"]) for one in chosen]
        counts.update(length > 5 for length in lengths)
        assert len(set(lengths)) == len(lengths) == 4
        assert not lengths or max(lengths) == 10 or min(lengths) == 1
    assert counts[True] / taken == pytest.approx(share, abs=0.011)


def test_rsr_prefers_likely_tokens_that_surprise_and_clips_ranks():
    near = {"logprobs": [-2.0, -2.0], "ranks": [2, 3]}
    assert rsr.compute_ratio(near, 100) == 5 / 4
    assert rsr.compute_ratio(near | {"logprobs": [-0.5, -0.5]}, 100) > rsr.compute_ratio(near, 100)
    assert (
        rsr.compute_ratio(near | {"ranks": [2, 5000]}, 100)
        == 102 / 4
        == rsr.compute_ratio(near | {"ranks": [2, 100]}, 100)
    )


def test_rsr_selects_the_lowest_ratio_first(trace_folder):
    rows = records.read(trace_folder / "students/tiny/ranks.parquet", "ranks")
    ratios = {one["trace_id"]: rsr.compute_ratio(one, 100) for one in rows}
    values = [ratios[e.origin_id] for e in make_examples("rsr", trace_folder) if e.problem_id == "p0"]
    assert values == sorted(values) and len(set(values)) == 2
    usual = [ratios[e.origin_id] for e in make_examples("rejection_sampling", trace_folder) if e.problem_id == "p0"]
    assert values == usual[::-1]


def test_paced_weighs_the_edge_of_what_the_student_can_most_and_the_extremes_not_at_all(trace_folder):
    """It solves problem i in i of 4 attempts, and 4 or more in all."""
    weights = {e.problem_id: e.weight for e in make_examples("paced", trace_folder)}
    assert weights == {"p1": 3 / 16, "p2": 1 / 4, "p3": 3 / 16}


def test_east_weighs_disagreement_by_a_power_and_counts_equal_answers_as_one():
    assert sorted(east.count_cluster_sizes(["1", " 1", "2", None, None], compare_texts)) == [1, 1, 1, 2]
    halves, quarters = ["1", "1", "2", "2"], ["1", "2", "3", None]
    for exponent in (0.1, 1.0, 3.0):
        ratio = east.compute_weight(quarters, exponent, compare_texts) / east.compute_weight(
            halves, exponent, compare_texts
        )
        assert ratio == pytest.approx(2**exponent)  # entropies of 2 bits and 1 bit
    assert east.compute_weight(halves, 0.0, compare_texts) == 1 == east.compute_weight(quarters, 0.0, compare_texts)


def test_east_discards_what_the_student_always_and_never_solves(trace_folder):
    assert {e.problem_id for e in make_examples("east", trace_folder)} == {"p1", "p2", "p3"}
    method = east.East(east.Options(answers_of="teacher"))
    traces = Traces(trace_folder, trace_folder / "train.parquet", method.needs(), 0)
    assert {e.problem_id for e in method.build_curriculum(traces)} == {"p11"}  # solved once of twice


def test_bread_branches_at_the_first_cut_that_succeeds_and_does_not_learn_the_prefix(trace_folder):
    examples = make_examples("bread", trace_folder)
    rows = {
        one["trace_id"]: one
        for one in records.read(trace_folder / "students/tiny/continuations.parquet", "continuations")
    }
    assert examples and all(rows[e.origin_id]["kept_steps"] == 2 and rows[e.origin_id]["accepted"] for e in examples)
    assert all(e.prefix == rows[e.origin_id]["kept"] and e.text.startswith(e.prefix) for e in examples)
    one = curriculum.build_row(examples[0], make_problems()[0]["question"])
    assert one["prefix"] == examples[0].prefix


def test_p_align_wants_more_than_one_success_and_else_the_whole_trace(trace_folder):
    """From the second cut half of the continuations are right: enough for branching, not for a majority."""
    examples = make_examples("p_align", trace_folder)
    assert {e.origin for e in examples} == {"sample"} and not any(e.prefix for e in examples)
    rows = records.read(trace_folder / "students/tiny/continuations.parquet", "continuations")
    assert {one["kept_steps"] for one in bread.select_shortest(rows, 0.4)} == {2} and not bread.select_shortest(
        rows, 0.5
    )
    always = [one | {"accepted": True} for one in rows]
    assert {one["kept_steps"] for one in bread.select_shortest(always, 0.5)} == {0}
    assert bread.select_shortest(always, 0.0, 1.0) == []  # nothing to learn from where it always succeeds


def test_every_baseline_of_a_paper_says_where_its_constants_were_checked():
    for name, method in registry.discover_methods().items():
        sources = vars(method).get("sources", {})
        of_paper = not method.paper.startswith("ours") and name not in ("heal", "guided")
        assert bool(sources) == of_paper, name
        for constant, checked in sources.items():
            assert re.match(r"public code: \S+( at [0-9a-f]{7}| [\d.]+), \S+|abstract|not checked$", checked), (
                name,
                constant,
            )


def test_guided_puts_guided_traces_in_place_of_repairs_at_equal_counts(trace_folder):
    heal, guided = make_examples("heal", trace_folder), make_examples("guided", trace_folder)
    count = lambda examples, stage: sorted(e.problem_id for e in examples if e.stage == stage)  # noqa: E731
    assert all(count(heal, stage) == count(guided, stage) for stage in (1, 2, 3))
    second = {e.origin_id for e in guided if e.stage == 2}
    assert all(e.origin == "guided" and e.origin_id not in second for e in guided if e.stage == 3)


def test_extra_easy_has_as_many_further_traces_as_heal_has_repairs_and_none_of_its_problems(trace_folder):
    heal, easy = make_examples("heal", trace_folder), make_examples("extra_easy", trace_folder)
    assert [e for e in easy if e.stage < 3] == [e for e in heal if e.stage < 3]
    third = [e for e in easy if e.stage == 3]
    assert len(third) == sum(e.stage == 3 for e in heal) > 0
    assert not {e.problem_id for e in third} & {e.problem_id for e in heal if e.stage == 3}


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 8, 11, 100])
def test_further_traces_are_fresh_ones_spread_over_problems_and_then_those_already_used(count):
    solved = {p: [{"trace_id": f"{p}{i}", "text": f"{i}"} for i in range(n)] for p, n in (("a", 5), ("b", 9), ("c", 3))}
    chosen = {row["trace_id"] for rows in select_further(solved, 3, count).values() for row in rows}
    assert len(chosen) == min(count, 9) and max(Counter(name[0] for name in chosen).values(), default=0) <= 3
    fresh = {name for name in chosen if int(name[1]) >= 3}
    assert len(fresh) == min(count, 5)
    assert count < 2 or {name[0] for name in fresh} == {"a", "b"}


def test_training_on_references_refuses_a_problem_without_one_or_leaves_it_out(trace_folder, tmp_path):
    problems = make_problems()
    problems[3]["solution"] = None
    records.write(tmp_path / "train.parquet", "problems", problems)
    traces, oracle = (
        Traces(trace_folder, tmp_path / "train.parquet", [], 0),
        registry.discover_methods()["reference_sft"],
    )
    with pytest.raises(HealError, match="no worked solution") as refused:
        list(oracle(oracle.Options()).build_curriculum(traces))
    assert "row 4" in str(refused.value)
    examples = list(oracle(oracle.Options(missing="leave_out")).build_curriculum(traces))
    assert [e.problem_id for e in examples] == [p["problem_id"] for p in problems if p["solution"]]


@given(st.integers(1, 9), st.integers(1, 60), st.integers(0, 400))
def test_the_cap_grows_with_the_samples(limit, base, further):
    scaled = rs_matched.scale_limit(limit, base, further)
    share = limit / base
    assert share * (base + further) - 1e-6 <= scaled < share * (base + further) + 1
    assert rs_matched.scale_limit(limit, base, 0) == limit <= scaled <= rs_matched.scale_limit(limit, base, further + 1)


@pytest.mark.parametrize(("name", "file"), [("rs_matched", EXTRA), ("rs_low_temperature", LOW_TEMPERATURE_SAMPLES)])
def test_further_samples_come_after_the_base_ones_and_lift_the_cap(name, file, trace_folder, tmp_path):
    """One problem with 2 correct base samples and 6 correct further ones: the cap of 1 becomes 4."""
    problems = make_problems()[:1]
    base = [make_trace(problems[0], f"b{i}", f"base {i}") for i in range(2)]
    further = [make_trace(problems[0], f"f{i}", f"further {i}") for i in range(6)]
    grades = find_trace_file(file.path.replace(".parquet", ".grades.parquet"))
    for entry, rows in ((SAMPLES, base), (file, further)):
        records.write(tmp_path / entry.path, "samples", rows)
    for entry, rows in ((GRADES, base), (grades, further)):
        records.write(tmp_path / entry.path, "grades", [make_grade(row) for row in rows])
    records.write(tmp_path / "train.parquet", "problems", problems)
    method = type(METHODS[name])
    method = method(method.Options(pace={"max_per_problem": 1}))
    examples = list(method.build_curriculum(Traces(tmp_path, tmp_path / "train.parquet", method.needs(), 0)))
    assert [e.text for e in examples] == ["base 0", "base 1", "further 0", "further 1"]


def test_failed_traces_stand_for_repairs_of_the_same_problems_at_equal_counts(trace_folder):
    heal, failed = make_examples("heal", trace_folder), make_examples("failed_traces", trace_folder)
    assert [e for e in failed if e.stage < 3] == [e for e in heal if e.stage < 3]
    third = [e for e in failed if e.stage == 3]
    assert [e.problem_id for e in third] == [e.problem_id for e in heal if e.stage == 3] and third
    correct = {row["trace_id"] for row in records.read(trace_folder / "grades.parquet", "grades") if row["correct"]}
    assert not {e.origin_id for e in third} & correct


def test_without_stage_two_no_guided_sample_is_asked_for(trace_folder):
    assert {e.stage for e in make_examples("heal_no_stage_two", trace_folder)} == {1, 3}
    assert GUIDED not in METHODS["heal_no_stage_two"].needs() and GUIDED in METHODS["heal"].needs()
    assert GUIDED_SCORES not in METHODS["heal_no_stage_two"].needs() and GUIDED_SCORES in METHODS["heal"].needs()
    assert GUIDED_SCORES not in METHODS["heal_unfiltered_guided"].needs()


def test_likely_repairs_takes_the_likeliest_distinct_repairs_whatever_pure_says(tmp_path):
    problems = make_problems()[:1]
    texts = {"a": [-2.0, -2.0], "b": [-1.0, -1.0, -1.0], "c": [-0.5, -0.7], "d": [-9.0], "again": [-0.1]}
    repairs = [make_repair(make_trace(problems[0], name, "c" if name == "again" else name)) for name in texts]
    unread = make_repair(make_trace(problems[0], "unread", "unread"))
    rejected = make_repair(make_trace(problems[0], "rejected", "rejected")) | {"accepted": False}
    method = type(METHODS["likely_repairs"])
    method = method(method.Options(pace={"max_per_problem": 3}, stages=[3]))
    ranks = [make_ranks(row, texts[row["trace_id"]], [1] * len(texts[row["trace_id"]])) for row in repairs]
    ranks.append(make_ranks(rejected, [-0.01], [1]))
    for file in method.needs():
        rows = {"repairs": [*repairs, unread, rejected], "ranks": ranks}.get(file.schema, [])
        records.write(tmp_path / file.of(student="tiny").path, file.schema, rows)
    records.write(tmp_path / "train.parquet", "problems", problems)
    traces = Traces(tmp_path, tmp_path / "train.parquet", method.needs(), 0, "tiny")
    assert [e.origin_id for e in method.build_curriculum(traces)] == ["again", "b", "a"]
