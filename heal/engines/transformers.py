"""The reference engine: batched sampling and scoring with a transformers model, on a CPU or one GPU.

Reads a model folder with safetensors weights (nothing is unpickled, no code from the folder runs); writes
nothing. Own loop over the model: `model.generate` has no seed per sample, keeps the logits of all steps for
exact entropies, and goes on computing samples that have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import DynamicLayer

from heal.engines.base import (
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

log = logging.getLogger(__name__)

SCORE_TOKENS = 16_384  # tokens in one forward pass without cache: enough to keep any device busy
LOGITS = 2**27  # logits held at once in 4 bytes: half a gigabyte
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
            check_sequence(
                f"request {i}", request.prompt_ids, limit or -1, self.max_positions, self.vocabulary
            )
        rows = [(i, j) for i, request in enumerate(requests) for j in range(len(request.seeds))]
        # Longest first: what does not fit in memory shows at once. Equal prompts share a prefill.
        rows.sort(
            key=lambda row: (len(requests[row[0]].prompt_ids), requests[row[0]].prompt_ids), reverse=True
        )
        samples: list[list[Any]] = [[None] * len(request.seeds) for request in requests]

        def run(part: list[tuple[int, int]]) -> None:
            prompts = [requests[i].prompt_ids for i, _ in part]
            seeds = [requests[i].seeds[j] for i, j in part]
            made = self._decode(prompts, seeds, [limits[i] for i, _ in part], sampling)
            for (i, j), completion in zip(part, made, strict=True):
                samples[i][j] = completion
                self.usage.generated_tokens += len(completion.token_ids)

        self._in_batches(
            rows, [len(requests[i].prompt_ids) + limits[i] for i, _ in rows], self.batch_tokens, run
        )
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
        scores = [Score(empty, empty)] * len(pairs)

        def run(part: list[int]) -> None:
            for i, score in zip(part, self._score([pairs[i] for i in part]), strict=True):
                scores[i] = score
                self.usage.prefill_tokens += len(pairs[i][0])
                self.usage.scored_tokens += len(pairs[i][1])

        self._in_batches(order, [lengths[i] for i in order], SCORE_TOKENS, run)
        return scores

    def _in_batches(
        self, items: list[Any], costs: list[int], budget: int, run: Callable[[list[Any]], None]
    ) -> None:
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
                    cure="lower max_new_tokens, use dtype bfloat16, a smaller model or a larger device",
                )
            self.batch_size = (stop - start) // 2
            log.warning(
                "out of memory with %d rows; going on with %d at a time", stop - start, self.batch_size
            )
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
        cache = _reserved_cache(self.model.config, width + steps)
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
            positions = (width + step - padding[:, None]).clamp(
                max=self.max_positions and self.max_positions - 1
            )
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

    def _completions(
        self, tokens: Tensor, logprobs: Tensor, entropies: Tensor, lengths: Tensor
    ) -> list[Completion]:
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
        sizes = [len(continuation) for _, continuation in pairs]
        # The logits at position p are about token p + 1.
        wanted = [
            r * width + p for r, (c, n) in enumerate(pairs) for p in range(len(c) - 1, len(c) + len(n) - 1)
        ]
        index = torch.tensor(wanted, device=self.device)
        targets = torch.tensor([t for _, continuation in pairs for t in continuation], device=self.device)

        def only_wanted(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0].flatten(0, 1)[index][None],)

        # Before the head and not instead of it: the model's own code after it (soft caps, scales) still runs.
        hook = self.model.get_output_embeddings().register_forward_pre_hook(only_wanted)
        try:
            logits = self.model(input_ids=ids, use_cache=False).logits[0]  # [sum of sizes, V]
        finally:
            hook.remove()
        if logits.shape[0] != len(targets):
            raise HealError("the model has no separate output layer", cure="use another model architecture")
        logprobs, entropies = torch.empty(2, len(targets), device=self.device)
        for part in _chunks(len(targets), logits.shape[-1]):
            logprobs[part], entropies[part] = measure(weigh(logits[part]), targets[part])
        ends = np.cumsum(sizes)[:-1]
        split = [np.split(t.cpu().numpy(), ends) for t in (logprobs, entropies)]
        self._check_finite(entropies.cpu().numpy())
        return [Score(lp.copy(), h.copy()) for lp, h in zip(*split, strict=True)]

    def _check_finite(self, entropies: np.ndarray) -> None:
        if not np.isfinite(entropies).all():
            raise HealError(
                "the model gives logits that are not numbers",
                where=str(self.settings["model"]),
                cure="use dtype float32 or bfloat16 (float16 overflows), or check how it was trained",
            )


def weigh(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits shifted to a maximum of 0 [N, V], their exponentials [N, V], the sums of these [N]; float32."""
    shifted = logits.float()
    # Entries of -inf (padded vocabularies) are made finite, so that 0 * -inf does not spoil the entropy.
    shifted = (shifted - shifted.amax(-1, keepdim=True)).clamp_(min=-1e30)
    weights = shifted.exp()
    return shifted, weights, weights.sum(-1)


