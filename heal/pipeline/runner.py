"""What every stage's command shares: arguments, options as JSON, the engine, shards, resumable batches, progress."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from heal.command import command_parser
from heal.config.options import OptionGroup, validate
from heal.errors import HealError
from heal.records import Pieces, Row, Usage, in_batches

if TYPE_CHECKING:
    from heal.engines.base import Engine

T = TypeVar("T", bound=OptionGroup)


def arguments_parser(description: str | None, *files: str, model: bool = False) -> argparse.ArgumentParser:
    """A parser with one required --file option per input, --out, --options, --seed and, with a model, its options."""
    parser = command_parser(description)
    for name in files:
        parser.add_argument(f"--{name}", required=True, help=f"the {name} file")
    parser.add_argument("--out", required=True, help="where the result is written")
    parser.add_argument("--options", default="{}", help="this stage's options as JSON (config/README.md)")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument("--draw", type=int, default=0, help="which independent sampling of the teacher")
    if model:
        parser.add_argument("--model", required=True, help="model folder or hub id")
        parser.add_argument("--revision", help="for a hub id: the commit")
        parser.add_argument("--template-options", default="{}", help="the chat template's arguments as JSON")
        parser.add_argument("--endpoint", help="where the model is served, as JSON")
        parser.add_argument("--engine", default="{}", help="engine options as JSON")
        parser.add_argument("--gpus", type=int, default=1, help="GPUs to take, where there are any")
        parser.add_argument("--shard", default="0/1", help="i/n: the i-th (from 0) of n parts of the problems")
    return parser


def read_options(cls: type[T], content: str, where: str = "--options") -> T:
    """Raises HealError where it is no JSON or not the stage's options."""
    return validate(cls, parsed(content, where), where=where)


def parsed(content: str, where: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise HealError(f"not valid JSON ({error.msg})", where=where, fix="quote it as '{\"key\": value}'") from None


def pieces(engine: Engine, token_ids: Sequence[int]) -> list[str]:
    """The text of each token; special tokens have none."""
    return [engine.tokenizer.decode([token], skip_special_tokens=True) for token in token_ids]


def tokens_used(engine: Engine) -> Usage:
    """Tokens the engine has processed so far: prefilled, generated, scored."""
    used = engine.usage
    return {"prefill": used.prefill_tokens, "generated": used.generated_tokens, "scored": used.scored_tokens}


def tokens_since(engine: Engine, before: Usage) -> Usage:
    return {key: value - before[key] for key, value in tokens_used(engine).items()}


def shard_of(items: Sequence[Any], shard: str) -> Sequence[Any]:
    """The i-th of n contiguous parts ("i/n"): joined in order, the parts are the whole."""
    try:
        part, parts = (int(word) for word in shard.split("/"))
        if not 0 <= part < parts:
            raise ValueError
    except ValueError:
        raise HealError(f"found {shard!r}", where="--shard", fix="write i/n with 0 <= i < n, as in 0/2") from None
    return items[len(items) * part // parts : len(items) * (part + 1) // parts]


def run_batches(
    out: str,
    kind: str,
    items: Sequence[Any],
    size: int,
    work: Callable[[Sequence[Any]], tuple[list[Row], Usage]],
    *,
    fingerprint: Any,
    what: str,
) -> Usage:
    """Works through the items batch by batch; each finished batch is kept, so a killed job goes on after it."""
    pieces = Pieces(out, kind, [fingerprint, size, len(items)])
    progress = Progress(len(items), what)
    batches = list(in_batches(items, size))
    for number, batch in batches:
        if pieces.done(number):
            progress.skip(len(batch))
            continue
        rows, usage = work(batch)
        pieces.add(number, rows, usage)
        progress.add(len(batch), sum(usage.values()))
    return pieces.finish(len(batches))


class Progress:
    """One line per batch on stderr: how far, how fast, how long to go."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done, self.worked, self.tokens = total, what, 0, 0, 0
        self.began = time.monotonic()

    def skip(self, count: int) -> None:
        self.done += count
        print(
            f"{self.what}: {self.done}/{self.total} taken up from an earlier attempt",
            file=sys.stderr,
            flush=True,
        )

    def add(self, count: int, tokens: int = 0) -> None:
        self.done += count
        self.worked += count
        self.tokens += tokens
        seconds = max(time.monotonic() - self.began, 1e-9)
        left = (self.total - self.done) * seconds / self.worked
        print(
            f"{self.what}: {self.done}/{self.total}, {self.tokens / seconds / 1000:.1f} k tokens/s, {left:.0f} s to go",
            file=sys.stderr,
            flush=True,
        )
