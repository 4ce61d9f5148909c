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


def measure(weighed: tuple[Tensor, Tensor, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """ln p of `tokens` [N] and entropy over the whole vocabulary [N] (nats), from `weigh(raw logits)`."""
    shifted, weights, total = weighed
    log_total = total.log()
    entropy = log_total - torch.linalg.vecdot(weights, shifted) / total
    return shifted.gather(-1, tokens[:, None])[:, 0] - log_total, entropy.clamp_(min=0)


def rank(shifted: Tensor, tokens: Tensor) -> Tensor:
    """1 + how many tokens are likelier than `tokens` [N], int32 [N]; shifted: the first of `weigh(raw logits)`."""
    return 1 + (shifted > shifted.gather(-1, tokens[:, None])).sum(-1, dtype=torch.int32)


def choose(logits: Tensor, uniforms: Tensor | None, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Next tokens [N] (int64), and ln p [N] and entropy [N] (nats) as in `measure`.

    logits: [N, V]. uniforms: float64 [N] in [0, 1), one per row; None is greedy. A token is drawn by
    inverting the cumulative distribution at its uniform number, so that a row does not depend on the others.
    """
    parts = []
    for part in chunks(*logits.shape):
        weighed = weigh(logits[part])
        shaped = None if uniforms is None else _shape(*weighed[:2], sampling)
        tokens = weighed[0].argmax(-1) if shaped is None or uniforms is None else _invert(shaped, uniforms[part])
        parts.append((tokens, *measure(weighed, tokens)))
    tokens, logprobs, entropies = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return tokens, logprobs, entropies


def _shape(shifted: Tensor, weights: Tensor, sampling: Sampling) -> Tensor:
    """Unnormalised probabilities [N, V] to sample from: temperature, then top-p, as transformers does."""
    if sampling.temperature == 1 and sampling.top_p == 1:
        return weights
    scores = shifted
    if sampling.temperature != 1:
        scores = TemperatureLogitsWarper(float(sampling.temperature))(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(float(sampling.top_p))(None, scores)
    return scores.exp()


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first entry whose cumulative sum exceeds `uniforms` times the total. float64: V can be 200,000."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    aim = (uniforms * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, aim, right=True)[:, 0].clamp_(max=weights.shape[-1] - 1)


def chunks(rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, LOGITS // vocabulary)
    return (slice(start, start + size) for start in range(0, rows, size))


class ReservedLayer(DynamicLayer):
    """A cache layer with room for all steps to come, set aside by the first `reorder_cache`.

    Joining tensors at every step, as DynamicLayer does, copies the whole cache at every step. Setting the
    room aside at once also makes a lack of memory show at the start of a batch and not hours later.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.room: list[Tensor] = []  # keys, values: [N, heads, positions, size]; self.keys is a view

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.room:
            return super().update(key_states, value_states, *args, **kwargs)
        old, new = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[..., old:new, :] = states
        self.keys, self.values = (room[..., :new, :] for room in self.room)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Line i becomes what line beam_idx[i] was. The second time, the indices must ascend without repeats:
        then nothing is overwritten before it has been moved, and no second cache is needed meanwhile."""
        count, filled, old = len(beam_idx), self.keys.shape[-2], (self.keys, self.values)
        if self.room:
            self.room = [room[:count] for room in self.room]
        else:
            self.room = [t.new_empty(count, t.shape[1], self.positions, t.shape[3]) for t in old]
        size = max(16, count // 8)
        for room, source in zip(self.room, old, strict=True):
            for start in range(0, count, size):
                room[start : start + size, :, :filled] = source[beam_idx[start : start + size]]
        self.keys, self.values = (room[..., :filled, :] for room in self.room)


def reserved_cache(config: Any, positions: int) -> DynamicCache:
    """The cache that fits the model, its plain layers replaced (sliding windows and the like stay)."""
    cache = DynamicCache(config=config)
    cache.layers = [ReservedLayer(positions) if type(x) is DynamicLayer else x for x in cache.layers]
    return cache
