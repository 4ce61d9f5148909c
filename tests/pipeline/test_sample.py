"""The teacher's stages on the shipped mini teacher: sampling, repairing, scoring, and what they cost."""

import dataclasses

import numpy as np
import pytest

from heal import records
from heal.config.data import Dataset
from heal.config.experiment import Gear, Guided, Hint, Sampling, Scoring
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.grading.grader import Grader
from heal.method import gear
from heal.pipeline import repair, sample
from heal.pipeline import score as scoring
from heal.pipeline.grade import grade
from heal.pipeline.runner import pieces
from tests.support.paths import ROOT

SAMPLING = Sampling(n=4, max_new_tokens=160)
GUIDED = Guided(template="{question} Hint: the answer is {answer}.")
GEAR = Gear(min_step_tokens=1, traces_per_problem=2, repairs_per_trace=3, max_wrong_agreement=1.0)
SEED = (0, 0)


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(str(ROOT / "heal/worlds/mini/models/teacher"), batch_size=64, threads=1)


@pytest.fixture(scope="module")
def problems():
    return load(Dataset(split="hard", n=10), 0)


@pytest.fixture(scope="module")
def samples(engine, problems):
    draw = sample.sampler(engine, SAMPLING, (*SEED, "base"), range(SAMPLING.n), lambda problem: problem["question"])
    return draw(problems)[0]


@pytest.fixture(scope="module")
def cuts(engine, problems, samples):
    return gear.plan(problems, samples, grade(problems, samples), lambda row: pieces(engine, row["token_ids"]), GEAR, 0)


def repaired(engine, problems, cuts, options=GEAR):
    by_id = {problem["problem_id"]: problem for problem in problems}
    return repair.repairer(engine, by_id, options, SAMPLING, SEED)([cuts])


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


def test_a_repair_keeps_the_tokens_before_the_cut_and_tells_its_story(engine, problems, cuts):
    rows, used = repaired(engine, problems, cuts)
    sources = {cut.trace.row["trace_id"]: cut for cut in cuts}
    tried = [row for row in rows if row["trace_id"]]
    assert len(tried) == GEAR.repairs_per_trace * sum(cut.breakpoint is not None for cut in cuts)
    for row in tried:
        cut = sources[row["source_id"]]
        kept = cut.trace.row["token_ids"][: cut.kept_tokens]
        assert row["token_ids"][: len(kept)] == kept and row["text"] == row["kept"] + row["continuation"]
        assert row["kept_steps"] == row["breakpoint"] - 1 and row["hint"] and row["hint"] not in row["text"]
        assert len(row["logprobs"]) == len(row["token_ids"]) - len(kept)
    assert {row["reason"] for row in rows if not row["trace_id"]} <= {"no_breakpoint"}
    assert any(row["accepted"] for row in tried)
    assert used["generated"] == sum(len(row["logprobs"]) for row in tried)


def test_repairs_do_not_depend_on_the_batch(engine, problems, cuts):
    together, _ = repaired(engine, problems, cuts[:4])
    apart = [row for cut in cuts[:4] for row in repaired(engine, problems, [cut])[0]]
    ids = lambda rows: sorted(str(row["trace_id"]) for row in rows)  # noqa: E731
    assert ids(together) == ids(apart)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Hint(source="none"), ""),
        (Hint(source="solution", solution_template="{step}"), None),
        (Hint(place="user", user_turn="{question} {hint}"), "Hint: the answer is"),
        (Hint(source="teacher", ask="{question}", max_tokens=8), None),
    ],
    ids=["none", "solution", "user", "teacher"],
)
def test_every_hint_source_and_place(engine, problems, cuts, hint, expected):
    cuts = [cut for cut in cuts if cut.breakpoint is not None][:2]
    rows, _ = repaired(engine, problems, cuts, GEAR.model_copy(update={"hint": hint}))
    assert len(rows) == 2 * GEAR.repairs_per_trace
    if expected is not None:
        assert all(row["hint"].startswith(expected) and bool(row["hint"]) == bool(expected) for row in rows)
    prompt = repair.request(engine, cuts[0], rows[0]["hint"], GEAR.model_copy(update={"hint": hint}), SEED).prompt_ids
    if hint.place == "user" or hint.source == "none":
        assert (
            list(prompt[len(prompt) - cuts[0].kept_tokens :]) == cuts[0].trace.row["token_ids"][: cuts[0].kept_tokens]
        )


def test_a_hint_from_a_missing_solution_names_the_problem(problems, cuts):
    with pytest.raises(HealError, match=f"problem {problems[0]['problem_id']}"):
        repair.solution_hint(cuts[0], problems[0] | {"solution": None}, GEAR)


def test_equal_repairs_of_a_problem_are_accepted_once():
    rows = [
        {"problem_id": "p", "text": text, "accepted": ok, "reason": ""}
        for text, ok in (("a", True), ("a", True), ("b", True))
    ]
    repair.reject_duplicates(rows)
    assert [row["reason"] for row in rows] == ["", "duplicate", ""]


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("x = \\boxed{5}", "stop", ""),
        ("x = \\boxed{5}", "length", "truncated"),
        ("x = \\boxed{6}", "stop", "wrong"),
        ("As the hint says, x = \\boxed{5}", "stop", "leak"),
        ("", "stop", "no_answer"),
        ("no end in sight " * 50, "length", "truncated"),
    ],
)
def test_verdicts(text, finish, reason):
    with Grader() as grader:
        found = sample.verdict(text, "5", finish, Gear().leak_patterns, grader)
    assert found["reason"] == reason and found["accepted"] == (reason == "")


def test_scores_measure_every_step_without_the_hint(engine, problems):
    easy = load(Dataset(split="easy", n=6), 0)
    draw = sample.sampler(engine, SAMPLING, (*SEED, "base"), range(1), lambda problem: problem["question"])
    traces = [row | {"kind": "sample"} for row in draw(easy)[0]]
    by_id = {problem["problem_id"]: problem for problem in easy + problems}
    options = Scoring(cue="x = \\boxed{")
    rows = scoring.score_batch(engine, traces, by_id, options, 1)
    for row, trace in zip(rows, traces, strict=True):
        steps = len(row["steps"])
        assert "".join(row["steps"]) == trace["text"] and row["statement"] == steps
        assert all(len(row[name]) == steps for name in ("nll_mean", "nll_max", "uncertainty_product"))
        assert np.all(np.asarray(row["nll_mean"]) <= np.asarray(row["nll_max"]) + 1e-6)
        assert row["uncertainty_product"][steps - 2] < 0.1 < row["uncertainty_product"][0]
    few = scoring.score_batch(engine, traces, by_id, options.model_copy(update={"max_points": 2}), 1)
    assert [row["uncertainty_product"][-1] for row in few] == pytest.approx(
        [r["uncertainty_product"][-1] for r in rows]
    )


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


def test_a_trace_that_opened_a_thinking_block_keeps_it_open(engine, cuts):
    """Cut before the first step, the repair goes on inside the block, and its text begins with the tag."""

    class Tags:
        def decode(self, ids, **_):
            return "".join(("<think>", "\n", "I see")[i] for i in ids)

    class Thinking:
        tokenizer = Tags()

    row = {"token_ids": [0, 1, 2], "text": "<think>\nI see"}
    trace = dataclasses.replace(cuts[0].trace, row=row)
    assert repair.kept_ids(Thinking(), gear.Cut(trace, 1, 0)) == [0, 1]
    row |= {"token_ids": [2, 0, 1], "text": "I see<think>\n"}
    assert repair.kept_ids(Thinking(), gear.Cut(trace, 1, 0)) == []
