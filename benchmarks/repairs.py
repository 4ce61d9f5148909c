"""Count the prompt tokens that an engine computes for repairs, over those that it has to: distinct prefixes of prompts.

Repairs of one cut share question, kept steps and hint; those of one problem share the question; two GEAR variants share
question and kept steps. A hook counts every token that goes through the model. The model is a random Llama whose
likeliest token is the end of the turn: each completion is one token, so all that is counted is prompts (and padding),
in the batches that the full length of a completion would form. Loads have the numbers of the presets and the lengths
that `heal plan` assumes. One variant is one job of the workflow; two variants are two jobs, here on one engine.
vLLM shares whole blocks of a prompt: 128 tokens on a CPU, 16 on a GPU, for which the tokens are calculated.

    python -m benchmarks.repairs --out results/reference/benchmarks/repairs.csv
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paired_rounds import write_page
from benchmarks.random_llama import ONE_LAYER, save_llama
from heal import records
from heal.engines.base import Request, Sampling
from heal.provenance import record_run

VERSION = 1
"""Raise it when what is measured changes."""
ROOT = Path(__file__).parent.parent
ENGINES = ("transformers", "vllm")
CPU_BLOCK, GPU_BLOCK = 128, 16
"""Tokens of a block of vLLM's prefix cache, by its defaults."""
VARIANTS = ("one variant", "two variants")


@dataclass(frozen=True)
class Load:
    """Numbers and lengths (in tokens) of a preset's repairs."""

    problems: int
    traces_per_problem: int
    repairs_per_trace: int
    question: int
    kept: int
    """Mean of the kept steps; they are from half to one and a half times as long."""
    hint: int
    continuation: int
    """Mean of the completions, which are not computed here."""
    new_tokens: int
    """Limit of a completion."""
    batch_size: int

    def make_requests(self) -> list[list[Request]]:
        """The requests of two GEAR variants with different hints at the same cuts."""
        rng = np.random.default_rng(0)

        def draw(count: int) -> tuple[int, ...]:
            return tuple(map(int, rng.integers(2, ONE_LAYER["vocab_size"], count)))

        variants: list[list[Request]] = [[], []]
        hints = [draw(self.hint), draw(self.hint)]
        for _ in range(self.problems):
            question = draw(self.question)
            for _ in range(self.traces_per_problem):
                kept = draw(int(self.kept * rng.uniform(0.5, 1.5)))
                for requests, hint in zip(variants, hints, strict=True):
                    prompt = (*question, *kept, *hint)
                    requests.append(Request(prompt, tuple(range(self.repairs_per_trace))))
        return variants


LOADS = {
    "mini": Load(32, 2, 4, question=40, kept=17, hint=10, continuation=60, new_tokens=160, batch_size=128),
    "single_gpu": Load(4, 10, 20, question=150, kept=683, hint=20, continuation=3413, new_tokens=8192, batch_size=256),
    "paper": Load(1, 10, 20, question=150, kept=2560, hint=20, continuation=12800, new_tokens=28000, batch_size=256),
}
"""Preset → its repairs; problems: as many as take seconds."""


@dataclass(frozen=True)
class Counted:
    """One engine and load. needed: tokens of the distinct prefixes of all prompts. computed: through the model.

    share: of the computed prompts in all tokens, completions included.
    """

    preset: str
    engine: str
    variants: str
    repairs: int
    prompt_tokens: int
    needed: int
    computed: int
    ratio: float
    share: float


class Counter:
    """Counts the tokens that go through a model, padding included."""

    def __init__(self, model: Any) -> None:
        self.tokens = 0
        model.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, _: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.tokens += (options["input_ids"] if "input_ids" in options else arguments[0]).numel()


def count_distinct_prefix_tokens(prompts: Iterable[Sequence[int]]) -> int:
    """Nodes of the prefix tree of the prompts."""
    total = 0
    previous: Sequence[int] = ()
    for prompt in sorted(map(tuple, prompts)):
        shared = 0
        while shared < min(len(prompt), len(previous)) and prompt[shared] == previous[shared]:
            shared += 1
        total += len(prompt) - shared
        previous = prompt
    return total


def calculate_block_cache(prompts: Iterable[Sequence[int]], block: int) -> int:
    """Tokens that vLLM computes of the prompts, in this order, where full blocks of earlier prompts are cached."""
    cached: set[int] = set()
    total = 0
    for prompt in prompts:
        key, keys = 0, []
        for start in range(0, len(prompt) - block + 1, block):
            key = hash((key, tuple(prompt[start : start + block])))
            keys.append(key)
        hits = 0
        while hits < (len(prompt) - 1) // block and keys[hits] in cached:  # the last token is always computed
            hits += 1
        total += len(prompt) - hits * block
        cached.update(keys)
    return total


