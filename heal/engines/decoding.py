"""The arithmetic of decoding: logits → token, log-prob, entropy; and a cache that grows in place.

Pure tensor functions of the transformers engine; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import DynamicLayer

from heal.engines.base import Sampling

LOGITS = 2**27  # logits held at once in 4 bytes: half a gigabyte


def weigh(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits shifted to a maximum of 0 [N, V], their exponentials [N, V], the sums of these [N]; float32."""
    shifted = logits.float()
    # Entries of -inf (padded vocabularies) are made finite, so that 0 * -inf does not spoil the entropy.
    shifted = (shifted - shifted.amax(-1, keepdim=True)).clamp_(min=-1e30)
    weights = shifted.exp()
    return shifted, weights, weights.sum(-1)


def measure_tokens(weighed: tuple[Tensor, Tensor, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """ln p of `tokens` [N] and entropy over the whole vocabulary [N] (nats), from `weigh(raw logits)`."""
    shifted, weights, total = weighed
    log_total = total.log()
    entropy = log_total - torch.linalg.vecdot(weights, shifted) / total
    return shifted.gather(-1, tokens[:, None])[:, 0] - log_total, entropy.clamp_(min=0)


def rank_tokens(shifted: Tensor, tokens: Tensor) -> Tensor:
    """1 + the number of tokens likelier than `tokens` [N], int32 [N]; shifted: the first of `weigh(raw logits)`."""
    return 1 + (shifted > shifted.gather(-1, tokens[:, None])).sum(-1, dtype=torch.int32)


def choose_tokens(logits: Tensor, uniforms: Tensor | None, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Next tokens [N] (int64), and ln p [N] and entropy [N] (nats) as in `measure_tokens`.

    logits: [N, V]. uniforms: float64 [N] in [0, 1), one per row; None is greedy. A token is sampled by inverting the
    cumulative distribution at its uniform number, so that a row does not depend on the others.
    """
    parts = []
    for part in split_rows(*logits.shape):
        weighed = weigh(logits[part])
        if uniforms is None:
            tokens = weighed[0].argmax(-1)
        else:
            tokens = invert_cumulative(shape_probabilities(*weighed[:2], sampling), uniforms[part])
        parts.append((tokens, *measure_tokens(weighed, tokens)))
    tokens, logprobs, entropies = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return tokens, logprobs, entropies


def shape_probabilities(shifted: Tensor, weights: Tensor, sampling: Sampling) -> Tensor:
    """Unnormalized probabilities [N, V] to sample from: temperature, then top-p, as transformers does."""
    if sampling.temperature == 1 and sampling.top_p == 1:
        return weights
    scores = shifted
    if sampling.temperature != 1:
        scores = TemperatureLogitsWarper(float(sampling.temperature))(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(float(sampling.top_p))(None, scores)
    return scores.exp()


def invert_cumulative(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first entry whose cumulative sum exceeds `uniforms` times the total. float64: V can be 200,000."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    aim = (uniforms * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, aim, right=True)[:, 0].clamp_(max=weights.shape[-1] - 1)


def split_rows(rows: int, vocabulary: int) -> Iterator[slice]:
    """Consecutive slices of the rows, each with at most LOGITS logits (at least one row)."""
    size = max(1, LOGITS // vocabulary)
    for start in range(0, rows, size):
        yield slice(start, start + size)


class ReservedLayer(DynamicLayer):
    """A cache layer that reserves memory for all its positions at the first `reorder_cache`.

    DynamicLayer joins tensors, and so copies the whole cache, at every token. Reserving all memory at once also makes
    a lack of memory show at the start of a batch and not hours later.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.reserved: list[Tensor] = []  # keys, values: [N, heads, positions, size]; self.keys is a view

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.reserved:
            return super().update(key_states, value_states, *args, **kwargs)
        old, new = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        for buffer, states in zip(self.reserved, (key_states, value_states), strict=True):
            buffer[..., old:new, :] = states
        self.show(new)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Line i becomes what line beam_idx[i] was.

        The second time, the indices must ascend without repeats: then nothing is overwritten before it has been moved,
        and no second cache is needed meanwhile.
        """
        count, filled, old = len(beam_idx), self.keys.shape[-2], (self.keys, self.values)
        buffers = []
        for number, states in enumerate(old):
            if self.reserved:
                buffers.append(self.reserved[number][:count])
            else:
                buffers.append(states.new_empty(count, states.shape[1], self.positions, states.shape[3]))
        self.reserved = buffers
        size = max(16, count // 8)
        for buffer, source in zip(buffers, old, strict=True):
            for start in range(0, count, size):
                buffer[start : start + size, :, :filled] = source[beam_idx[start : start + size]]
        self.show(filled)

    def show(self, filled: int) -> None:
        """Makes keys and values views of the first `filled` positions."""
        self.keys, self.values = self.reserved[0][..., :filled, :], self.reserved[1][..., :filled, :]


def make_reserved_cache(config: Any, positions: int) -> DynamicCache:
    """The cache that fits the model, its plain layers replaced (sliding windows and the like stay)."""
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = ReservedLayer(positions)
    return cache
