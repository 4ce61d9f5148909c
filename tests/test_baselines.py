"""The baselines of the literature: each does what its paper is known for, on traces made by hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from test_methods import FURTHER, METHODS, STUDENT, examples_of, folder, graded, problem_rows, trace  # noqa: F401
from test_workflow import ROOT, copy, environment, planned, snakemake

from baselines import bread, east, limo, mix_distillation, paced, rsr, s1
from heal import records, registry
from heal.config import experiment as config
from heal.engines.base import load_tokenizer
from heal.errors import HealError
from heal.method.base import Example, Traces
from heal.pipeline import curriculum


def plain(answer, candidate):
    """Equality as the grader tells it, of texts."""
    return "correct" if answer.strip() == candidate.strip() else "wrong"


def row(name, tokens, problem="p"):
    return {"trace_id": name, "problem_id": problem, "text": name, "token_ids": [1] * tokens}


def test_star_rationalizes_what_is_unsolved_and_nothing_else(folder):  # noqa: F811
    found, usual = examples_of("star", folder), examples_of("rejection_sampling", folder)
    assert [e for e in found if e.origin == "sample"] == usual
    rationalized = {e.problem_id for e in found if e.origin == "guided"}
    assert rationalized and not rationalized & {e.problem_id for e in usual}


def test_limo_takes_few_of_the_hardest_and_one_trace_of_each(folder):  # noqa: F811
    found = examples_of("limo", folder)
    assert [e.problem_id for e in found] == ["p11"]  # a fifth of the five solved, the one that was solved once of twice
    assert METHODS["limo"].options.share == 0.2


def test_a_trace_that_checks_itself_is_better_formed_and_order_changes_nothing():
    texts = ["so x is 3", "perhaps x is 3, since we check it, therefore", "x x x x x x x x x x x x"]
    score = limo.form(texts)
    assert score.argmax() == 1 and (score >= 0).all() and (score <= 1).all()
    assert limo.form(texts[::-1]) == pytest.approx(score[::-1])


def test_s1_leaves_out_what_the_student_solves(folder):  # noqa: F811
    """It solves problem i in i of 4 attempts: of the teacher's, problems 0 and 1 are solved in less than a half."""
    assert {e.problem_id for e in examples_of("s1", folder)} == {"p0", "p1"}


def test_s1_spreads_over_kinds_and_prefers_long_traces():
    rows = [row(f"a{n}", n, f"a{n}") for n in range(1, 31)] + [row(f"b{n}", n, f"b{n}") for n in range(1, 4)]
    kinds = [0] * 30 + [1] * 3
    drawn = [s1.spread(rows, kinds, 6, seed) for seed in range(40)]
    share = np.mean([one["trace_id"][0] == "b" for chosen in drawn for one in chosen])
    assert 0.3 < share < 0.6  # by problems it would be 3 of 33
    assert np.mean([len(one["token_ids"]) for chosen in drawn for one in chosen if one["trace_id"][0] == "a"]) > 25
    assert len({one["trace_id"] for one in s1.spread(rows, kinds, 99, 0)}) == 33
    kinds = s1.clusters(["red apple tree", "red apple pie", "blue sea water", "blue sea salt"], 2, 0)
    assert kinds[0] == kinds[1] != kinds[2] == kinds[3]
    assert set(s1.clusters(["same", "same"], 50, 0)) == {0}


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_mix_keeps_its_ratio_and_takes_from_the_ends(share):
    taken, counts = 0, Counter()
    for problem in range(25):
        by_length = [row(f"{problem}-{n}", n) for n in range(1, 11)]
        chosen = mix_distillation.mix(by_length, 4, share, taken)
        taken += len(chosen)
        lengths = [len(one["token_ids"]) for one in chosen]
        counts.update(length > 5 for length in lengths)
        assert len(set(lengths)) == len(lengths) == 4
        assert not lengths or max(lengths) == 10 or min(lengths) == 1
    assert counts[True] / taken == pytest.approx(share, abs=0.011)


def test_rsr_prefers_likely_tokens_that_surprise_and_clips_ranks():
    near = {"logprobs": [-2.0, -2.0], "ranks": [2, 3]}
    assert rsr.ratio(near, 100) == 5 / 4
    assert rsr.ratio(near | {"logprobs": [-0.5, -0.5]}, 100) > rsr.ratio(near, 100)
    assert rsr.ratio(near | {"ranks": [2, 5000]}, 100) == 102 / 4 == rsr.ratio(near | {"ranks": [2, 100]}, 100)


