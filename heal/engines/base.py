"""What an engine is: the one interface through which the suite samples from and scores with a model.

Reads a model folder (or a pinned hub model) and token ids; gives token ids with, per token, the
log-probability and the entropy that the cut (GEAR) and the filter (PURE) need. Prompts are token ids, never
text: text tokenized again can give other tokens, and then a cut no longer falls where it was measured.
`heal.engines.transformers` is the reference implementation; every engine is checked against it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from heal.errors import HealError


@dataclass(frozen=True)
class Request:
    """One prompt and the samples wanted of it.

    prompt_ids: the rendered chat prompt with the assistant prefix to go on from, if any. seeds: one per
    sample, 0 <= seed < 2**128; a sample depends on its seed and the prompt only. max_new_tokens: if given,
    instead of the Sampling's.
    """

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens. Temperature 0 is greedy. Entropies and log-probabilities ignore all of this."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise HealError(f"temperature is {self.temperature}", fix="use 0 (greedy) or a positive number")
        if not 0 < self.top_p <= 1:
            raise HealError(f"top_p is {self.top_p}", fix="use a number above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise HealError(f"max_new_tokens is {self.max_new_tokens}", fix="use at least 1")


@dataclass(frozen=True, eq=False)
class Completion:
    """One sample of T tokens, the end token included when it was produced.

    token_ids: int32 [T]. logprobs: float32 [T], ln p of each token. entropies: float32 [T], nats, over the
    whole vocabulary. Both from the raw logits: temperature 1, before top-p. An engine that sees only the likeliest
    tokens gives a lower bound as entropies and the upper one as entropies_upper; None: entropies are exact.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray
    entropies: np.ndarray
    finish_reason: Literal["stop", "length"]
    entropies_upper: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """logprobs, entropies and upper bounds, float32 [T], of the T tokens of a continuation; as in Completion.

    ranks: int32 [T], each token's place among all by probability, the likeliest has 1; None where the engine has none.
    """

    logprobs: np.ndarray
    entropies: np.ndarray
    entropies_upper: np.ndarray | None = None
    ranks: np.ndarray | None = None


@dataclass(frozen=True)
class Branch:
    """A question asked in the middle of a sequence: after the trunk's first `at` tokens, `cue` is put in, and the
    continuation is scored. cue and continuation: at least one token each."""

    at: int
    cue: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass
class Usage:
    """Tokens paid for so far. Counts depend on the requests only, not on batches or on work done twice.

    prefill_tokens: prompts of `generate` (once per distinct prompt and call, whatever the number of samples)
    and contexts of `score`. generated_tokens: tokens of completions. scored_tokens: continuation tokens of
    `score`.
    """

    prefill_tokens: int = 0
    generated_tokens: int = 0
    scored_tokens: int = 0


@dataclass(eq=False)
class Engine(ABC):
    """A loaded model. `settings`, JSON-able, goes into the provenance of everything the engine makes."""

    tokenizer: Any
    settings: dict[str, Any]
    template_options: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def chat_ids(self, question: str, prefix_ids: Sequence[int] = ()) -> tuple[int, ...]:
        """The question as a user turn in the chat template, the start of the answer, then `prefix_ids`."""
        turn = [{"role": "user", "content": question}]
        ids = self.tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, tokenize=True, return_dict=False, **self.template_options
        )
        return (*(int(i) for i in ids), *(int(i) for i in prefix_ids))

    @abstractmethod
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Samples of every request, both in the order given: [request][seed].

        Raises HealError for a prompt that is empty, too long for the model or not of its vocabulary, and when
        the memory does not hold a single row.
        """

    @abstractmethod
    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        """For each (context ids, continuation ids): the continuation's values, in the order given.

        A context has at least one token; an empty continuation gives an empty Score. Raises like `generate`.
        """

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """For each (token ids, branches): the log-probs, float32 [T], of every branch's continuation.

        An engine that can, prefills a trunk once.
        """
        flat = [([*trunk[: b.at], *b.cue], b.continuation) for trunk, branches in trunks for b in branches]
        made = (score.logprobs for score in self.score(flat))
        return [[next(made) for _ in branches] for _, branches in trunks]


def check_sequence(what: str, ids: Sequence[int], new_tokens: int, max_positions: int | None, vocabulary: int) -> None:
    """Refuse a prompt that the model cannot take, before any work is done.

    what: how to call it in the message ("request 3"). new_tokens: how many will follow `ids`. max_positions:
    the model's longest sequence in tokens, None when it has no limit. Raises HealError.
    """
    if len(ids) == 0:
        raise HealError("the prompt has no tokens", where=what, fix="give at least one token of context")
    if new_tokens < 0:
        raise HealError(f"max_new_tokens is {new_tokens}", where=what, fix="use at least 1")
    if max_positions is not None and len(ids) + new_tokens > max_positions:
        raise HealError(
            f"{len(ids)} prompt tokens and {new_tokens} new ones exceed the {max_positions} of the model",
            where=what,
            fix="lower max_new_tokens, leave out longer problems, or use a model with a longer context",
        )
    if not 0 <= min(ids) <= max(ids) < vocabulary:
        raise HealError(
            f"token ids from {min(ids)} to {max(ids)}, but the model's vocabulary has {vocabulary} entries",
            where=what,
            fix="these tokens come from another tokenizer; make them with the tokenizer of this model",
        )


def load_tokenizer(model: str, revision: str | None = None) -> Any:
    """The tokenizer of a model folder or hub model, with its chat template. Runs no code from the folder.

    Raises HealError when the folder is missing, has no tokenizer, or has no chat template.
    """
    from transformers import AutoTokenizer

    check_model_path(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        folder = "save the tokenizer into the model folder with tokenizer.save_pretrained(folder)"
        fix = folder if Path(model).is_dir() else hub_cure(model, revision)
        raise HealError(f"no tokenizer could be loaded ({first_line(error)})", where=model, fix=fix) from error
    if not tokenizer.chat_template:
        raise HealError(
            "the tokenizer has no chat template",
            where=model,
            fix="put a chat_template.jinja into the model folder, or use the instruct version of the model",
        )
    return tokenizer


def hub_cure(model: str, revision: str | None) -> str:
    """What to do where a hub model cannot be had."""
    commit = revision or "COMMIT"
    return (
        f"check its name, its revision and (gated models) your access; without a network, fetch it elsewhere with "
        f"`hf download {model} --revision {commit} --local-dir DIR` and set path: DIR"
    )


def check_model_path(model: str) -> None:
    """Raise HealError when `model` is meant as a folder, not as owner/name on the hub, and is none."""
    path = Path(model).expanduser()
    meant_as_folder = path.is_absolute() or model.startswith((".", "~")) or len(path.parts) != 2
    if meant_as_folder and not path.is_dir():
        raise HealError(
            "there is no such model folder",
            where=model,
            fix="correct the path in the config; a model on the hub is named owner/name",
        )


def template_hash(tokenizer: Any) -> str:
    """SHA-256 of the chat template: results made with different templates must not be compared unnoticed."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an exception's message: what a user needs of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
