"""lm-eval on both engines: equal prompts, the end of a turn, answers within the model's length, cut-off ones wrong."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from evals import run as evals_run
from evals import task_functions
from evals.task_functions import CUT_OFF, NO_ROOM
from heal import records
from heal.config.data import Dataset
from heal.config.experiment import Engine
from heal.config.models import Model, ModelSource
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from tests.support import vllm_engines
from tests.support.base_model import IM_END, TEMPLATE, save_base_model

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
BACKENDS = ["transformers", pytest.param("vllm", marks=[pytest.mark.workflow, needs_vllm])]
POSITIONS = 96
TURN = [{"role": "user", "content": "w1 w2"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base_model(tmp_path_factory.mktemp("base"), positions=POSITIONS)


@pytest.fixture(scope="module", params=BACKENDS)
def lm(request: pytest.FixtureRequest, folder: str) -> Iterator[Any]:
    options = Engine(backend=request.param, max_num_seqs=16, device="cpu")
    with vllm_engines.run_in_process():
        lm = evals_run.open_model(ModelSource(path=folder), options, 0)
        yield lm
        if request.param == "vllm":
            vllm_engines.close(lm.model)


def ask(lm: Any, prompts: list[str], limit: int, seed: int = 0) -> list[str]:
    """Sampled answers, as lm-eval asks for them."""
    import torch

    torch.manual_seed(seed)
    return lm.generate_until([make_request(prompt, number, limit) for number, prompt in enumerate(prompts)])


def make_request(prompt: str, number: int, limit: int) -> Instance:
    """A sampled answer to question `number` of a task."""
    options = {"until": [], "do_sample": True, "temperature": 1.0, "max_gen_toks": limit}
    return Instance("generate_until", {}, (prompt, options), number, ("task", number, 1))


@pytest.mark.parametrize("template_options", [{}, {"enable_thinking": False}, {"enable_thinking": True}])
def test_a_prompt_is_what_sampling_and_training_render(lm: Any, folder: str, template_options: dict[str, Any]) -> None:
    lm.template_options = template_options
    engine = TransformersEngine(folder, device="cpu", template_options=template_options)
    rendered = lm.apply_chat_template(TURN)
    assert tuple(lm.tok_encode(rendered)) == engine.tokenize_chat("w1 w2")
    assert ("<think> </think>" in rendered) == (template_options.get("enable_thinking") is False)
    lm.template_options = {}


def test_an_untrained_base_model_stops_at_the_end_of_a_turn(lm: Any) -> None:
    prompt = lm.apply_chat_template(TURN)
    answers = ask(lm, [prompt] * 32, 64)
    ended = [answer for answer in answers if not answer.endswith(CUT_OFF)]
    assert len(ended) > 24 and not any(IM_END in answer for answer in answers)
    assert max(len(answer.split()) for answer in ended) < 64


def test_an_answer_does_not_depend_on_its_company(lm: Any) -> None:
    prompt = lm.apply_chat_template(TURN)
    question = make_request(prompt, 3, 20)
    together = lm.generate_until([make_request(prompt, 1, 20), question, question, make_request(prompt, 2, 9)])
    assert lm.generate_until([question, question]) == together[1:3]
    assert together[1] != together[2]


def test_an_option_that_the_transformers_engine_lacks_is_refused_and_no_top_k_is_none(folder: str) -> None:
    lm = evals_run.open_model(ModelSource(path=folder), Engine(device="cpu"), 0)
    request = make_request(lm.apply_chat_template(TURN), 0, 8)
    request.args[1]["top_k"] = 0
    assert len(lm.generate_until([request])) == 1
    request.args[1]["top_k"] = 20
    with pytest.raises(HealError, match="no top_k"):
        lm.generate_until([request])
    with pytest.raises(HealError, match="log-probs"):
        lm.loglikelihood([request])


def test_an_answer_ends_before_its_tasks_stop_text(folder: str) -> None:
    lm = evals_run.open_model(ModelSource(path=folder), Engine(device="cpu"), 0)
    requests = [make_request(lm.apply_chat_template(TURN), number, 40) for number in range(16)]
    whole = lm.generate_until(requests)
    word = max(whole, key=len).split()[2]
    for request in requests:
        request.args[1]["until"] = [word]
    assert lm.generate_until(requests) == [text.split(word)[0] for text in whole] != whole


def test_an_answer_is_capped_at_the_models_length_and_no_prompt_is_cut(lm: Any) -> None:
    long = lm.apply_chat_template([{"role": "user", "content": " ".join(["w1"] * (POSITIONS - 12))}])
    room = POSITIONS - len(lm.tok_encode(long))
    assert 1 <= room < 10
    full = lm.apply_chat_template([{"role": "user", "content": " ".join(["w1"] * POSITIONS)}])
    answers = ask(lm, [full, *[long] * 16, lm.apply_chat_template(TURN)], 10 * POSITIONS)
    assert answers[0] == NO_ROOM and len(answers) == 18
    counts = [len(answer.removesuffix(CUT_OFF).split()) for answer in answers[1:17]]
    assert max(counts) == room and any(answer.endswith(CUT_OFF) for answer in answers[1:17])


def test_a_template_without_an_end_of_turn_is_an_error(tmp_path: Path) -> None:
    folder = save_base_model(tmp_path, template=TEMPLATE.replace("<|im_end|>", ""))
    with pytest.raises(HealError, match="no special token"):
        evals_run.open_model(ModelSource(path=folder), Engine(device="cpu"), 0)


@pytest.mark.parametrize("text", ["<think> so 5 \\boxed{5}", "<think> so 5 </think> It is \\boxed{5}", "\\boxed{5}"])
def test_a_cut_off_answer_is_wrong_in_every_reading(text: str, tmp_path: Path) -> None:
    doc = {"problem_id": "p", "answer": "5"}
    assert task_functions.score(doc, [text + CUT_OFF]) == {"strict": 0.0, "flexible": 0.0}
    (row,) = evals_run.collect_answers([{"doc_id": 0, "doc": doc, "resps": [[text + CUT_OFF]]}], 1, count_words, "b")
    assert (row["text"], row["truncated"], row["reason"]) == (text, True, "truncated")
    assert not row["strict"] and not row["flexible"] and row["extracted"] is None
    records.write(tmp_path / "answers.parquet", "answers", [row])
    evals_run.regrade(tmp_path)
    assert [dict(stored) for stored in records.read(tmp_path / "answers.parquet", "answers")] == [row]


def test_a_prompt_without_room_is_a_wrong_answer_with_its_reason(tmp_path: Path) -> None:
    doc = {"problem_id": "p", "answer": "5"}
    sample = {"doc_id": 0, "doc": doc, "resps": [[NO_ROOM], ["\\boxed{5}"]]}
    skipped, answered = evals_run.collect_answers([sample], 2, count_words, "b")
    assert (skipped["text"], skipped["truncated"], skipped["reason"], skipped["strict"]) == ("", True, "no_room", False)
    assert answered["strict"]
    assert evals_run.count_skipped([[skipped, answered]]) == {"no_room": 1}
    records.write(tmp_path / "answers.parquet", "answers", [skipped, answered])
    evals_run.regrade(tmp_path)
    assert [dict(row) for row in records.read(tmp_path / "answers.parquet", "answers")] == [skipped, answered]


def test_a_whole_answer_in_a_box_is_right_and_an_open_thinking_block_is_not() -> None:
    assert task_functions.grade("<think> 4 or 5 </think> \\boxed{5}", "5").correct
    cut_off = task_functions.grade("<think> so 5 \\boxed{5}", "5")
    assert not cut_off.correct and not cut_off.flexible and cut_off.reason == "truncated"


def test_the_share_of_truncated_answers_is_reported_and_scores_agree_with_lm_eval(tmp_path: Path) -> None:
    folder = save_base_model(tmp_path / "model", positions=POSITIONS, ends=False)
    records.write(tmp_path / "easy.parquet", "problems", load(Dataset(source="mini", split="easy", n=6), 0))
    evaluations = evals_run.evaluate(Model(path=folder), str(tmp_path), ["mini_easy"], Engine(device="cpu"), 0)
    rows, results = evaluations["mini_easy"]
    assert results["truncated"] == sum(row["truncated"] for row in rows) / len(rows) > 0
    assert results["strict"] == results["lm_eval"]["strict"]


def test_a_served_models_cut_off_answers_are_marked() -> None:
    from evals.endpoint_model import ServedModel

    choices = [{"index": 1, "text": "b", "finish_reason": "length"}, {"index": 0, "text": "a", "finish_reason": "stop"}]
    assert ServedModel.parse_generations({"choices": choices}) == ["a", "b" + CUT_OFF]


def count_words(texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
    """A stand-in for a tokenizer."""
    return {"input_ids": [list(range(len(text.split()))) for text in texts]}
