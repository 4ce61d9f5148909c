"""Compare the speed of the suite's engines with what people use: transformers.generate, and vLLM's LLM.generate.

Every way samples the same prompts from the same model, with the log-prob and the entropy of each token, and at most the
same number of tokens; ways of one case run in turn (benchmarks/paired_rounds.py). Cases:

teacher       the mini teacher: our transformers engine, transformers.generate
llama         a random Llama of 135M parameters: both; our vLLM engine, LLM.generate with the same parameters
              (log-probs as flat lists, no text) and with vLLM's own output (log-probs as dictionaries, text)
engine only   the three ways of vLLM with a Llama of one layer: the engine is all that takes time

    python -m benchmarks.engines --out results/reference/benchmarks/engines.csv
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paired_rounds import Table, Way
from benchmarks.random_llama import LLAMA_135M, ONE_LAYER, save_llama
from heal.engines.base import Request, Sampling
from heal.provenance import record_run

VERSION = 1
"""Raise it when what is measured changes."""
ROOT = Path(__file__).parent.parent
TEACHER = ROOT / "heal/worlds/mini/models/teacher"
TOP = 20
KV_SPACE_GIB = 2
GENERATE, VLLM = "transformers.generate", "LLM.generate"
"""Baselines."""


@dataclass(frozen=True)
class Load:
    """What a case samples: `prompts` prompts of `prompt_tokens`, `samples` of each, of at most `new_tokens`."""

    prompts: int
    prompt_tokens: int
    samples: int
    new_tokens: int
    batch_size: int

    def make_requests(self, vocabulary: int) -> list[Request]:
        """Prompts of random tokens; no two begin alike."""
        rng = np.random.default_rng(0)
        requests = []
        for number in range(self.prompts):
            ids = tuple(map(int, rng.integers(2, vocabulary, self.prompt_tokens)))
            requests.append(Request(ids, self.make_seeds(number)))
        return requests

    def make_seeds(self, number: int) -> tuple[int, ...]:
        return tuple(range(number * self.samples, (number + 1) * self.samples))


LOADS = {
    "teacher": Load(prompts=64, prompt_tokens=0, samples=4, new_tokens=160, batch_size=128),  # questions as they are
    "llama": Load(prompts=8, prompt_tokens=64, samples=4, new_tokens=32, batch_size=32),
    "engine only": Load(prompts=64, prompt_tokens=64, samples=8, new_tokens=96, batch_size=256),
}


def run_engine(engine: Any, requests: Sequence[Request], new_tokens: int) -> int:
    """Our engine; returns the number of tokens."""
    completions = engine.generate(requests, Sampling(max_new_tokens=new_tokens))
    return sum(len(completion.token_ids) for samples in completions for completion in samples)


def run_transformers(model: Any, requests: Sequence[Request], load: Load, end_ids: Sequence[int]) -> int:
    """model.generate with the logits of every position, and log-probs and entropies from them; returns the tokens."""
    import torch

    count = 0
    prompts_per_batch = load.batch_size // load.samples
    for start in range(0, len(requests), prompts_per_batch):
        prompts = [request.prompt_ids for request in requests[start : start + prompts_per_batch]]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                num_return_sequences=load.samples,
                max_new_tokens=load.new_tokens,
                eos_token_id=list(end_ids),
                pad_token_id=0,
                return_dict_in_generate=True,
                output_logits=True,
            )
            tokens = output.sequences[:, width:]
            logprobs = torch.stack(output.logits, dim=1).log_softmax(-1)  # [rows, new tokens, vocabulary]
            logprobs.gather(-1, tokens[..., None])
            torch.sum(logprobs.exp() * logprobs, -1)
        count += count_until_end(tokens, end_ids)
    return count


def count_until_end(tokens: Any, end_ids: Sequence[int]) -> int:
    """Number of tokens up to each row's first end token, which counts; tokens: [rows, length]."""
    import torch

    is_end = torch.isin(tokens, torch.tensor(end_ids)).long()
    return int((is_end.cumsum(-1) - is_end == 0).sum())


