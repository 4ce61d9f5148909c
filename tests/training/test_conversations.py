"""From conversations to tokens and labels: the mask, the end of a turn, and templates that spoil them."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from heal.errors import HealError
from heal.training.conversations import NOT_SUPERVISED, encode, find_end_token
from tests.support.tiny_training import make_conversation


def test_labels_cover_the_answer_and_end_with_eos(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    row = make_conversation(1)
    (example,) = encode(tokenizer, [row], "test")
    supervised = [token for token in example.labels if token != NOT_SUPERVISED]
    assert tokenizer.decode(supervised) == row["messages"][1]["content"] + tokenizer.eos_token
    assert example.ids[-len(supervised) :] == supervised
    assert supervised[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id


def test_a_prefix_is_read_and_not_learned(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    row = make_conversation(1)
    words = row["messages"][1]["content"].split(" ")
    prefix = " ".join(words[:3])
    (plain,), (example,) = (encode(tokenizer, [one], "test") for one in (row, row | {"prefix": prefix}))
    assert example.ids == plain.ids
    supervised = [token for token in example.labels if token != NOT_SUPERVISED]
    assert tokenizer.decode(supervised) == row["messages"][1]["content"].removeprefix(prefix) + tokenizer.eos_token
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ message", "{{ ' then' + message")
    with pytest.raises(HealError, match="does not begin with the row's prefix"):
        encode(tokenizer, [row | {"prefix": prefix}], "test")


def test_what_a_template_writes_after_eos_is_not_trained_on(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    plain = encode(tokenizer, [make_conversation(1)], "test")
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ '<|end|>' }}", "{{ '<|end|>\n\n' }}")
    assert find_end_token(tokenizer, "test") == "<|end|>"
    assert encode(tokenizer, [make_conversation(1)], "test") == plain


def test_the_token_that_the_template_ends_with_becomes_eos(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.eos_token = "<|pad|>"  # as in base models: EOS is the padding, the template ends with another token
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    assert find_end_token(tokenizer, "test") == "<|end|>"
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "")
    with pytest.raises(HealError, match="special token"):
        find_end_token(tokenizer, "test")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{{ message['content'] }}{{ '<|end|>' }}",
            "{{ message['content'][3:] }}{{ '<|end|>' }}",
            "changes the assistant",
        ),
        ("{{ '<|assistant|>' }}{% gen", "{{ '<|user|>' }}{% gen", "no prefix"),
        ("{{ '<|end|>' }}", "", "not EOS"),
    ],
)
def test_a_template_that_spoils_the_mask_is_told(model: Path, old: str, new: str, message: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new, 1)
    with pytest.raises(HealError, match=message):
        encode(tokenizer, [make_conversation(0)], "test")


def test_words_that_the_tokenizer_does_not_know_are_told(model: Path) -> None:
    row = make_conversation(0)
    row["messages"][0]["content"] = "Schadenfreude"
    with pytest.raises(HealError, match="decoding changes the text"):
        encode(AutoTokenizer.from_pretrained(model), [row], "test")


def test_padding_must_differ_from_eos(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(HealError, match="padding token"):
        find_end_token(tokenizer, "test")
