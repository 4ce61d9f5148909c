"""Laws of packing: a packed row gives each conversation what it gets alone; groups keep to their tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, set_seed

from heal.training.conversations import NOT_SUPERVISED, Example
from heal.training.packing import ATTENTION, group_by_tokens, pack, pad_batch, register_attention, split_groups

LENGTHS = (7, 3, 11, 5)


def make_batch() -> tuple[list[Example], dict[str, torch.Tensor]]:
    set_seed(0)
    examples = []
    for length in LENGTHS:
        ids = torch.randint(4, 200, (length,)).tolist()
        examples.append(Example(ids, [NOT_SUPERVISED, NOT_SUPERVISED, *ids[2:]]))
    return examples, pad_batch(examples, [1.0, 2.0, 3.0, 4.0], 0)


@pytest.mark.parametrize("family", ["llama", "sliding window"])
def test_each_conversation_of_a_packed_row_gets_what_it_gets_alone(model: Path, family: str) -> None:
    register_attention()
    examples, batch = make_batch()
    if family == "llama":
        network = AutoModelForCausalLM.from_pretrained(model, attn_implementation=ATTENTION)
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = MistralConfig(vocab_size=212, num_key_value_heads=2, sliding_window=4, **sizes)
        network = MistralForCausalLM(config)
        network.set_attn_implementation(ATTENTION)
    packed = pack(batch, range(len(LENGTHS)))
    labels, weights = packed.pop("labels"), packed.pop("weight")
    assert packed["input_ids"].shape == labels.shape == weights.shape == (1, sum(LENGTHS))
    logits = network(**packed, use_cache=False).logits[0].split(list(LENGTHS))
    for example, ours in zip(examples, logits, strict=True):
        alone = network(input_ids=torch.tensor([example.ids]), use_cache=False).logits[0]
        torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-5)


def test_no_conversation_predicts_the_next_one() -> None:
    _, batch = make_batch()
    labels = torch.where(batch["attention_mask"].bool(), batch["input_ids"], NOT_SUPERVISED)
    packed = pack(batch | {"labels": labels}, range(1, 3))
    assert packed["conversation_lengths"] == [3, 11]
    assert (packed["labels"][0] == NOT_SUPERVISED).nonzero()[:, 0].tolist() == [0, 3]
    assert packed["position_ids"][0].tolist() == [*range(3), *range(11)]
    assert packed["weight"][0].tolist() == [2.0] * 3 + [3.0] * 11


def test_padding_on_the_left_is_left_out_as_well() -> None:
    examples, batch = make_batch()
    flipped = {name: values.flip(1) if values.dim() == 2 else values for name, values in batch.items()}
    tokens = [token for example in examples for token in example.ids[::-1]]
    assert pack(flipped, range(4))["input_ids"][0].tolist() == tokens


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [(None, [4]), (100, [4]), (10, [2, 1, 1]), (1, [1, 1, 1, 1]), (16, [2, 2]), (11, [2, 1, 1])],
)
def test_groups_keep_the_order_and_to_their_tokens(max_tokens: int | None, expected: list[int]) -> None:
    groups = group_by_tokens(LENGTHS, max_tokens)
    assert [len(group) for group in groups] == expected
    assert [number for group in groups for number in group] == list(range(len(LENGTHS)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_groups_split_into_so_many(count: int) -> None:
    groups = split_groups([range(0, 5), range(5, 8)], count)
    assert len(groups) == max(count, 2) and all(groups)
    assert [number for group in groups for number in group] == list(range(8))