def run_vllm(engine: Any, requests: Sequence[Request], new_tokens: int, *, flat: bool) -> int:
    """LLM.generate with the parameters that our engine asks for; returns the number of tokens.

    flat: log-probs as lists of numbers and no text. Otherwise as vLLM returns them by default.
    """
    from vllm import SamplingParams, TokensPrompt

    prompts, parameters = [], []
    for request in requests:
        for seed in request.seeds:
            prompts.append(TokensPrompt(prompt_token_ids=list(request.prompt_ids)))
            parameters.append(
                SamplingParams(
                    temperature=1.0,
                    max_tokens=new_tokens,
                    seed=seed,
                    logprobs=TOP,
                    stop_token_ids=engine.end_ids,
                    flat_logprobs=flat,
                    detokenize=not flat,
                )
            )
    outputs = engine.llm.generate(prompts, parameters, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def reset(engine: Any) -> None:
    """Empties vLLM's prefix cache: every way computes its prompts."""
    engine.llm.reset_prefix_cache()


def list_transformers_ways(engine: Any, requests: Sequence[Request], load: Load) -> list[Way]:
    end_ids = engine.settings["eos_ids"]
    return [
        Way("our transformers engine", GENERATE, lambda: run_engine(engine, requests, load.new_tokens)),
        Way(GENERATE, GENERATE, lambda: run_transformers(engine.model, requests, load, end_ids)),
    ]


def list_vllm_ways(engine: Any, requests: Sequence[Request], load: Load) -> list[Way]:
    def sample() -> int:
        reset(engine)
        return run_engine(engine, requests, load.new_tokens)

    def sample_bare(flat: bool) -> int:
        reset(engine)
        return run_vllm(engine, requests, load.new_tokens, flat=flat)

    return [
        Way("our vLLM engine", VLLM, sample),
        Way(VLLM, VLLM, lambda: sample_bare(True)),
        Way("LLM.generate, own output", VLLM, lambda: sample_bare(False)),
    ]


@contextmanager
def open_vllm(model: str, batch_size: int) -> Iterator[Any]:
    from heal.engines.vllm import VllmEngine

    engine = VllmEngine(model, dtype="float32", gpus=0, max_num_seqs=batch_size, top_logprobs=TOP)
    try:
        yield engine
    finally:
        engine.llm.llm_engine.engine_core.shutdown()


def open_transformers(model: str, batch_size: int, threads: int) -> Any:
    from heal.engines.transformers import TransformersEngine

    return TransformersEngine(model, device="cpu", batch_size=batch_size, threads=threads)


def make_teacher_requests(engine: Any, load: Load) -> list[Request]:
    """The mini world's questions, in the teacher's chat template."""
    from heal.worlds.mini import puzzles

    requests = []
    for number, problem in enumerate(puzzles.generate("dev", load.prompts, 0)):
        requests.append(Request(engine.tokenize_chat(problem.question), load.make_seeds(number)))
    return requests


def measure_case(table: Table, case: str, folder: Path, rounds: int, threads: int) -> None:
    load = LOADS[case]
    if case == "teacher":
        engine = open_transformers(str(TEACHER), load.batch_size, threads)
        requests = make_teacher_requests(engine, load)
        table.measure(case, list_transformers_ways(engine, requests, load), rounds)
        return
    sizes = LLAMA_135M if case == "llama" else ONE_LAYER
    model = save_llama(folder / case.replace(" ", "_"), sizes)
    requests = load.make_requests(sizes["vocab_size"])
    with open_vllm(model, load.batch_size) as vllm:
        ways = list_vllm_ways(vllm, requests, load)
        if case == "llama":
            ways += list_transformers_ways(open_transformers(model, load.batch_size, threads), requests, load)
        table.measure(case, ways, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(LOADS), default=list(LOADS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the transformers ways, and of vLLM")
    parser.add_argument("--out", type=Path, default=ROOT / "results/reference/benchmarks/engines.csv")
    arguments = parser.parse_args()
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(KV_SPACE_GIB)
    os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] = str(max(0, (os.cpu_count() or 1) - arguments.threads))
    settings = {"rounds": arguments.rounds, "threads": arguments.threads, "dtype": "float32", "log-probs of vLLM": TOP}
    table = Table("Engines against transformers.generate and vLLM's LLM.generate", settings)
    with (
        record_run(arguments.out, "benchmarks/engines.py", VERSION, {"options": settings}),
        tempfile.TemporaryDirectory() as folder,
    ):
        for case in arguments.cases:
            settings[case] = vars(LOADS[case])
            measure_case(table, case, Path(folder), arguments.rounds, arguments.threads)
            table.write(arguments.out)


if __name__ == "__main__":
    main()
