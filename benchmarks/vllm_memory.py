"""Measure the host memory of a stage that samples with vLLM: of this process and of vLLM's, per token that is open.

Saves a tiny random model, starts vLLM on it as a stage does, and samples --sequences sequences of --tokens tokens with
20 log-probs, --open of them at a time. Prints one row per run: peak memory of the start and of the run, and bytes per
open token. --whole also measures what vLLM itself keeps until a call ends (llm.generate). vLLM's KV cache, which is on
the GPU in a real run, is left out of the numbers where the CPU build holds it.

    python -m benchmarks.vllm_memory --sequences 1024 --tokens 256 1024 --open 256
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.random_llama import ONE_LAYER, save_llama

MB = 2**20
TOP = 20
KV_SPACE_GIB = 3


def read_memory(process: int) -> int:
    """Anonymous memory of a process in bytes: what it holds itself, without files that it maps."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def list_processes() -> list[int]:
    """This process and those that vLLM started."""
    from heal.engines import reaper

    marked = reaper.find_marked(os.environ[reaper.MARKER_VARIABLE])
    return [os.getpid(), *(process for process, is_tracker in marked.items() if not is_tracker)]


class Peak:
    """Largest memory seen, in bytes: of this process, and of all vLLM processes together."""

    def __init__(self) -> None:
        self.own = 0
        self.vllm = 0
        self.total = 0

    def sample(self) -> None:
        own, *others = list_processes()
        memory = read_memory(own)
        rest = sum(read_memory(process) for process in others)
        self.own = max(self.own, memory)
        self.vllm = max(self.vllm, rest)
        self.total = max(self.total, memory + rest)


@contextmanager
def watch_memory() -> Iterator[Peak]:
    """The peak while the block runs, sampled every half second."""
    peak = Peak()
    done = threading.Event()

    def sample() -> None:
        while not done.is_set():
            peak.sample()
            done.wait(0.5)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        peak.sample()
        done.set()
        thread.join()


def run_streamed(engine: Any, sequences: int, tokens: int) -> int:
    """Samples as a stage does; returns the number of tokens."""
    stream = engine.stream
    requests = []
    for number in range(sequences):
        options = {"max_tokens": tokens, "ignore_eos": True, "seed": number, "logprobs": TOP}
        requests.append(stream.VllmRequest([5 + number % 100], options, stream.TokenMeasures(ONE_LAYER["vocab_size"])))
    count = 0
    for _, measures, output in engine.run_vllm(requests):
        count += len(engine.read_completion(output.outputs[0], measures).token_ids)
        measures.reduced.clear()
    return count


def run_whole(engine: Any, sequences: int, tokens: int) -> int:
    """Samples with llm.generate, which returns when all have ended; returns the number of tokens."""
    from vllm import SamplingParams, TokensPrompt

    prompts = []
    options = []
    for number in range(sequences):
        prompts.append(TokensPrompt(prompt_token_ids=[5 + number % 100]))
        options.append(
            SamplingParams(
                max_tokens=tokens, ignore_eos=True, seed=number, logprobs=TOP, flat_logprobs=True, detokenize=False
            )
        )
    outputs = engine.llm.generate(prompts, options, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def measure(engine: Any, way: str, sequences: int, tokens: int, at_once: int) -> dict[str, Any]:
    """One row of the table."""
    run = run_whole if way == "whole" else run_streamed
    start = Peak()
    start.sample()
    began = time.monotonic()
    with watch_memory() as peak:
        count = run(engine, sequences, tokens)
    seconds = time.monotonic() - began
    held = min(sequences, at_once) * tokens if way == "streamed" else sequences * tokens
    return {
        "way": way,
        "sequences": sequences,
        "tokens": tokens,
        "open": at_once,
        "seconds": round(seconds, 1),
        "tokens_per_s": round(count / seconds),
        "start_mb": round(start.total / MB) - KV_SPACE_GIB * 1024,
        "peak_mb": round(peak.total / MB) - KV_SPACE_GIB * 1024,
        "own_bytes_per_token": round((peak.own - start.own) / held, 1),
        "vllm_bytes_per_token": round((peak.vllm - start.vllm) / held, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=1024)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--open", type=int, default=256, help="sequences decoded together (max_num_seqs)")
    parser.add_argument("--whole", action="store_true", help="also measure llm.generate")
    parser.add_argument("--out", type=Path, help="CSV file to write")
    arguments = parser.parse_args()
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(KV_SPACE_GIB)
    from heal.engines.vllm import VllmEngine

    with tempfile.TemporaryDirectory() as folder:
        model = save_llama(Path(folder), ONE_LAYER)
        engine = VllmEngine(model, dtype="float32", gpus=0, max_num_seqs=arguments.open, top_logprobs=TOP)
        measure(engine, "streamed", arguments.open, 16, arguments.open)  # first use: buffers, kernels
        rows = []
        for tokens in arguments.tokens:
            for way in ("streamed", "whole") if arguments.whole else ("streamed",):
                rows.append(measure(engine, way, arguments.sequences, tokens, arguments.open))
                print(rows[-1], file=sys.stderr, flush=True)
        engine.llm.llm_engine.engine_core.shutdown()
    writer = csv.DictWriter(sys.stdout, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    if arguments.out:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
