"""What every command that runs a model over problems shares: its flags, shards, resumable batches, token counts."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from heal.command import Command, Section
from heal.config.experiment import Engine as EngineOptions
from heal.config.models import ModelSource
from heal.errors import HealError
from heal.method.steps import TokenTexts
from heal.outcome import read_outcome, record_outcome
from heal.progress import Progress
from heal.provenance import record_run
from heal.records import Pieces, Row, Usage, split_batches

if TYPE_CHECKING:
    import numpy as np

    from heal.engines.base import Engine

TOKEN_TEXTS: weakref.WeakKeyDictionary[Any, TokenTexts] = weakref.WeakKeyDictionary()

BatchWorker = Callable[[Sequence[Any]], tuple[list[Row], Usage]]
"""A batch of items → its rows, and the tokens and requests they took."""

TOKEN_KINDS = ("prefill", "generated", "scored")
SKIPPED = "skipped_"
"""Prefix of the keys of a usage that count skipped requests, by reason."""

OUTPUT_NEUTRAL = ("out", "greedy_out", "gpus", "config")
"""Fields of a command that do not change what it writes."""


class ModelCommand(Command):
    """The flags of a command that runs a model over problems."""

    teacher: str | None = None
    """Name of the teacher in the config."""
    student: str | None = None
    """Name of the student in the config; used where no teacher is named."""
    model: Annotated[ModelSource, Section("teachers.{teacher}", "students.{student}")]
    """The model that runs."""
    engine: Annotated[EngineOptions, Section("engine")] = EngineOptions()
    """How it runs."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run."""
    teacher_seed: int = 0
    """Index of the teacher sampling seed, from 0."""
    shard: str = "0/1"
    """i/n: the i-th (from 0) of n contiguous parts of the problems."""
    gpus: int = 1
    """GPUs to lease, where there are any."""
    out: Path
    """The parquet file to write."""

    @contextmanager
    def start_engine(self, name: str) -> Iterator[tuple[Engine, dict[str, Any]]]:
        """The opened engine and the facts that become the output's provenance when the block ends well."""
        from heal.engines import gpu_lease
        from heal.engines.open import open_engine

        facts: dict[str, Any] = {"options": self.describe_options(), "seeds": [self.seed, self.teacher_seed]}
        with record_run(self.out, name, self.get_version(), facts):
            engine = open_engine(self.model, self.engine, self.gpus)
            facts["engine"] = engine.settings
            facts["gpus"] = len(gpu_lease.leased())
            began = time.monotonic()
            yield engine, facts
            facts |= record_outcome(read_outcome(self.out))
            facts["tokens_per_s"] = round(sum(count_tokens(engine).values()) / (time.monotonic() - began), 1)

    def describe_work(self, engine: Engine, item_ids: Sequence[str]) -> list[Any]:
        """What the output depends on: options, engine and items. Names the folder that finished batches are kept in."""
        options = self.describe_options()
        for field in OUTPUT_NEUTRAL:
            options.pop(field, None)
        return [options, engine.settings, list(item_ids)]

    def run_shard(
        self,
        schema: str,
        items: Sequence[Any],
        work: BatchWorker,
        *,
        engine: Engine,
        item_ids: Sequence[str],
        label: str,
        out: Path | None = None,
    ) -> Usage:
        """Works through this shard of the items, batch by batch, and writes `out`; returns what it took.

        out: the command's own by default.
        """
        fingerprint = self.describe_work(engine, item_ids)
        shard = take_shard(items, self.shard)
        size = self.engine.problems_per_batch
        return run_batches(out or self.out, schema, shard, size, work, fingerprint=fingerprint, label=label)


def decode_tokens(engine: Engine, token_ids: Sequence[int] | np.ndarray) -> list[str]:
    """The text of each token; special tokens have none."""
    return get_token_texts(engine)(token_ids)


def get_token_texts(engine: Engine) -> TokenTexts:
    """Token ids → the text of each, with one memory per tokenizer."""
    if engine.tokenizer not in TOKEN_TEXTS:
        TOKEN_TEXTS[engine.tokenizer] = TokenTexts(weakref.proxy(engine.tokenizer))
    return TOKEN_TEXTS[engine.tokenizer]


def describe_usage(usage: Usage) -> dict[str, Any]:
    """What a command took, for its provenance: `tokens`, the number of `requests`, and those `skipped` by reason."""
    skipped = {}
    for key in sorted(usage):
        if key.startswith(SKIPPED):
            skipped[key.removeprefix(SKIPPED)] = usage[key]
    tokens = {key: usage.get(key, 0) for key in TOKEN_KINDS}
    return {"tokens": tokens, "requests": usage.get("requests", 0), "skipped": skipped}


def count_tokens(engine: Engine) -> Usage:
    """Tokens the engine has processed so far: prefilled, generated, scored."""
    usage = engine.usage
    return {"prefill": usage.prefill_tokens, "generated": usage.generated_tokens, "scored": usage.scored_tokens}


def count_tokens_since(engine: Engine, before: Usage) -> Usage:
    """Tokens the engine has processed since `before = count_tokens(engine)`."""
    return {key: value - before[key] for key, value in count_tokens(engine).items()}


def take_shard(items: Sequence[Any], shard: str) -> Sequence[Any]:
    """The i-th of n contiguous parts ("i/n"): joined in order, the parts are the whole."""
    part = locate_shard(len(items), shard)
    return items[part.start : part.stop]


def locate_shard(count: int, shard: str) -> range:
    """Which of `count` items a shard takes. Raises HealError for what is no shard."""
    try:
        part, parts = map(int, shard.split("/"))
        if not 0 <= part < parts:
            raise ValueError
    except ValueError:
        raise HealError(f"found {shard!r}", where="--shard", fix="write i/n with 0 <= i < n, as in 0/2") from None
    return range(count * part // parts, count * (part + 1) // parts)


def run_batches(
    out: str | Path,
    schema: str,
    items: Sequence[Any],
    size: int,
    work: BatchWorker,
    *,
    fingerprint: Any,
    label: str,
) -> Usage:
    """Works through the items batch by batch; each finished batch is saved, so a killed job resumes after it."""
    saved = Pieces(out, schema, [fingerprint, size, len(items)])
    progress = Progress(len(items), label)
    batches = list(split_batches(items, size))
    for number, batch in batches:
        if saved.done(number):
            progress.skip(len(batch))
            continue
        rows, usage = work(batch)
        saved.add(number, rows, usage)
        progress.add(len(batch), sum(usage.get(kind, 0) for kind in TOKEN_KINDS))
    return saved.finish(len(batches))
