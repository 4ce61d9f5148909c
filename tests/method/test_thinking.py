"""Thinking models: what is split, cut, scored and trained on where a trace has a thinking block.

Two kinds of teacher: one writes `<think>` itself, the other's chat template ends the prompt with it. Both have the mini
world's words, two tags more and random weights: what they say does not matter here, what they are asked does.
"""

from __future__ import annotations

from typing import Any

import pytest

from heal.config.data import Dataset
from heal.config.experiment import Gear, Hint, Sampling, Scoring
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.method import gear
from heal.method.base import Example
from heal.method.detectors.base import WrongTrace
from heal.method.steps import split
from heal.pipeline import curriculum, repair
from heal.pipeline import score as scoring
from heal.pipeline.runner import decode_tokens, get_token_texts
from heal.training.conversations import encode
from heal.worlds.mini.tokenizer import CHAT_TEMPLATE
from tests.support.thinking_model import DOUBLES, OPENS, STRIPS, save_model

OPENING, HINT = "<think>\n", "Hint: the answer is 5."


@pytest.fixture(scope="module", params=[CHAT_TEMPLATE, OPENS], ids=["says", "opens"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    return TransformersEngine(str(save_model(tmp_path_factory.mktemp("model"), request.param)), batch_size=8, threads=1)


@pytest.fixture(scope="module")
def problem() -> dict[str, Any]:
    return load(Dataset(source="mini", split="hard", n=1), 0)[0]


@pytest.fixture(scope="module")
def row(engine: TransformersEngine, problem: dict[str, Any]) -> dict[str, Any]:
    """A trace that thinks in several steps, and then answers in two."""
    thought, _, statement = problem["solution"].rpartition("\n\n")
    opening = "" if engine.tokenizer.chat_template == OPENS else OPENING
    text = f"{opening}{thought}\n</think>\n\n{statement}\n\n{statement}"
    ids = engine.tokenizer.encode(text, add_special_tokens=False)
    assert engine.tokenizer.decode(ids) == text and engine.tokenizer.unk_token_id not in ids
    same = {"text": text, "token_ids": ids, "trace_id": "t", "problem_id": problem["problem_id"], "origin": "repair"}
    return same | {"entropies": [0.5] * len(ids), "logprobs": [-0.5] * len(ids), "finish_reason": "stop"}


def measure_trace(engine: TransformersEngine, row: dict[str, Any], problem: dict[str, Any]) -> WrongTrace:
    options = Gear(min_step_tokens=1)
    return gear.measure_trace(row, problem["question"], decode_tokens(engine, row["token_ids"]), options, 0.0)


def make_cuts(engine: TransformersEngine, row: dict[str, Any], problem: dict[str, Any]) -> list[dict[str, Any]]:
    """At every step of the trace, with every rewind."""
    trace = measure_trace(engine, row, problem)
    places = {gear.count_kept_steps(k, rewind) for k in range(1, 1 + len(trace.steps)) for rewind in (0, 1, 2)}
    assert max(places) == len(trace.steps) > 3
    cuts = [gear.Cut(trace, 1 + kept_steps, kept_steps) for kept_steps in sorted(places)]
    return [gear.build_cut_row(cut, Gear(), get_token_texts(engine)) for cut in cuts]


def make_repairer(engine: TransformersEngine, problem: dict[str, Any], options: Gear) -> repair.Repairer:
    return repair.Repairer(engine, {problem["problem_id"]: problem}, options, Sampling(max_new_tokens=6), (0, 0))


def test_steps_are_those_of_the_thinking_block(engine, row, problem) -> None:
    steps = measure_trace(engine, row, problem).steps
    assert "".join(step.text for step in steps) == row["text"].partition("</think>")[0]


def test_a_token_that_holds_part_of_the_tag_is_in_no_step() -> None:
    assert [step.text for step in split(["one", "\n\n", "two", ".</", "think>", "3"])] == ["one\n\n", "two"]


@pytest.mark.parametrize("place", ["assistant", "user"])
def test_a_repair_is_asked_for_inside_the_block_wherever_the_cut_is(engine, row, problem, place) -> None:
    options = Gear(hint=Hint(place=place))
    steps = measure_trace(engine, row, problem).steps
    for cut in make_cuts(engine, row, problem):
        repairer = make_repairer(engine, problem, options)
        prompt = engine.tokenizer.decode(repairer.build_request(cut, HINT).prompt_ids)
        assert prompt.count("<think>") == 1 and "</think>" not in prompt
        inside = prompt.partition("<think>\n")[2]
        kept_text = "".join(step.text for step in steps[: cut["kept_steps"]]).removeprefix(OPENING)
        assert inside == kept_text + (f"{HINT}\n\n" if place == "assistant" else "")


def test_a_repairs_text_begins_as_its_trace_does_and_its_answer_is_new(engine, row, problem) -> None:
    options = Gear(repairs_per_trace=2)
    every = make_cuts(engine, row, problem)
    rows, _ = make_repairer(engine, problem, options).repair_batch([every])
    assert len(rows) == 2 * len(every)
    for new_row in rows:
        assert new_row["text"] == new_row["kept"] + new_row["continuation"] and "</think>" not in new_row["kept"]
        assert new_row["text"].startswith(OPENING) == row["text"].startswith(OPENING)


def test_the_cue_of_pure_closes_the_block_that_is_open(engine, row, problem, monkeypatch) -> None:
    prompts: list[str] = []
    score_branches = engine.score_branches

    def noting(trunks: Any) -> Any:
        prompts.extend(engine.tokenizer.decode([*t[: b.at], *b.cue]) for t, branches in trunks for b in branches)
        return score_branches(trunks)

    monkeypatch.setattr(engine, "score_branches", noting)
    cue = "</think>\n\nx = \\boxed{"
    scorer = scoring.Scorer(engine, {problem["problem_id"]: problem}, Scoring(cue=cue), 1, 0.1)
    ((scores,), _) = scorer.score_batch([("repair", row)])
    assert len(prompts) == 1 + len(scores["steps"])
    for text in prompts:
        assert text.count("<think>") == text.count("</think>") == 1 and text.endswith(cue)
        assert text.index("<think>") < text.index("</think>")


def make_conversation(row: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    example = Example(problem["problem_id"], row["text"], 1, "sample", "t")
    return curriculum.build_row(example, problem["question"])


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, OPENS], ids=["says", "opens"])
def test_a_training_conversation_has_one_block_whatever_teacher_and_student(engine, row, problem, template) -> None:
    tokenizer = build_student(engine, template)
    example_row = make_conversation(row, problem)
    assert example_row["messages"][1]["content"].startswith(OPENING)
    (example,) = encode(tokenizer, [example_row], "test")
    text, learned = (tokenizer.decode([i for i in ids if i >= 0]) for ids in (example.ids, example.labels))
    assert text.count("<think>") == text.count("</think>") == 1
    assert learned.removeprefix(OPENING) == row["text"].removeprefix(OPENING) + tokenizer.eos_token
    assert learned.startswith(OPENING) == (template == CHAT_TEMPLATE)


@pytest.mark.parametrize(
    ("template", "message"), [(STRIPS, "strip <think>"), (DOUBLES, "second <think>")], ids=["strips", "doubles"]
)
def test_a_template_that_spoils_the_block_is_refused(engine, row, problem, template, message) -> None:
    assert template != CHAT_TEMPLATE
    with pytest.raises(HealError, match=message):
        encode(build_student(engine, template), [make_conversation(row, problem)], "test")


def build_student(engine: TransformersEngine, template: str) -> Any:
    tokenizer = type(engine.tokenizer).from_pretrained(engine.tokenizer.name_or_path)
    tokenizer.chat_template = template
    return tokenizer