def save_ending_model(folder: Path) -> str:
    """A random Llama of one layer whose logits are all equal: the likeliest token is the first, the end of a turn."""
    from safetensors.torch import load_file, save_file

    path = save_llama(folder, ONE_LAYER)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["lm_head.weight"].zero_()
    save_file(tensors, weights, metadata={"format": "pt"})
    return path


@contextmanager
def open_counted(name: str, model: str, load: Load) -> Iterator[tuple[Any, Counter]]:
    """The engine, and the counter of its model."""
    if name == "transformers":
        from heal.engines.transformers import TransformersEngine

        engine = TransformersEngine(model, device="cpu", batch_size=load.batch_size)
        yield engine, Counter(engine.model)
        return
    from heal.engines.vllm import VllmEngine

    vllm = VllmEngine(model, dtype="float32", gpus=0, max_num_seqs=load.batch_size, top_logprobs=5)
    try:
        yield vllm, vllm.llm.apply_model(Counter)[0]
    finally:
        vllm.llm.llm_engine.engine_core.shutdown()


def count_load(preset: str, load: Load, name: str, model: str) -> Iterator[Counted]:
    """The counts of one variant, and of both one after the other on one engine."""
    sampling = Sampling(temperature=0.0, max_new_tokens=load.new_tokens)
    with open_counted(name, model, load) as (engine, counter):
        counter.tokens = 0  # what the engine computed at its start
        prompts: list[Sequence[int]] = []  # one per repair
        for variants, requests in zip(VARIANTS, load.make_requests(), strict=True):
            completions = engine.generate(requests, sampling)
            if any(len(completion.token_ids) != 1 for samples in completions for completion in samples):
                raise RuntimeError("a completion did not end at its first token")
            for request in requests:
                prompts += [request.prompt_ids] * len(request.seeds)
            if name == "transformers":
                yield count(preset, load, "transformers", variants, prompts, counter.tokens)
                continue
            yield count(preset, load, f"vllm, blocks of {CPU_BLOCK}", variants, prompts, counter.tokens)
            if counter.tokens != calculate_block_cache(prompts, CPU_BLOCK):
                raise RuntimeError(
                    f"calculated: {calculate_block_cache(prompts, CPU_BLOCK)} tokens, not {counter.tokens}"
                )
            calculated = calculate_block_cache(prompts, GPU_BLOCK)
            yield count(preset, load, f"vllm, blocks of {GPU_BLOCK} (calculated)", variants, prompts, calculated)


def count(
    preset: str, load: Load, engine: str, variants: str, prompts: Sequence[Sequence[int]], computed: int
) -> Counted:
    """One row. prompts: one per repair."""
    needed = count_distinct_prefix_tokens(prompts)
    share = computed / (computed + len(prompts) * load.continuation)
    sizes = len(prompts), sum(map(len, prompts)), needed, computed
    return Counted(preset, engine, variants, *sizes, round(computed / needed, 2), round(share, 3))


def write_table(rows: list[Counted], out: Path) -> None:
    names = [field.name for field in fields(Counted)]
    cells = [[str(getattr(row, name)) for name in names] for row in rows]
    records.write_text(out, "\n".join(map(",".join, [names, *cells])) + "\n")
    note = "Ratio: computed over needed. Needed: distinct prefixes of all prompts. Computed: with padding."
    settings = {preset: vars(load) for preset, load in LOADS.items()}
    title = "Prompt tokens that engines compute for repairs"
    write_page(out, title, settings, [name.replace("_", " ") for name in names], cells, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--presets", nargs="+", choices=list(LOADS), default=list(LOADS))
    parser.add_argument("--out", type=Path, default=ROOT / "results/reference/benchmarks/repairs.csv")
    arguments = parser.parse_args()
    # vLLM in this process, where the hook can be put on its model.
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2"}
    options = {"engines": arguments.engines, "presets": arguments.presets}
    rows: list[Counted] = []
    with (
        record_run(arguments.out, "benchmarks/repairs.py", VERSION, {"options": options}),
        tempfile.TemporaryDirectory() as folder,
    ):
        model = save_ending_model(Path(folder))
        for name in arguments.engines:
            for preset in arguments.presets:
                for row in count_load(preset, LOADS[preset], name, model):
                    rows.append(row)
                    print(row, file=sys.stderr, flush=True)
        write_table(rows, arguments.out)


if __name__ == "__main__":
    main()
