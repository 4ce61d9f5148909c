"""Pack the conversations of a batch without padding: one row of tokens, in which each attends to its own only.

A batch comes padded, as TRL's trainers expect it, [batch, tokens]; what the model sees is [1, tokens of all
conversations together], in micro-batches of at most so many tokens. Attention runs once per conversation, with
PyTorch's causal kernel; everything else runs over the whole row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heal.training.conversations import NOT_SUPERVISED, Example

if TYPE_CHECKING:
    import torch

ATTENTION = "sdpa_per_conversation"
"""Name of the attention in transformers' registry."""


def register_attention() -> None:
    """Makes ATTENTION known to transformers; in generation it is plain `sdpa`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attend_per_conversation)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attend_per_conversation(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    conversation_lengths: list[int] | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention output [1, tokens, heads, head width]. query, key, value: [1, heads, tokens, head width].

    conversation_lengths: tokens of each conversation of the row; None in generation. attention_mask: None for full
    causal attention; a sliding window's is [1, 1, tokens, tokens].
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if conversation_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    outputs = []
    start = 0
    parts = [states.split(conversation_lengths, dim=2) for states in (query, key, value)]
    for length, *states in zip(conversation_lengths, *parts, strict=True):
        end = start + length
        mask = None if attention_mask is None else attention_mask[..., start:end, start:end]
        output, _ = sdpa_attention_forward(module, *states, mask, **options)
        outputs.append(output)
        start = end
    return torch.cat(outputs, dim=1), None


def pad_batch(examples: Sequence[Example], weights: Sequence[float], pad_token_id: int) -> dict[str, torch.Tensor]:
    """The batch as rows that are padded on the right, [batch, tokens], and the weight of each."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids, labels, masks = [], [], []
    for example in examples:
        ids.append(torch.tensor(example.ids))
        labels.append(torch.tensor(example.labels))
        masks.append(torch.ones(len(example.ids), dtype=torch.long))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_token_id),
        "labels": pad_sequence(labels, batch_first=True, padding_value=NOT_SUPERVISED),
        "attention_mask": pad_sequence(masks, batch_first=True),
        "weight": torch.tensor(weights, dtype=torch.float32),
    }


def group_by_tokens(lengths: Sequence[int], max_tokens: int | None) -> list[range]:
    """Consecutive conversations of at most `max_tokens` together; a longer one is alone. None: all together."""
    groups = []
    start = tokens = 0
    for number, length in enumerate(lengths):
        if max_tokens is not None and number > start and tokens + length > max_tokens:
            groups.append(range(start, number))
            start, tokens = number, 0
        tokens += length
    return [*groups, range(start, len(lengths))]


def split_groups(groups: Sequence[range], count: int) -> list[range]:
    """`count` groups of the same conversations: the largest ones halved."""
    split = list(groups)
    while len(split) < count:
        largest = max(split, key=len)
        place, middle = split.index(largest), len(largest) // 2
        split[place : place + 1] = [largest[:middle], largest[middle:]]
    return split


def pack(batch: Mapping[str, torch.Tensor], rows: range) -> dict[str, Any]:
    """The rows of a padded batch as the one row of a micro-batch, with the arguments of a model's forward pass.

    `labels` and `weight` are [1, tokens] as `input_ids` is. The mask of ones says that the positions, which begin anew
    with each conversation, need no mask [tokens, tokens].
    """
    import torch

    chosen = slice(rows.start, rows.stop)
    is_token = batch["attention_mask"][chosen].bool()
    lengths = is_token.sum(1)
    ids = batch["input_ids"][chosen][is_token][None]
    conversation_lengths = lengths.tolist()
    positions = torch.cat([torch.arange(length, device=ids.device) for length in conversation_lengths])[None]
    labels = batch["labels"][chosen][is_token][None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": positions,
        "labels": labels.masked_fill(positions == 0, NOT_SUPERVISED),  # no conversation predicts the next one
        "weight": batch["weight"][chosen].repeat_interleave(lengths)[None],
        "conversation_lengths": conversation_lengths,
    }
