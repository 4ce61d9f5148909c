"""The reference engine: batched sampling and scoring with a transformers model, on a CPU or one GPU.

Reads a model folder with safetensors weights (nothing is unpickled, no code from the folder runs); writes
nothing. Own loop over the model: `model.generate` has no seed per sample, keeps the logits of all steps for
exact entropies, and goes on computing samples that have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

from heal.engines.base import (
    Branch,
    Completion,
    Engine,
    Request,
    Sampling,
    Score,
    check_sequence,
    first_line,
    hub_cure,
    load_tokenizer,
    template_hash,
)
from heal.engines.decoding import choose, chunks, measure, rank, reserved_cache, weigh
from heal.errors import HealError

log = logging.getLogger(__name__)

SCORE_TOKENS = 16_384  # tokens in one forward pass without cache: enough to keep any device busy
UNIFORMS = 64  # random numbers drawn per sample at a time
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class TransformersEngine(Engine):
    """See Engine. Raises HealError when the model cannot be loaded.

    model: folder, or owner/name on the hub (then give a `revision`). dtype: "float32", "bfloat16", "float16"
    or "auto" (the checkpoint's). device: "auto" (a GPU if there is one), "cpu", "cuda:0" and so on.
    batch_size: rows decoded together at most. batch_tokens: rows times their longest possible length, which
    bounds the cache. threads: CPU threads, None leaves them. template_options: for the chat template, as in
    {"enable_thinking": False}.
    """

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
        if threads is not None:
            torch.set_num_threads(threads)
        options = dict(template_options or {})
        tokenizer = load_tokenizer(model, revision)
        self.device = _device(device)
        self.model = _load(model, revision, dtype).to(self.device).eval()
        config = self.model.config.get_text_config()
        self.max_positions: int | None = getattr(config, "max_position_embeddings", None)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])
        self.eos_ids = _eos_ids(self.model.generation_config.eos_token_id, tokenizer.eos_token_id)
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        settings = {
            "engine": "transformers",
            "model": model,
            "revision": getattr(self.model.config, "_commit_hash", None) or revision,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.device),
            "device_name": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "attention": config._attn_implementation,
            "batch_size": batch_size,
            "batch_tokens": batch_tokens,
            "eos_ids": list(self.eos_ids),
            "template_sha256": template_hash(tokenizer),
            "template_options": options,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        super().__init__(tokenizer, settings, options)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        limits = [sampling.max_new_tokens if r.max_new_tokens is None else r.max_new_tokens for r in requests]
        for i, (request, limit) in enumerate(zip(requests, limits, strict=True)):
            # A limit of 0 is as wrong as a negative one.
            check_sequence(f"request {i}", request.prompt_ids, limit or -1, self.max_positions, self.vocabulary)
        rows = [(i, j) for i, request in enumerate(requests) for j in range(len(request.seeds))]
        # Longest first: what does not fit in memory shows at once. Equal prompts share a prefill.
        rows.sort(key=lambda row: (len(requests[row[0]].prompt_ids), requests[row[0]].prompt_ids), reverse=True)
        samples: list[list[Any]] = [[None] * len(request.seeds) for request in requests]

        def run(part: list[tuple[int, int]]) -> None:
            prompts = [requests[i].prompt_ids for i, _ in part]
            seeds = [requests[i].seeds[j] for i, j in part]
            made = self._decode(prompts, seeds, [limits[i] for i, _ in part], sampling)
            for (i, j), completion in zip(part, made, strict=True):
                samples[i][j] = completion
                self.usage.generated_tokens += len(completion.token_ids)

        self._in_batches(rows, [len(requests[i].prompt_ids) + limits[i] for i, _ in rows], self.batch_tokens, run)
        self.usage.prefill_tokens += sum(len(ids) for ids in {r.prompt_ids for r in requests if r.seeds})
        return samples

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        pairs = [([int(t) for t in context], [int(t) for t in new]) for context, new in sequences]
        for i, (context, new) in enumerate(pairs):
            check_sequence(f"sequence {i}", context, len(new), self.max_positions, self.vocabulary)
            check_sequence(f"sequence {i}", new or context, 0, None, self.vocabulary)
        lengths = [len(context) + len(new) for context, new in pairs]
        order = sorted((i for i, (_, new) in enumerate(pairs) if new), key=lambda i: -lengths[i])
        empty = np.zeros(0, np.float32)
        scores = [Score(empty, empty, ranks=np.zeros(0, np.int32))] * len(pairs)

        def run(part: list[int]) -> None:
            for i, score in zip(part, self._score([pairs[i] for i in part]), strict=True):
                scores[i] = score
                self.usage.prefill_tokens += len(pairs[i][0])
                self.usage.scored_tokens += len(pairs[i][1])

        self._in_batches(order, [lengths[i] for i in order], SCORE_TOKENS, run)
        return scores

    def _in_batches(self, items: list[Any], costs: list[int], budget: int, run: Callable[[list[Any]], None]) -> None:
        """Call `run` on consecutive parts of `items`: at most batch_size of them, number times largest cost
        within `budget`. A part that does not fit in memory is halved, and so are all later ones."""
        start = 0
        while start < len(items):
            stop, widest = start + 1, costs[start]
            while stop < len(items) and stop - start < self.batch_size:
                widest = max(widest, costs[stop])
                if (stop + 1 - start) * widest > budget:
                    break
                stop += 1
            try:
                run(items[start:stop])
                start = stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
            # Outside of the handler: there the traceback would still hold the tensors that filled the memory.
            if stop - start == 1:
                raise HealError(
                    f"one row of {costs[start]} tokens does not fit in the memory of {self.device}",
                    where=str(self.settings["model"]),
                    fix="lower max_new_tokens, use dtype bfloat16, a smaller model or a larger device",
                )
            self.batch_size = (stop - start) // 2
            log.warning("out of memory with %d rows; going on with %d at a time", stop - start, self.batch_size)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def _decode(
        self, prompts: list[tuple[int, ...]], seeds: list[int], limits: list[int], sampling: Sampling
    ) -> list[Completion]:
        """One batch, N rows. Row r has prompt prompts[r] and gives at most limits[r] tokens."""
        device, rows, steps = self.device, len(prompts), max(limits)
        unique = list(dict.fromkeys(prompts))
        number = {prompt: k for k, prompt in enumerate(unique)}
        width = max(map(len, unique))
        padded = torch.tensor([[0] * (width - len(p)) + list(p) for p in unique], device=device)
        padding = torch.tensor([width - len(p) for p in unique], device=device)
        mask = torch.arange(width + steps, device=device) >= padding[:, None]  # [prompts, width + steps]
        positions = (torch.arange(width, device=device) - padding[:, None]).clamp(min=0)
        cache = reserved_cache(self.model.config, width + steps)
        logits = self._forward(padded, mask[:, :width], positions, cache)
        copies = torch.tensor([number[p] for p in prompts], device=device)
        cache.reorder_cache(copies)
        logits, mask, padding = logits[copies], mask[copies], padding[copies]

        live = torch.arange(rows, device=device)  # the row that each line of the batch belongs to
        last = torch.tensor(limits, device=device) - 1
        eos = torch.tensor(self.eos_ids, dtype=torch.int64, device=device)
        tokens = torch.zeros(rows, steps, dtype=torch.int32, device=device)
        logprobs, entropies = torch.zeros(2, rows, steps, device=device)
        lengths = torch.zeros(rows, dtype=torch.int64, device=device)  # 0 until the row has ended
        streams = [np.random.Generator(np.random.Philox(key=seed)) for seed in seeds]
        uniforms = torch.empty(0)
        check_every = 1 if device.type == "cpu" else 8  # asking a GPU how many are live makes it wait
        for step in range(steps):
            if step % UNIFORMS == 0 and sampling.temperature > 0:
                drawn = np.stack([streams[r].random(UNIFORMS) for r in live.tolist()])
                uniforms = torch.from_numpy(drawn).to(device)  # [live, UNIFORMS]
            u = uniforms[:, step % UNIFORMS] if sampling.temperature > 0 else None
            chosen, logprobs[live, step], entropies[live, step] = choose(logits, u, sampling)
            tokens[live, step] = chosen.to(torch.int32)
            ended = torch.isin(chosen, eos) | (last[live] == step)
            lengths[live] = torch.where((lengths[live] == 0) & ended, step + 1, lengths[live])
            if step + 1 == steps:
                break
            if step % check_every == 0:
                kept = (lengths[live] == 0).nonzero()[:, 0]
                if not len(kept):
                    break
                # Moving the cache costs more than a step, so a few ended rows are carried along.
                if len(kept) < 0.75 * len(live):
                    cache.reorder_cache(kept)
                    live, mask, padding, chosen = live[kept], mask[kept], padding[kept], chosen[kept]
                    uniforms = uniforms[kept] if u is not None else uniforms
            # The clamp is for ended rows that are carried along: they may be past the model's last position.
            positions = (width + step - padding[:, None]).clamp(max=self.max_positions and self.max_positions - 1)
            logits = self._forward(chosen[:, None], mask[:, : width + step + 1], positions, cache)
        return self._completions(tokens, logprobs, entropies, lengths)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Logits [N, V] at the last of the positions given; the cache is extended in place."""
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def _completions(self, tokens: Tensor, logprobs: Tensor, entropies: Tensor, lengths: Tensor) -> list[Completion]:
        made = []
        arrays = (t.cpu().numpy() for t in (tokens, logprobs, entropies))
        for row in zip(*arrays, lengths.tolist(), strict=True):
            # Copies: a view would keep the whole batch in memory as long as one sample lives.
            ids, lp, h = (array[: row[3]].copy() for array in row[:3])
            self._check_finite(h)
            made.append(Completion(ids, lp, h, "stop" if int(ids[-1]) in self.eos_ids else "length"))
        return made

    @torch.inference_mode()
    def _score(self, pairs: list[tuple[list[int], list[int]]]) -> list[Score]:
        """One batch. Padded on the right: no position sees what follows it, so no mask is needed."""
        fed = [[*context, *continuation[:-1]] for context, continuation in pairs]
        width = max(map(len, fed))
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in fed], device=self.device)
        # The logits at position p are about token p + 1.
        wanted = [range(len(c) - 1, len(c) + len(n) - 1) for c, n in pairs]
        return self._measure_at(wanted, [n for _, n in pairs], width, input_ids=ids, use_cache=False)

    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        for i, (trunk, branches) in enumerate(trunks):
            for branch in branches:
                whole = [*trunk[: branch.at], *branch.cue, *branch.continuation]
                check_sequence(f"trunk {i}", whole, 0, self.max_positions, self.vocabulary)
        lengths = [len(trunk) + max(len(b.cue) + len(b.continuation) for b in branches) for trunk, branches in trunks]
        costs = [length * len(branches) for length, (_, branches) in zip(lengths, trunks, strict=True)]
        order = sorted(range(len(trunks)), key=lambda i: -costs[i])
        scores: list[list[np.ndarray]] = [[]] * len(trunks)

        def run(part: list[int]) -> None:
            for i, made in zip(part, self._score_branches([trunks[i] for i in part]), strict=True):
                scores[i] = made
                trunk, branches = trunks[i]
                self.usage.prefill_tokens += len(trunk) + sum(len(branch.cue) for branch in branches)
                self.usage.scored_tokens += sum(len(branch.continuation) for branch in branches)

        self._in_batches(order, [costs[i] for i in order], SCORE_TOKENS, run)
        return scores

    @torch.inference_mode()
    def _score_branches(self, trunks: list[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """One batch: every trunk goes through the model once, and its branches attend to what they keep of it."""
        device, width = self.device, max(len(trunk) for trunk, _ in trunks)
        padding = [width - len(trunk) for trunk, _ in trunks]
        padded = [[0] * pad + list(trunk) for pad, (trunk, _) in zip(padding, trunks, strict=True)]
        columns = torch.arange(width, device=device)
        start = torch.tensor(padding, device=device)
        cache = DynamicCache(config=self.model.config)
        positions = (columns - start[:, None]).clamp(min=0)
        self._forward(torch.tensor(padded, device=device), columns >= start[:, None], positions, cache)

        rows = [(k, branch) for k, (_, branches) in enumerate(trunks) for branch in branches]
        copies = torch.tensor([k for k, _ in rows], device=device)
        cache.reorder_cache(copies)
        fed = [[*branch.cue, *branch.continuation[:-1]] for _, branch in rows]
        longest = max(map(len, fed))
        branch_ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in fed], device=device)
        kept = torch.tensor([branch.at for _, branch in rows], device=device)
        seen = (columns >= start[copies, None]) & (columns < (start[copies] + kept)[:, None])
        mask = torch.cat([seen, torch.ones(len(rows), longest, dtype=torch.bool, device=device)], dim=1)
        wanted = [range(len(b.cue) - 1, len(b.cue) + len(b.continuation) - 1) for _, b in rows]
        measured = self._measure_at(
            wanted,
            [branch.continuation for _, branch in rows],
            longest,
            input_ids=branch_ids,
            attention_mask=mask,
            position_ids=kept[:, None] + torch.arange(longest, device=device),
            past_key_values=cache,
            use_cache=True,
        )
        made = (score.logprobs for score in measured)
        return [[next(made) for _ in branches] for _, branches in trunks]

    def _measure_at(
        self, wanted: Sequence[range], targets: Sequence[Sequence[int]], width: int, **inputs: Any
    ) -> list[Score]:
        """One forward pass of N rows of `width`; row r's logits at the positions wanted[r] are about targets[r]."""
        index = torch.tensor([r * width + p for r, at in enumerate(wanted) for p in at], device=self.device)
        tokens = torch.tensor([token for row in targets for token in row], device=self.device)

        def only_wanted(_: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (given[0].flatten(0, 1)[index][None],)

        # Before the head and not instead of it: the model's own code after it (soft caps, scales) still runs.
        hook = self.model.get_output_embeddings().register_forward_pre_hook(only_wanted)
        try:
            logits = self.model(**inputs).logits[0]  # [sum of sizes, V]
        finally:
            hook.remove()
        if logits.shape[0] != len(tokens):
            raise HealError("the model has no separate output layer", fix="use another model architecture")
        logprobs, entropies = torch.empty(2, len(tokens), device=self.device)
        ranks = torch.empty(len(tokens), dtype=torch.int32, device=self.device)
        for part in chunks(len(tokens), logits.shape[-1]):
            weighed = weigh(logits[part])
            logprobs[part], entropies[part] = measure(weighed, tokens[part])
            ranks[part] = rank(weighed[0], tokens[part])
        ends = np.cumsum([len(row) for row in targets])[:-1]
        split = [np.split(t.cpu().numpy(), ends) for t in (logprobs, entropies, ranks)]
        self._check_finite(entropies.cpu().numpy())
        return [Score(lp.copy(), h.copy(), ranks=r.copy()) for lp, h, r in zip(*split, strict=True)]

    def _check_finite(self, entropies: np.ndarray) -> None:
        if not np.isfinite(entropies).all():
            raise HealError(
                "the model gives logits that are not numbers",
                where=str(self.settings["model"]),
                fix="use dtype float32 or bfloat16 (float16 overflows), or check how it was trained",
            )


def _load(model: str, revision: str | None, dtype: str) -> Any:
    if dtype not in ("float32", "bfloat16", "float16", "auto"):
        raise HealError(f'dtype "{dtype}" is unknown', fix='use "float32", "bfloat16", "float16" or "auto"')
    try:
        return AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision,
            dtype=dtype,
            attn_implementation="sdpa",
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        folder = "give a folder with config.json and *.safetensors, of an architecture transformers knows"
        fix = folder if Path(model).is_dir() else hub_cure(model, revision)
        raise HealError(f"the model could not be loaded ({first_line(error)})", where=model, fix=fix) from error


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise HealError(f'device "{device}" is unknown', fix='use "auto", "cpu" or "cuda:0"') from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise HealError(f'there is no device "{device}"', fix='use "auto" or "cpu", or check CUDA_VISIBLE_DEVICES')
    return chosen


def _eos_ids(*found: int | list[int] | None) -> tuple[int, ...]:
    """All end tokens that the generation config and the tokenizer name."""
    ids = {int(i) for one in found if one is not None for i in (one if isinstance(one, list) else [one])}
    if not ids:
        log.warning("neither the model nor its tokenizer names an end token: every sample runs to its limit")
    return tuple(sorted(ids))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)
