"""The interface through which the suite samples from a model and scores text with it.

An engine takes token ids and returns token ids with the log-probability and the entropy of each token, which the cut
(GEAR) and the filter (PURE) need. Prompts are token ids, never text: text tokenized again can give other tokens, and
then a cut no longer falls where it was measured. `heal.engines.transformers` is the reference implementation; every
engine is tested against it. heal/engines/TEMPLATE.py shows what a new engine needs.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np

from heal.data.read_rows import check_is_data
from heal.errors import HealError
from heal.skip_sklearn import skip_sklearn

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import ModelSource

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One prompt and the seeds of its samples.

    prompt_ids: the rendered chat prompt, with the assistant prefix to continue, if any. seeds: one per sample,
    0 <= seed < 2**128; a sample depends on its seed and the prompt only. max_new_tokens: replaces the Sampling's.
    """

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled. Temperature 0 is greedy. Entropies and log-probabilities ignore these settings."""

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

    token_ids: int32 [T]. logprobs: float32 [T], ln p of each token. entropies: float32 [T], nats, over the whole
    vocabulary. Both from the raw logits: temperature 1, before top-p. An engine that sees only the likeliest tokens
    returns lower bounds as entropies and upper bounds as entropies_upper; None: entropies are exact.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray
    entropies: np.ndarray
    finish_reason: Literal["stop", "length"]
    entropies_upper: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """Log-probs, entropies and upper bounds, float32 [T], of the T tokens of a continuation; as in Completion.

    ranks: int32 [T], the rank of each token by probability, 1 for the likeliest; None where the engine has none.
    """

    logprobs: np.ndarray
    entropies: np.ndarray
    entropies_upper: np.ndarray | None = None
    ranks: np.ndarray | None = None


@dataclass(frozen=True)
class Branch:
    """A continuation scored after the trunk's first `at` tokens and the cue. Both have at least one token."""

    at: int
    cue: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass
class Usage:
    """Tokens processed so far. Counts depend on the requests only, not on batches or on repeated work.

    prefill_tokens: prompts of `generate` (once per distinct prompt and call, for any number of samples) and contexts of
    `score`. generated_tokens: tokens of completions. scored_tokens: continuation tokens of `score`.
    """

    prefill_tokens: int = 0
    generated_tokens: int = 0
    scored_tokens: int = 0

    def add_prompts(self, requests: Sequence[Request]) -> None:
        """Counts each distinct prompt of one `generate` call that has samples."""
        prompts: set[tuple[int, ...]] = set()
        for request in requests:
            if request.seeds:
                prompts.add(request.prompt_ids)
        self.prefill_tokens += sum(map(len, prompts))

    def add_branches(self, trunk: Sequence[int], branches: Sequence[Branch]) -> None:
        """Counts a trunk once, its cues, and the scored continuations."""
        self.prefill_tokens += len(trunk)
        for branch in branches:
            self.prefill_tokens += len(branch.cue)
            self.scored_tokens += len(branch.continuation)


@dataclass(eq=False)
class Engine(ABC):
    """A loaded model. `settings`, JSON-able, goes into the provenance of every file made with the engine."""

    name: ClassVar[str]
    """How `engine.backend` in the config calls it."""
    loads_weights: ClassVar[bool] = True
    """Whether the model runs in this process, on leased GPUs; False for a client of a server."""

    tokenizer: Any
    settings: dict[str, Any]
    end_token_id: int
    """The token that ends a turn in the chat template: every `generate` stops at it, whatever the model calls EOS."""
    max_positions: int | None = None
    """Maximum tokens of a sequence that is sampled or scored, prompt included; None without a limit."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    @classmethod
    @abstractmethod
    def from_options(cls, model: ModelSource, options: EngineOptions, gpus: int) -> Engine:
        """The engine with the options of the config. gpus: number of GPUs that this process has leased.

        Imports what is large (torch, vllm) here and not at the top of its file. Raises HealError where the model cannot
        be loaded, or the engine is not installed.
        """

    def tokenize_chat(self, question: str, prefix_ids: Sequence[int] = ()) -> tuple[int, ...]:
        """The question as a user turn in the chat template, the start of the answer, then `prefix_ids`."""
        turn = [{"role": "user", "content": question}]
        ids = self.tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, tokenize=True, return_dict=False, **self.template_options
        )
        return (*map(int, ids), *map(int, prefix_ids))

    def count_room(self, prompt_ids: Sequence[int]) -> int | None:
        """Number of tokens that may follow the prompt, generated or scored, 0 or more; None without a limit."""
        if self.max_positions is None:
            return None
        return max(0, self.max_positions - len(prompt_ids))

    @abstractmethod
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Completions [request][seed], both in the order of the arguments.

        Raises HealError for a prompt that is empty, too long for the model or not of its vocabulary, and where a single
        row does not fit in memory.
        """

    @abstractmethod
    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        """The scores of the continuations of (context ids, continuation ids), in the order of the argument.

        A context has at least one token; an empty continuation gives an empty Score. Raises like `generate`.
        """

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """The log-probs, float32 [T], of every branch's continuation: [trunk][branch].

        This default computes a trunk once per branch; an engine that can, computes it once.
        """
        sequences: list[tuple[Sequence[int], Sequence[int]]] = []
        for trunk, branches in trunks:
            for branch in branches:
                sequences.append(([*trunk[: branch.at], *branch.cue], branch.continuation))
        logprobs = [score.logprobs for score in self.score(sequences)]
        return regroup(logprobs, [len(branches) for _, branches in trunks])


