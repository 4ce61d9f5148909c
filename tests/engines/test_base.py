"""Laws that every engine keeps: it stops at the end of a turn, and says how much room a prompt leaves."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heal.end_token import find_end_token_id
from heal.engines.base import Engine, Request, Sampling, collect_end_ids
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from tests.support import vllm_engines
from tests.support.base_model import IM_END, TEMPLATE, save_base_model
from tests.support.user_models import build_user_tokenizer

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
ENGINES = ["transformers", pytest.param("vllm", marks=[pytest.mark.workflow, needs_vllm])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, folder: str) -> Iterator[Engine]:
    if request.param == "transformers":
        yield TransformersEngine(folder, device="cpu", threads=1)
        return
    from heal.engines.vllm import VllmEngine

    with vllm_engines.run_in_process():
        engine = VllmEngine(folder, dtype="float32", gpus=0, max_num_seqs=64)
        yield engine
        vllm_engines.close(engine.llm)


def test_an_untrained_base_model_stops_at_the_end_of_a_turn(engine: Any) -> None:
    end = engine.tokenizer.convert_tokens_to_ids(IM_END)
    assert engine.end_token_id == end != engine.tokenizer.eos_token_id
    prompt = engine.tokenize_chat("w1 w2")
    (samples,) = engine.generate([Request(prompt, tuple(range(64)))], Sampling(max_new_tokens=200))
    ended = [completion for completion in samples if completion.token_ids[-1] == end]
    assert len(ended) > 60 and all(completion.finish_reason == "stop" for completion in ended)
    for completion in samples:
        assert end not in completion.token_ids[:-1]
    assert end in engine.settings["eos_ids"]


def test_what_fills_the_room_is_sampled_and_scored(engine: Any) -> None:
    prompt = engine.tokenize_chat("w1 w2")
    room = engine.count_room(prompt)
    assert 0 < room == engine.max_positions - len(prompt)
    requests = [Request(prompt, tuple(range(16)))]
    (samples,) = engine.generate(requests, Sampling(max_new_tokens=room))
    whole = [*prompt, *[8] * room]
    assert engine.count_room(whole) == 0 == engine.count_room([*whole, 8])
    (score,) = engine.score([(prompt, whole[len(prompt) :])])
    assert len(score.logprobs) == room
    with pytest.raises(HealError, match="request 0"):
        engine.generate(requests, Sampling(max_new_tokens=engine.settings.get("max_length", 256) + 1 - len(prompt)))
    assert len(samples) == 16


def test_end_tokens_of_all_sources_are_collected_once() -> None:
    assert collect_end_ids(7, [3, 7], None) == [3, 7]
    assert collect_end_ids(7, 5, 5) == [5, 7]


def test_a_template_without_an_end_of_turn_is_an_error_with_a_fix(tmp_path: Path) -> None:
    folder = save_base_model(tmp_path, template=TEMPLATE.replace("<|im_end|>", ""))
    with pytest.raises(HealError, match="closes the assistant's turn with no special token") as caught:
        TransformersEngine(folder, device="cpu", threads=1)
    assert "EOS" in caught.value.fix and caught.value.where == folder


@pytest.mark.parametrize(
    ("name", "message"), [("syntax", "fails"), ("raises", "system role is required"), ("date", "date")]
)
def test_a_template_that_fails_or_writes_the_date_is_an_error_with_a_fix(name: str, message: str) -> None:
    with pytest.raises(HealError, match=f"the chat template .*{message}") as caught:
        find_end_token_id(build_user_tokenizer(name), "test")
    assert caught.value.where == "test" and caught.value.fix


def test_a_date_that_an_option_fixes_is_accepted() -> None:
    tokenizer = build_user_tokenizer("qwen2_5")
    clock = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}"
    tokenizer.chat_template = clock + tokenizer.chat_template
    with pytest.raises(HealError, match="current date"):
        find_end_token_id(tokenizer, "test")
    assert find_end_token_id(tokenizer, "test", {"date_string": "26 Jul 2024"}) == tokenizer.eos_token_id


def test_template_options_can_change_the_end_of_a_turn(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    template = TEMPLATE.replace("<|im_end|>", "{{ '<|endoftext|>' if plain else '<|im_end|>' }}")
    tokenizer = AutoTokenizer.from_pretrained(save_base_model(tmp_path, template=template))
    ends = [find_end_token_id(tokenizer, "test", {"plain": plain}) for plain in (True, False)]
    assert ends == tokenizer.convert_tokens_to_ids(["<|endoftext|>", IM_END])
