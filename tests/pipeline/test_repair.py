"""Repairs of the shipped mini teacher: kept tokens, hints, batches, duplicates."""

import pytest

from heal.config.experiment import Hint
from heal.pipeline.repair import Repairer, reject_duplicates
from tests.support.mini_teacher import GEAR, SAMPLING, SEED


def make_repairer(engine, problems, options=GEAR):
    return Repairer(engine, {problem["problem_id"]: problem for problem in problems}, options, SAMPLING, SEED)


def make_repairs(engine, problems, cuts, options=GEAR):
    return make_repairer(engine, problems, options).repair_batch([cuts])


def test_a_repair_keeps_the_tokens_before_the_cut_and_tells_its_story(engine, problems, cuts):
    rows, used = make_repairs(engine, problems, cuts)
    sources = {cut["source_id"]: cut for cut in cuts}
    tried = [row for row in rows if row["trace_id"]]
    assert len(tried) == GEAR.repairs_per_trace * sum(cut["breakpoint"] is not None for cut in cuts)
    for row in tried:
        cut = sources[row["source_id"]]
        kept_ids = cut["kept_ids"]
        assert list(row["token_ids"][: len(kept_ids)]) == kept_ids and row["text"] == row["kept"] + row["continuation"]
        assert row["kept_steps"] == row["breakpoint"] - 1 and row["hint"] and row["hint"] not in row["text"]
        assert len(row["logprobs"]) == len(row["token_ids"]) - len(kept_ids)
    assert {row["reason"] for row in rows if not row["trace_id"]} <= {"no_breakpoint"}
    assert any(row["accepted"] for row in tried)
    assert used["generated"] == sum(len(row["logprobs"]) for row in tried)


def test_repairs_do_not_depend_on_the_batch(engine, problems, cuts):
    together, _ = make_repairs(engine, problems, cuts[:4])
    apart = [row for cut in cuts[:4] for row in make_repairs(engine, problems, [cut])[0]]
    ids = lambda rows: sorted(str(row["trace_id"]) for row in rows)  # noqa: E731
    assert ids(together) == ids(apart)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Hint(source="none"), ""),
        (Hint(source="solution", solution_template="{step}"), None),
        (Hint(place="user", user_turn="{question} {hint}"), "Hint: the answer is"),
        (Hint(source="teacher", ask_template="{question} {kept}", max_tokens=8), None),
        (Hint(source="wrong_answer"), "Hint: the answer is"),
        (Hint(source="noise", noise_text="This is the start"), "This is the start"),
        (Hint(source="retry", retry_text="Now we start back at the start."), "Now we start back"),
    ],
    ids=["none", "solution", "user", "teacher", "wrong_answer", "noise", "retry"],
)
def test_every_hint_source_and_place(engine, problems, cuts, hint, expected):
    cuts = [cut for cut in cuts if cut["breakpoint"] is not None][:2]
    options = GEAR.model_copy(update={"hint": hint})
    rows, _ = make_repairs(engine, problems, cuts, options)
    assert len(rows) == 2 * GEAR.repairs_per_trace
    if expected is not None:
        assert all(row["hint"].startswith(expected) and bool(row["hint"]) == bool(expected) for row in rows)
    prompt = make_repairer(engine, problems, options).build_request(cuts[0], rows[0]["hint"]).prompt_ids
    if hint.place == "user" or hint.source == "none":
        kept_ids = cuts[0]["kept_ids"]
        assert list(prompt[len(prompt) - len(kept_ids) :]) == kept_ids


def test_equal_repairs_of_a_problem_are_accepted_once():
    rows = [
        {"problem_id": "p", "text": text, "accepted": ok, "reason": ""}
        for text, ok in (("a", True), ("a", True), ("b", True))
    ]
    reject_duplicates(rows)
    assert [row["reason"] for row in rows] == ["", "duplicate", ""]