def test_rsr_selects_the_lowest_ratio_first(folder):  # noqa: F811
    rows = records.read(folder / "students/tiny/ranks.parquet", "ranks")
    ratios = {one["trace_id"]: rsr.ratio(one, 100) for one in rows}
    values = [ratios[e.origin_id] for e in examples_of("rsr", folder) if e.problem_id == "p0"]
    assert values == sorted(values) and len(set(values)) == 2
    usual = [ratios[e.origin_id] for e in examples_of("rejection_sampling", folder) if e.problem_id == "p0"]
    assert values == usual[::-1]


def test_paced_weighs_the_edge_of_what_the_student_can_most(folder):  # noqa: F811
    weights = [paced.weight(rate, 8, 0.5) for rate in (0, 1 / 8, 1 / 2, 7 / 8, 1)]
    assert max(weights) == weights[2] == 0.25 and weights == pytest.approx(weights[::-1]) and min(weights) > 0
    assert [paced.weight(rate, 8, 0) for rate in (0, 0.5, 1)] == [0, 0.25, 0]
    found = {e.problem_id: e.weight for e in examples_of("paced", folder)}
    assert max(found, key=found.get) == "p2"  # solved in 2 of 4 attempts


def test_east_weighs_disagreement_and_counts_equal_answers_as_one():
    assert sorted(east.cluster_sizes(["1", " 1", "2", None, None], plain)) == [1, 1, 1, 2]
    agreed, apart = (east.weight(answers, 2.0, plain) for answers in (["1"] * 4, ["1", "2", "3", None]))
    assert (agreed, apart) == (pytest.approx(1), pytest.approx(np.exp(2)))
    assert east.weight(["1", "2"], 0.0, plain) == 1 == east.weight([None], 2.0, plain)
    assert agreed < east.weight(["1", "1", "2", "2"], 2.0, plain) < apart


def test_bread_branches_at_the_first_cut_that_succeeds_and_does_not_learn_the_prefix(folder):  # noqa: F811
    found = examples_of("bread", folder)
    rows = {one["trace_id"]: one for one in records.read(folder / "students/tiny/continued.parquet", "continued")}
    assert found and all(rows[e.origin_id]["kept_steps"] == 2 and rows[e.origin_id]["accepted"] for e in found)
    assert all(e.given == rows[e.origin_id]["kept"] and e.text.startswith(e.given) for e in found)
    (one, *_) = curriculum.rows(found, problem_rows(), "bread")
    assert one["given"] == found[0].given


def test_what_is_given_holds_the_opening_of_a_thinking_block():
    example = Example("p0", "one\n\ntwo</think>three", 1, "continued", "x", given="one\n\n")
    assert curriculum.rows([example], problem_rows(), "m")[0]["given"] == "<think>\none\n\n"


def test_p_align_wants_more_than_one_success_and_else_the_whole_trace(folder):  # noqa: F811
    """From the second cut half of the continuations are right: enough for branching, not for a majority."""
    found = examples_of("p_align", folder)
    assert {e.origin for e in found} == {"sample"} and not any(e.given for e in found)
    rows = records.read(folder / "students/tiny/continued.parquet", "continued")
    assert {one["kept_steps"] for one in bread.shortest(rows, 0.4)} == {2} and not bread.shortest(rows, 0.5)
    always = [one | {"accepted": True} for one in rows]
    assert {one["kept_steps"] for one in bread.shortest(always, 0.5)} == {0}


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", "returns None, no list of examples"),
        ("[]", "no training example"),
        ("[1]", "no list of examples"),
        ('[Example("p0", "x", 1, "sample", "i", -1.0)]', "example 1: weight -1.0"),
        ('[Example("p0", "x", 1, "sample", "i", float("nan"))]', "example 1: weight nan"),
        ('[Example("p0", "x", 1, "sample", "i", 0.0)]', "every weight is 0"),
        ('[Example("nowhere", "x", 1, "sample", "i")]', "example 1: no training problem 'nowhere'"),
        ('[Example("p0", "x", 1, "sample", "i", given="y")]', "example 1: given 'y'"),
    ],
)
def test_what_a_baseline_returns_wrongly_is_told_with_its_file(tmp_path, folder, returned, said):  # noqa: F811
    from heal.registry import load_method

    content = (ROOT / "baselines/TEMPLATE.py").read_text().rpartition("        correct =")[0]
    (tmp_path / "mine.py").write_text(f"{content}        return {returned}\n")
    method = load_method(tmp_path / "mine.py")
    made = method(method.Options())
    with pytest.raises(HealError) as refused:
        curriculum.make(made, Traces(folder, folder / "train.parquet", made.needs(), 0, STUDENT))
    assert said in str(refused.value) and "mine.py" in str(refused.value)


