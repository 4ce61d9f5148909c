"""From conversations to tokens and labels: the mask, the end of a turn, and templates that spoil them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from heal.end_token import find_end_token
from heal.errors import HealError
from heal.training.conversations import NOT_SUPERVISED, encode, read_curriculum
from heal.training.training_set import select_examples
from tests.support.tiny_training import make_conversation, write_curriculum


def test_labels_cover_the_answer_and_end_with_eos(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    row = make_conversation(1)
    (example,) = encode(tokenizer, [row], "test")
    supervised = [token for token in example.labels if token != NOT_SUPERVISED]
    assert tokenizer.decode(supervised) == row["messages"][1]["content"] + tokenizer.eos_token
    assert example.ids[-len(supervised) :] == supervised
    assert supervised[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id


def test_other_roles_are_named(tmp_path: Path) -> None:
    row = make_conversation(1)
    row["messages"] = [{"role": "human", "content": "x"}, {"role": "gpt", "content": "y"}]
    with pytest.raises(HealError, match="row 1: messages: .*found the roles human, gpt"):
        read_curriculum(write_curriculum(tmp_path / "c.jsonl", [row]))


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


def make_conversations(altered: int, count: int = 100) -> list[dict]:
    """Conversations of which the first `altered` hold what STRAY strips."""
    rows = [make_conversation(number) for number in range(count)]
    for row in rows[:altered]:
        row["messages"][1]["content"] = "ZZ" + row["messages"][1]["content"]
    return rows


def load_stripping_tokenizer(model: Path):
    """A template that takes "ZZ" out of the assistant's message, as thinking templates take out a stray tag."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    old = "{{ message['content'] }}{{ '<|end|>' }}"
    assert old in tokenizer.chat_template
    new = "{{ message['content'].split('ZZ')[-1] }}{{ '<|end|>' }}"
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    return tokenizer


def test_a_trace_that_the_template_alters_is_skipped_and_counted(model: Path, capsys) -> None:
    tokenizer, rows = load_stripping_tokenizer(model), make_conversations(altered=2)
    names = {"curriculum": "test", "model": "test", "template_options": {}}
    training_set = select_examples(tokenizer, rows, 1000, **names)
    assert training_set.template_altered == ["e0", "e1"] and len(training_set.examples) == 98
    assert "2 of 100 examples skipped: the student's chat template changes e0, e1" in capsys.readouterr().err
    described = training_set.describe(tokenizer, np.ones(98, dtype=int))
    assert described["left_out_template_altered"] == ["e0", "e1"] and described["left_out_unreadable"] == []
    assert training_set.examples == encode(tokenizer, rows[2:], "test")


def test_a_template_that_alters_many_traces_is_refused(model: Path) -> None:
    tokenizer = load_stripping_tokenizer(model)
    with pytest.raises(HealError, match=r"changes the assistant's message .* \(7 of 100 examples\)") as caught:
        encode(tokenizer, make_conversations(altered=7), "test")
    assert "example e0" in str(caught.value)
