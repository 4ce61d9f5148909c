"""Laws of the Qwen-like tokenizer: size, special tokens, round trip, the template's thinking block."""

from __future__ import annotations

from typing import Any

import pytest

from heal.end_token import find_end_token
from heal.rehearsal import tokenizer as qwen

pytestmark = pytest.mark.workflow  # building the vocabulary takes ten seconds


@pytest.fixture(scope="module")
def instruct() -> Any:
    return qwen.build_tokenizer(base=False)


def test_vocabulary_and_special_tokens_have_the_originals_places(instruct) -> None:
    names = [qwen.END_OF_TEXT, qwen.TURN_STARTS, qwen.TURN_ENDS, *qwen.THINK_TOKENS]
    assert instruct.convert_tokens_to_ids(names) == [151643, 151644, 151645, 151667, 151668]
    assert len(instruct) == 151669


@pytest.mark.parametrize(
    "text", ["a  b\n\n   $$x$$ 1234", "naïve 日本語 \U0001f600", "<think>\nx\n</think>\n\n\\boxed{-7}."]
)
def test_text_survives_tokenizing(instruct, text: str) -> None:
    assert instruct.decode(instruct.encode(text, add_special_tokens=False)) == text


def test_digits_are_single_tokens_and_a_step_ends_with_a_blank_line_in_one_token(instruct) -> None:
    assert len(instruct.encode("1234", add_special_tokens=False)) == 4
    assert len(instruct.encode(".\n\n", add_special_tokens=False)) == 1


def test_a_base_model_names_another_end_token_than_its_template_writes(instruct) -> None:
    base = qwen.build_tokenizer(base=True)
    assert (base.eos_token, instruct.eos_token) == (qwen.END_OF_TEXT, qwen.TURN_ENDS)
    assert find_end_token(base, "base") == find_end_token(instruct, "instruct") == qwen.TURN_ENDS


def test_enable_thinking_decides_whether_the_prompt_holds_an_empty_block(instruct) -> None:
    def render(**options: bool) -> str:
        turn = [{"role": "user", "content": "1"}]
        return instruct.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **options)

    assert render(enable_thinking=False) == render() + "<think>\n\n</think>\n\n"
    assert render(enable_thinking=True) == render()


@pytest.mark.parametrize(("thinks", "answer"), [(False, "a\n\nb"), (True, "<think>\na\n</think>\n\nb")])
def test_a_training_conversation_begins_with_the_prompt(instruct, thinks: bool, answer: str) -> None:
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": answer}]
    prompt = instruct.apply_chat_template(turns[:1], add_generation_prompt=True, tokenize=False, enable_thinking=thinks)
    text = instruct.apply_chat_template(turns, tokenize=False, enable_thinking=thinks)
    assert text == f"{prompt}{answer}{qwen.TURN_ENDS}\n"