def regroup(values: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
    """Consecutive values in lists of these sizes."""
    groups = []
    start = 0
    for size in sizes:
        groups.append(list(values[start : start + size]))
        start += size
    return groups


def check_requests(
    requests: Sequence[Request], sampling: Sampling, max_positions: int | None, vocabulary: int
) -> list[int]:
    """The maximum of new tokens of each request. Raises HealError as `check_sequence`, and for a limit below 1."""
    limits = []
    for number, request in enumerate(requests):
        limit = sampling.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
        # A limit of 0 is as wrong as a negative one.
        check_sequence(f"request {number}", request.prompt_ids, limit or -1, max_positions, vocabulary)
        limits.append(limit)
    return limits


def check_sequence(what: str, ids: Sequence[int], new_tokens: int, max_positions: int | None, vocabulary: int) -> None:
    """Raises HealError for a prompt that the model cannot take, before any work is done.

    what: its name in the message ("request 3"). new_tokens: number of tokens that will follow `ids`. max_positions: the
    model's longest sequence in tokens, None without a limit.
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


def collect_end_ids(*sources: int | Sequence[int] | None) -> list[int]:
    """All end tokens, ascending: of the chat template, of the generation config and of the tokenizer."""
    ids: set[int] = set()
    for source in sources:
        if source is not None:
            ids.update([int(source)] if isinstance(source, int) else map(int, source))
    return sorted(ids)


def load_tokenizer(model: str, revision: str | None = None) -> Any:
    """The tokenizer of a model folder or hub model, with its chat template. Runs no code from the folder.

    Raises HealError when the folder is missing, has no tokenizer, or has no chat template.
    """
    skip_sklearn()
    from transformers import AutoTokenizer

    check_model_path(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        folder = "save the tokenizer into the model folder with tokenizer.save_pretrained(folder)"
        fix = folder if Path(model).is_dir() else explain_hub_fix(model, revision)
        raise HealError(f"no tokenizer could be loaded ({get_first_line(error)})", where=model, fix=fix) from error
    if not tokenizer.chat_template:
        raise HealError(
            "the tokenizer has no chat template",
            where=model,
            fix="put a chat_template.jinja into the model folder, or use the instruct version of the model",
        )
    return tokenizer


def explain_hub_fix(model: str, revision: str | None) -> str:
    """What a user does where a hub model cannot be loaded."""
    commit = revision or "COMMIT"
    return (
        f"check its name, its revision and (gated models) your access; without a network, fetch it elsewhere with "
        f"`hf download {model} --revision {commit} --local-dir DIR` and set path: DIR"
    )


def check_model_path(model: str) -> None:
    """Raises HealError where `model` reads as a folder, not as owner/name on the hub, and is none."""
    path = Path(model).expanduser()
    reads_as_folder = path.is_absolute() or model.startswith((".", "~")) or len(path.parts) != 2
    if reads_as_folder and not path.is_dir():
        raise HealError(
            "there is no such model folder",
            where=model,
            fix="correct the path in the config; a model on the hub is named owner/name",
        )


def check_safetensors(folder: Path) -> None:
    """Raises HealError for weights in a model folder that are a Git LFS pointer, cut off, or no safetensors."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        check_is_data(path)
        try:
            with safe_open(path, framework="np"):  # reads the header, and compares the file's size with it
                pass
        except SafetensorError as error:
            problem = f"no readable safetensors ({get_first_line(error)})"
            raise HealError(problem, where=str(path), fix="download the weights again") from None


def hash_template(tokenizer: Any) -> str:
    """SHA-256 of the chat template: results of different templates must not be compared unnoticed."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def get_first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