def a_baseline(folder, **changes):  # noqa: F811
    """A copy of the repository with TEMPLATE.py as a new baseline and three lines of config."""
    repository = copy(folder)
    content = (repository / "baselines/TEMPLATE.py").read_text().replace('kind = "template"', 'kind = "mine"')
    for old, new in changes.items():
        content = content.replace(old, new)
    (repository / "baselines/mine.py").write_text(content)
    smoke = (repository / "tests/configs/smoke.yaml").read_text()
    lines = "ablations:\n  my_name:\n    kind: mine\n"
    head, _, tail = smoke.partition("ablations:\n")
    (repository / "config/mine.yaml").write_text(head + lines + tail)
    return repository


@pytest.mark.workflow
def test_a_new_baseline_is_one_file_and_three_lines(tmp_path):
    """As a new user would: found by itself, checked, tried by the tests without being listed, planned and tabulated."""
    repository = a_baseline(tmp_path)
    run = lambda *words: subprocess.run(  # noqa: E731
        [sys.executable, "-m", *words], cwd=repository, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert "mine: what `heal methods` says of it" in run("heal.cli", "methods").stdout
    checked = run("heal.cli", "check", "--fields-only", "--config", "config/mine.yaml")
    assert checked.returncode == 0 and "my_name" in checked.stdout, checked.stderr
    tried = run("pytest", "-n", "0", "tests/test_methods.py", "-k", "mine", "-p", "no:cacheprovider")
    assert tried.returncode == 0 and "2 passed" in tried.stdout, tried.stdout
    jobs = planned(repository, "ablations", "--configfile", "config/mine.yaml")
    before = planned(repository, "ablations", "--configfile", "tests/configs/smoke.yaml")
    assert jobs["curriculum"] == before["curriculum"] + 1 and jobs["student"] == before["student"] + 2
    assert run("tools.docs.config").returncode == 0
    assert "| `mine` |" in (repository / "baselines/README.md").read_text()


@pytest.mark.workflow
def test_only_a_distilled_student_is_trained_beside_its_teacher():
    models = [f"results/mini_baselines/students/default/draw0/tiny/{name}/seed0/model" for name in ("on_policy", "rsr")]
    arguments = [*models, "--configfile", "config/mini_baselines.yaml"]
    status, output = snakemake(ROOT, "--dry-run", "--printshellcmds", "--forceall", "--nolock", *arguments)
    commands = [line for line in output.splitlines() if "python -m heal.training.train" in line]
    assert status == 0 and len(commands) == 2, output
    for line in commands:
        assert ("--distillation" in line and "--teacher heal/worlds/mini/models/teacher " in line) == (
            "/on_policy/" in line
        )


@pytest.mark.workflow
def test_a_broken_baseline_is_told_before_anything_runs(tmp_path):
    repository = a_baseline(tmp_path, **{"return [*files.base]": 'return [*files.base, "sampels.parquet"]'})
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--configfile", "config/mine.yaml"]
    run = subprocess.run(command, cwd=repository, env=environment(), capture_output=True, text=True, timeout=300)
    told = run.stdout + run.stderr
    assert run.returncode != 0 and "Traceback" not in told
    for word in ("baselines/mine.py", "my_name", "no rule makes 'sampels.parquet'", "did you mean 'samples.parquet'?"):
        assert word in told, told


@pytest.mark.parametrize("needs", [None, "samples.parquet", ("samples.parquet",), [1], ["repairs/other.parquet"]])
def test_needs_that_are_no_list_of_files_that_rules_make_are_refused(needs, monkeypatch):
    method = METHODS["rejection_sampling"]
    monkeypatch.setattr(type(method), "needs", lambda self: needs)
    with pytest.raises(HealError) as refused:
        registry.check_needs({"mine": method}, FURTHER.gear, where="a.yaml")
    assert refused.value.where.endswith("rejection_sampling.py, needs() of 'mine' in a.yaml") and refused.value.cure


def test_a_served_teacher_cannot_be_distilled_and_other_vocabularies_are_told_by_heal_check(monkeypatch):
    from heal.planning import preflight as checks

    served = {
        "teachers": {"far": {"path": "heal/worlds/mini/models/teacher", "endpoint": {"url": "http://localhost/v1"}}}
    }
    content = {**FURTHER.model_dump(), **served}
    with pytest.raises(HealError, match="'on_policy' is trained beside its teacher, but teachers.far is served"):
        registry.resolve(config.Experiment.model_validate(content))
    monkeypatch.chdir(ROOT)
    assert not list(checks.faults(FURTHER))
    wider = lambda model: load_tokenizer(model.path, model.revision)  # noqa: E731

    def tokenizer_of(model):
        tokenizer = wider(model)
        if "teacher" in model.path:
            tokenizer.add_tokens(["Schadenfreude"])
        return tokenizer

    monkeypatch.setattr(checks, "tokenizer_of", tokenizer_of)
    (fault,) = checks.faults(FURTHER)
    assert fault.where.startswith("teachers.default, students.tiny") and "other vocabularies" in fault.found
