"""The reference engine: batched sampling and scoring with a transformers model, on a CPU or one GPU.

Reads a model folder with safetensors weights (nothing is unpickled, no code from the folder runs); writes nothing.
This module sorts requests into batches and halves a batch that does not fit in memory; heal.engines.batched_model
computes a batch. Importing this module does not import torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
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
    hash_template,
    load_tokenizer,
)
from heal.errors import HealError
from heal.skip_sklearn import skip_sklearn

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import ModelSource

log = logging.getLogger(__name__)

SCORE_TOKENS = 16_384  # tokens in one forward pass without cache: enough to keep any device busy


class TransformersEngine(Engine):
    """See Engine. Raises HealError when the model cannot be loaded.

    model: folder, or owner/name on the hub (then give a `revision`). dtype: "float32", "bfloat16", "float16" or "auto"
    (the checkpoint's). device: "auto" (a GPU if there is one), "cpu", "cuda:0" and so on. batch_size: maximum number of
    rows decoded together. batch_tokens: maximum of rows times their longest possible length, which bounds the cache.
    threads: CPU threads, None leaves them. template_options: for the chat template, as in {"enable_thinking": False}.
    """

    name = "transformers"

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int = 512,
        batch_tokens: int = 2**18,
        threads: int | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        import torch
        import transformers

        skip_sklearn()
        from heal.engines import batched_model

        if threads is not None:
            torch.set_num_threads(threads)
        options = dict(template_options or {})
        tokenizer = load_tokenizer(model, revision)
        chosen_device = batched_model.find_device(device)
        self.model = batched_model.load_model(model, revision, dtype).to(chosen_device).eval()
        config = self.model.config.get_text_config()
        max_positions = getattr(config, "max_position_embeddings", None)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])
        end_token_id = find_end_token_id(tokenizer, model, options)
        end_ids = collect_end_ids(end_token_id, self.model.generation_config.eos_token_id, tokenizer.eos_token_id)
        self.batches = batched_model.BatchedModel(self.model, model, chosen_device, tuple(end_ids), max_positions)
        self.is_out_of_memory = batched_model.is_out_of_memory
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        settings = {
            "engine": self.name,
            "model": model,
            "revision": getattr(self.model.config, "_commit_hash", None) or revision,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(chosen_device),
            "device_name": torch.cuda.get_device_name(chosen_device) if chosen_device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "attention": config._attn_implementation,
            "batch_size": batch_size,
            "batch_tokens": batch_tokens,
            "eos_ids": end_ids,
            "template_sha256": hash_template(tokenizer),
            "template_options": options,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        super().__init__(tokenizer, settings, end_token_id, max_positions, options)

    @classmethod
    def from_options(cls, model: ModelSource, options: EngineOptions, gpus: int) -> TransformersEngine:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # the commands print their own progress
        return cls(
            model.path,
            revision=model.revision,
            dtype=options.dtype,
            device=options.device,
            batch_size=options.max_num_seqs,
            threads=options.threads,
            template_options=model.template_options,
        )

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        limits = check_requests(requests, sampling, self.max_positions, self.vocabulary)
        rows: list[tuple[int, int]] = []  # (index of the request, index of the seed)
        samples: list[list[Any]] = []
        for i, request in enumerate(requests):
            samples.append([None] * len(request.seeds))
            for j in range(len(request.seeds)):
                rows.append((i, j))
        # Longest first: what does not fit in memory shows at once. Equal prompts share a prefill.
        rows.sort(key=lambda row: (len(requests[row[0]].prompt_ids), requests[row[0]].prompt_ids), reverse=True)
        costs = [len(requests[i].prompt_ids) + limits[i] for i, _ in rows]

        def run(part: list[tuple[int, int]]) -> None:
            prompts, seeds, part_limits = [], [], []
            for i, j in part:
                prompts.append(requests[i].prompt_ids)
                seeds.append(requests[i].seeds[j])
                part_limits.append(limits[i])
            completions = self.batches.decode(prompts, seeds, part_limits, sampling)
            for (i, j), completion in zip(part, completions, strict=True):
                samples[i][j] = completion
                self.usage.generated_tokens += len(completion.token_ids)

        self.run_in_batches(rows, costs, self.batch_tokens, run)
        self.usage.add_prompts(requests)
        return samples

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        pairs: list[tuple[list[int], list[int]]] = []
        for i, (context, new) in enumerate(sequences):
            pair = list(map(int, context)), list(map(int, new))
            check_sequence(f"sequence {i}", pair[0], len(pair[1]), self.max_positions, self.vocabulary)
            check_sequence(f"sequence {i}", pair[1] or pair[0], 0, None, self.vocabulary)
            pairs.append(pair)

        def get_length(i: int) -> int:
            return len(pairs[i][0]) + len(pairs[i][1])

        order = sorted((i for i in range(len(pairs)) if pairs[i][1]), key=lambda i: -get_length(i))
        empty = np.zeros(0, np.float32)
        scores = [Score(empty, empty, ranks=np.zeros(0, np.int32))] * len(pairs)

        def run(part: list[int]) -> None:
            for i, score in zip(part, self.batches.score([pairs[i] for i in part]), strict=True):
                scores[i] = score
                self.usage.prefill_tokens += len(pairs[i][0])
                self.usage.scored_tokens += len(pairs[i][1])

        self.run_in_batches(order, list(map(get_length, order)), SCORE_TOKENS, run)
        return scores

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        costs = []
        for i, (trunk, branches) in enumerate(trunks):
            longest = 0
            for branch in branches:
                sequence = [*trunk[: branch.at], *branch.cue, *branch.continuation]
                check_sequence(f"trunk {i}", sequence, 0, self.max_positions, self.vocabulary)
                longest = max(longest, len(branch.cue) + len(branch.continuation))
            costs.append((len(trunk) + longest) * len(branches))
        order = sorted(range(len(trunks)), key=lambda i: -costs[i])
        scores: list[list[np.ndarray]] = [[]] * len(trunks)

        def run(part: list[int]) -> None:
            for i, logprobs in zip(part, self.batches.score_branches([trunks[i] for i in part]), strict=True):
                scores[i] = logprobs
                self.usage.add_branches(*trunks[i])

        self.run_in_batches(order, list(map(costs.__getitem__, order)), SCORE_TOKENS, run)
        return scores

    def run_in_batches(self, items: list[Any], costs: list[int], budget: int, run: Callable[[list[Any]], None]) -> None:
        """Calls `run` on consecutive parts of `items`: at most batch_size of them, number times largest cost in budget.

        A part that does not fit in memory is halved, and so are all later ones. Raises HealError where a single item
        does not fit.
        """
        start = 0
        while start < len(items):
            stop, largest = start + 1, costs[start]
            while stop < len(items) and stop - start < self.batch_size:
                largest = max(largest, costs[stop])
                if (stop + 1 - start) * largest > budget:
                    break
                stop += 1
            try:
                run(items[start:stop])
                start = stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not self.is_out_of_memory(error):
                    raise
            # Outside of the handler: there the traceback would still hold the tensors that filled the memory.
            if stop - start == 1:
                raise HealError(
                    f"one row of {costs[start]} tokens does not fit in the memory of {self.settings['device']}",
                    where=str(self.settings["model"]),
                    fix="lower max_new_tokens, use dtype bfloat16, a smaller model or a larger device",
                )
            self.batch_size = (stop - start) // 2
            log.warning("out of memory with %d rows; going on with %d at a time", stop - start, self.batch_size)
            self.batches.free_memory()