def measure(weighed: tuple[Tensor, Tensor, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """ln p of `tokens` [N] and entropy over the whole vocabulary [N] (nats), from `weigh(raw logits)`."""
    shifted, weights, total = weighed
    log_total = total.log()
    entropy = log_total - torch.linalg.vecdot(weights, shifted) / total
    return shifted.gather(-1, tokens[:, None])[:, 0] - log_total, entropy.clamp_(min=0)


def choose(logits: Tensor, uniforms: Tensor | None, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Next tokens [N] (int64), and ln p [N] and entropy [N] (nats) as in `measure`.

    logits: [N, V]. uniforms: float64 [N] in [0, 1), one per row; None is greedy. A token is drawn by
    inverting the cumulative distribution at its uniform number, so that a row does not depend on the others.
    """
    parts = []
    for part in _chunks(*logits.shape):
        weighed = weigh(logits[part])
        if uniforms is None:
            tokens = weighed[0].argmax(-1)
        else:
            tokens = _invert(_shape(*weighed[:2], sampling), uniforms[part])
        parts.append((tokens, *measure(weighed, tokens)))
    tokens, logprobs, entropies = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return tokens, logprobs, entropies


def _shape(shifted: Tensor, weights: Tensor, sampling: Sampling) -> Tensor:
    """Unnormalised probabilities [N, V] to sample from: temperature, then top-p, as transformers does."""
    if sampling.temperature == 1 and sampling.top_p == 1:
        return weights
    scores = shifted
    if sampling.temperature != 1:
        scores = TemperatureLogitsWarper(float(sampling.temperature))(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(float(sampling.top_p))(None, scores)
    return scores.exp()


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first entry whose cumulative sum exceeds `uniforms` times the total. float64: V can be 200,000."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    aim = (uniforms * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, aim, right=True)[:, 0].clamp_(max=weights.shape[-1] - 1)


def _chunks(rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, LOGITS // vocabulary)
    return (slice(start, start + size) for start in range(0, rows, size))


class ReservedLayer(DynamicLayer):
    """A cache layer with room for all steps to come, set aside by the first `reorder_cache`.

    Joining tensors at every step, as DynamicLayer does, copies the whole cache at every step. Setting the
    room aside at once also makes a lack of memory show at the start of a batch and not hours later.
    """

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.room: list[Tensor] = []  # keys, values: [N, heads, positions, size]; self.keys is a view

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.room:
            return super().update(key_states, value_states, *args, **kwargs)
        old, new = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[..., old:new, :] = states
        self.keys, self.values = (room[..., :new, :] for room in self.room)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Line i becomes what line beam_idx[i] was. The second time, the indices must ascend without repeats:
        then nothing is overwritten before it has been moved, and no second cache is needed meanwhile."""
        count, filled, old = len(beam_idx), self.keys.shape[-2], (self.keys, self.values)
        if self.room:
            self.room = [room[:count] for room in self.room]
        else:
            self.room = [t.new_empty(count, t.shape[1], self.positions, t.shape[3]) for t in old]
        size = max(16, count // 8)
        for room, source in zip(self.room, old, strict=True):
            for start in range(0, count, size):
                room[start : start + size, :, :filled] = source[beam_idx[start : start + size]]
        self.keys, self.values = (room[..., :filled, :] for room in self.room)


def _reserved_cache(config: Any, positions: int) -> DynamicCache:
    """The cache that fits the model, its plain layers replaced (sliding windows and the like stay)."""
    cache = DynamicCache(config=config)
    cache.layers = [ReservedLayer(positions) if type(x) is DynamicLayer else x for x in cache.layers]
    return cache


def _load(model: str, revision: str | None, dtype: str) -> Any:
    if dtype not in ("float32", "bfloat16", "float16", "auto"):
        raise HealError(f'dtype "{dtype}" is unknown', cure='use "float32", "bfloat16", "float16" or "auto"')
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
        raise HealError(
            f"the model could not be loaded ({first_line(error)})",
            where=model,
            cure="give a folder with config.json and *.safetensors, of an architecture transformers knows",
        ) from error


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise HealError(f'device "{device}" is unknown', cure='use "auto", "cpu" or "cuda:0"') from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise HealError(
            f'there is no device "{device}"', cure='use "auto" or "cpu", or check CUDA_VISIBLE_DEVICES'
        )
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
