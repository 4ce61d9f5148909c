"""Requests within a model's length: each is capped at the room that its prompt leaves, or skipped and counted.

A prompt without room for one token gives no completion (`no_room`); a trace too long to be read with what is asked
after it gives no score (`too_long_to_score`). Neither stops a stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from heal.pipeline.runner import SKIPPED, count_tokens, count_tokens_since
from heal.records import Usage

if TYPE_CHECKING:
    from heal.engines.base import Completion, Engine, Request, Sampling

NO_ROOM = "no_room"
TOO_LONG_TO_SCORE = "too_long_to_score"
UNREADABLE = "unreadable"


@dataclass
class RequestLog:
    """What a batch asks of an engine: tokens, sequences asked for, and sequences skipped by reason."""

    engine: Engine
    requests: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.before = count_tokens(self.engine)

    def get_usage(self) -> Usage:
        """Tokens since the log was opened, and the counts."""
        usage = count_tokens_since(self.engine, self.before) | {"requests": self.requests}
        for reason, count in self.skipped.items():
            usage[f"{SKIPPED}{reason}"] = count
        return usage

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion] | None]:
        """Completions [request][seed], each of at most the tokens that fit behind its prompt; None without room."""
        capped: list[Request | None] = []
        for request in requests:
            capped.append(cap_request(self.engine, request, sampling.max_new_tokens))
            if capped[-1] is None:
                self.skipped[NO_ROOM] += len(request.seeds)
            else:
                self.requests += len(request.seeds)
        completions = iter(self.engine.generate([request for request in capped if request], sampling))
        return [None if request is None else next(completions) for request in capped]

    def fits(self, context: Sequence[int], count: int) -> bool:
        """Whether `count` tokens can be scored behind a context; counts the request."""
        # An engine may generate one unused token to read the log-probs of the others.
        room = self.engine.count_room(context)
        if room is not None and count >= room:
            self.skipped[TOO_LONG_TO_SCORE] += 1
            return False
        self.requests += 1
        return True


def cap_request(engine: Engine, request: Request, max_new_tokens: int) -> Request | None:
    """The request with a limit that fits the model's length; None where not even one token fits."""
    limit = max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
    room = engine.count_room(request.prompt_ids)
    if room is None:
        return request
    return replace(request, max_new_tokens=min(limit, room)) if room > 0 else None
