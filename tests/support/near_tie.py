"""How two engines of one model are compared: greedy tokens may part where the two best are nearly equally likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heal.engines.base import Completion, Engine

CLOSE = 1e-3  # nats: how far log-probs and entropies may differ, and what is a near-tie


def count_equal_tokens(one: Sequence[int], other: Sequence[int], exact: Engine, prompt_ids: Sequence[int]) -> int:
    """How many tokens are equal; all of them, unless the first that differ are a near-tie."""
    shortest = min(len(one), len(other))
    differ = np.flatnonzero(np.asarray(one[:shortest]) != np.asarray(other[:shortest]))
    if not len(differ):
        assert len(one) == len(other)
        return shortest
    same = int(differ[0])
    prefix = (*prompt_ids, *map(int, one[:same]))
    scores = exact.score([(prefix, one[same : same + 1]), (prefix, other[same : same + 1])])
    assert abs(float(scores[0].logprobs[0] - scores[1].logprobs[0])) < CLOSE
    return same


def assert_agree_until_near_tie(one: Completion, other: Completion, exact: Engine, prompt_ids: Sequence[int]) -> None:
    """`one`, with entropy bounds, has the tokens, log-probs and entropies of `other`, which is exact."""
    same = count_equal_tokens(one.token_ids, other.token_ids, exact, prompt_ids)
    if same == len(one.token_ids):
        assert one.finish_reason == other.finish_reason
    np.testing.assert_allclose(one.logprobs[:same], other.logprobs[:same], atol=CLOSE)
    assert (one.entropies[:same] <= other.entropies[:same] + CLOSE).all()
    assert (other.entropies[:same] <= one.entropies_upper[:same] + CLOSE).all()
