"""Top-p of vLLM's CPU build, which sorts the whole vocabulary for every token: here from the likeliest tokens alone.

Importing this module imports vllm.
"""

from __future__ import annotations

import torch
from vllm.v1.sample.ops import topk_topp_sampler

CANDIDATES = 256
"""Tokens that are looked at first (ours)."""
sort_and_mask = topk_topp_sampler.apply_top_k_top_p_pytorch


def mask_by_candidates(
    logits: torch.Tensor, k: torch.Tensor | None, p: torch.Tensor | None, allow_cpu_sync: bool = False
) -> torch.Tensor:
    """The logits [requests, vocabulary] with -inf outside of top-k and top-p, as vLLM masks them by sorting.

    k, p: [requests], or None. The smallest set of tokens whose probabilities sum to p is found among the CANDIDATES
    likeliest ones; rows whose set may reach beyond them are sorted, and all rows where k is given. Tokens that are
    exactly as likely as the last one of the set all stay; vLLM drops some of them.
    """
    if p is None or k is not None or logits.shape[1] <= CANDIDATES:
        return sort_and_mask(logits, k, p, allow_cpu_sync=allow_cpu_sync)
    candidates = logits.topk(CANDIDATES).values
    probabilities = (candidates - logits.logsumexp(-1, keepdim=True)).exp()
    is_kept = probabilities.cumsum(-1) - probabilities < p.unsqueeze(1)  # the likelier ones do not reach p
    is_kept[:, 0] = True
    least = candidates.gather(1, is_kept.sum(1, keepdim=True) - 1)
    reaches_beyond = is_kept[:, -1]
    least[reaches_beyond] = -float("inf")
    logits.masked_fill_(logits < least, -float("inf"))
    to_sort = (reaches_beyond & (p < 1)).nonzero()[:, 0]  # p is 1 in greedy rows
    if len(to_sort):
        logits[to_sort] = sort_and_mask(logits[to_sort], None, p[to_sort])
    return logits


def install() -> None:
    """Makes engines of this process that run on a CPU use it; those with a process of their own sort."""
    topk_topp_sampler.apply_top_k_top_p_pytorch = mask_by_candidates
