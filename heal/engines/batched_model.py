"""A transformers model that decodes and scores one batch per call: the tensor work of the transformers engine.

Own loop over the model: `model.generate` has no seed per sample, keeps the logits of all positions for exact entropies,
and goes on computing samples that have ended.

N: rows of a batch. V: size of the vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

from heal.engines.base import (
    Branch,
    Completion,
    Sampling,
    Score,
    check_safetensors,
    explain_hub_fix,
    get_first_line,
)
from heal.engines.decoding import choose_tokens, make_reserved_cache, measure_tokens, rank_tokens, split_rows, weigh
from heal.errors import HealError

log = logging.getLogger(__name__)

UNIFORMS = 64  # random numbers drawn per sample at a time
DTYPES = ("float32", "bfloat16", "float16", "auto")
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@dataclass(eq=False)
class BatchedModel:
    """One loaded model. max_positions: its longest sequence in tokens, None without a limit."""

    model: Any
    path: str
    device: torch.device
    end_ids: tuple[int, ...]
    max_positions: int | None

    @torch.inference_mode()
    def decode(
        self, prompts: Sequence[tuple[int, ...]], seeds: Sequence[int], limits: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """Completions of N rows: row r continues prompts[r] by at most limits[r] tokens, with its own seed."""
        device, longest = self.device, max(limits)
        unique: dict[tuple[int, ...], int] = {}
        for prompt in prompts:
            unique.setdefault(prompt, len(unique))
        padded, padding = pad_rows(list(unique), device, left=True)
        width = padded.shape[1]
        mask = torch.arange(width + longest, device=device) >= padding[:, None]  # [prompts, width + longest]
        positions = (torch.arange(width, device=device) - padding[:, None]).clamp(min=0)
        cache = make_reserved_cache(self.model.config, width + longest)
        logits = self.forward(padded, mask[:, :width], positions, cache)
        copies = torch.tensor(list(map(unique.__getitem__, prompts)), device=device)
        cache.reorder_cache(copies)
        logits, mask, padding = logits[copies], mask[copies], padding[copies]

        output = DecodedRows(len(prompts), longest, device)
        live = torch.arange(len(prompts), device=device)  # the row that each line of the batch belongs to
        last = torch.tensor(limits, device=device) - 1
        eos = torch.tensor(self.end_ids, dtype=torch.int64, device=device)
        streams = list(map(make_stream, seeds))
        uniforms = torch.empty(0)
        check_every = 1 if device.type == "cpu" else 8  # asking a GPU how many rows are live makes it wait
        for t in range(longest):
            if t % UNIFORMS == 0 and sampling.temperature > 0:
                numbers = np.stack([streams[row].random(UNIFORMS) for row in live.tolist()])
                uniforms = torch.from_numpy(numbers).to(device)  # [live, UNIFORMS]
            u = uniforms[:, t % UNIFORMS] if sampling.temperature > 0 else None
            tokens = output.choose(logits, u, sampling, live, t)
            output.mark_ended(live, torch.isin(tokens, eos) | (last[live] == t), t)
            if t + 1 == longest:
                break
            if t % check_every == 0:
                open_lines = (output.lengths[live] == 0).nonzero()[:, 0]
                if not len(open_lines):
                    break
                # Moving the cache costs more than one forward pass, so a few ended rows are carried along.
                if len(open_lines) < 0.75 * len(live):
                    cache.reorder_cache(open_lines)
                    live, mask, padding = live[open_lines], mask[open_lines], padding[open_lines]
                    tokens = tokens[open_lines]
                    uniforms = uniforms[open_lines] if u is not None else uniforms
            # The clamp is for ended rows that are carried along: they may be past the model's last position.
            positions = (width + t - padding[:, None]).clamp(max=self.max_positions and self.max_positions - 1)
            logits = self.forward(tokens[:, None], mask[:, : width + t + 1], positions, cache)
        return self.collect_completions(output)

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Logits [N, V] at the last position; the cache is extended in place."""
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def collect_completions(self, output: DecodedRows) -> list[Completion]:
        """The rows as completions. Raises HealError for logits that are not numbers."""
        tokens, logprobs, entropies = output.tokens.cpu(), output.logprobs.cpu(), output.entropies.cpu()
        completions = []
        for row, length in enumerate(output.lengths.tolist()):
            # Copies: a view would keep the whole batch in memory as long as one sample lives.
            ids = tokens[row].numpy()[:length].copy()
            entropies_T = entropies[row].numpy()[:length].copy()
            self.check_finite(entropies_T)
            reason: Literal["stop", "length"] = "stop" if int(ids[-1]) in self.end_ids else "length"
            completions.append(Completion(ids, logprobs[row].numpy()[:length].copy(), entropies_T, reason))
        return completions

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Score]:
        """Scores of the (context, continuation) pairs. A continuation has at least one token."""
        inputs, wanted, targets = [], [], []
        for context, continuation in pairs:
            inputs.append([*context, *continuation[:-1]])
            # The logits at position p are about token p + 1.
            wanted.append(range(len(context) - 1, len(context) + len(continuation) - 1))
            targets.append(continuation)
        # Padded on the right: no position sees what follows it, so no mask is needed.
        ids, _ = pad_rows(inputs, self.device, left=False)
        return self.measure_at(wanted, targets, ids.shape[1], input_ids=ids, use_cache=False)

    @torch.inference_mode()
    def score_branches(self, trunks: Sequence[tuple[Sequence[int], Sequence[Branch]]]) -> list[list[np.ndarray]]:
        """Log-probs of each trunk's branches: a trunk is computed once, its branches attend to their part of it."""
        device = self.device
        padded, start = pad_rows([trunk for trunk, _ in trunks], device, left=True)
        width = padded.shape[1]
        columns = torch.arange(width, device=device)
        cache = DynamicCache(config=self.model.config)
        positions = (columns - start[:, None]).clamp(min=0)
        self.forward(padded, columns >= start[:, None], positions, cache)

        trunk_numbers, inputs, wanted, targets, cuts = [], [], [], [], []
        for number, (_, branches) in enumerate(trunks):
            for branch in branches:
                trunk_numbers.append(number)
                inputs.append([*branch.cue, *branch.continuation[:-1]])
                wanted.append(range(len(branch.cue) - 1, len(branch.cue) + len(branch.continuation) - 1))
                targets.append(branch.continuation)
                cuts.append(branch.at)
        copies = torch.tensor(trunk_numbers, device=device)
        cache.reorder_cache(copies)
        branch_ids, _ = pad_rows(inputs, device, left=False)
        longest = branch_ids.shape[1]
        cut = torch.tensor(cuts, device=device)
        seen = (columns >= start[copies, None]) & (columns < (start[copies] + cut)[:, None])
        mask = torch.cat([seen, torch.ones(len(inputs), longest, dtype=torch.bool, device=device)], dim=1)
        scores = self.measure_at(
            wanted,
            targets,
            longest,
            input_ids=branch_ids,
            attention_mask=mask,
            position_ids=cut[:, None] + torch.arange(longest, device=device),
            past_key_values=cache,
            use_cache=True,
        )
        logprobs: list[list[np.ndarray]] = [[] for _ in trunks]
        for number, score in zip(trunk_numbers, scores, strict=True):
            logprobs[number].append(score.logprobs)
        return logprobs

    def measure_at(
        self, wanted: Sequence[range], targets: Sequence[Sequence[int]], width: int, **inputs: Any
    ) -> list[Score]:
        """One forward pass of N rows of `width` tokens; row r's logits at positions wanted[r] predict targets[r]."""
        flat_positions: list[int] = []
        flat_targets: list[int] = []
        ends = []
        for row, positions in enumerate(wanted):
            flat_positions += range(row * width + positions.start, row * width + positions.stop)
            flat_targets += targets[row]
            ends.append(len(flat_targets))
        index = torch.tensor(flat_positions, device=self.device)
        tokens = torch.tensor(flat_targets, device=self.device)

        def select_positions(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (arguments[0].flatten(0, 1)[index][None],)

        # Before the head and not instead of it: the model's own code after it (soft caps, scales) still runs.
        hook = self.model.get_output_embeddings().register_forward_pre_hook(select_positions)
        try:
            logits = self.model(**inputs).logits[0]  # [sum of the rows' targets, V]
        finally:
            hook.remove()
        if logits.shape[0] != len(tokens):
            raise HealError("the model has no separate output layer", fix="use another model architecture")
        logprobs, entropies = torch.empty(2, len(tokens), device=self.device)
        ranks = torch.empty(len(tokens), dtype=torch.int32, device=self.device)
        for part in split_rows(len(tokens), logits.shape[-1]):
            weighed = weigh(logits[part])
            logprobs[part], entropies[part] = measure_tokens(weighed, tokens[part])
            ranks[part] = rank_tokens(weighed[0], tokens[part])
        all_logprobs, all_entropies, all_ranks = logprobs.cpu().numpy(), entropies.cpu().numpy(), ranks.cpu().numpy()
        self.check_finite(all_entropies)
        scores = []
        for start, end in zip([0, *ends], ends, strict=False):
            row_ranks = all_ranks[start:end].copy()
            scores.append(Score(all_logprobs[start:end].copy(), all_entropies[start:end].copy(), ranks=row_ranks))
        return scores

    def check_finite(self, entropies: np.ndarray) -> None:
        """Raises HealError where an entropy is not a number."""
        if not np.isfinite(entropies).all():
            raise HealError(
                "the model gives logits that are not numbers",
                where=self.path,
                fix="use dtype float32 or bfloat16 (float16 overflows), or check how it was trained",
            )

    def free_memory(self) -> None:
        """Returns cached GPU memory to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class DecodedRows:
    """Tokens, log-probs and entropies of N rows while they are decoded; [N, longest], 0 beyond a row's length."""

    def __init__(self, rows: int, longest: int, device: torch.device) -> None:
        self.tokens = torch.zeros(rows, longest, dtype=torch.int32, device=device)
        self.logprobs, self.entropies = torch.zeros(2, rows, longest, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)  # 0 until the row has ended

    def choose(self, logits: Tensor, uniforms: Tensor | None, sampling: Sampling, live: Tensor, t: int) -> Tensor:
        """Chooses and stores token t of the live rows; returns it, int64 [live]."""
        tokens, self.logprobs[live, t], self.entropies[live, t] = choose_tokens(logits, uniforms, sampling)
        self.tokens[live, t] = tokens.to(torch.int32)
        return tokens

    def mark_ended(self, live: Tensor, ended: Tensor, t: int) -> None:
        """Sets the length of the live rows whose token t is their last, unless they had ended before."""
        self.lengths[live] = torch.where((self.lengths[live] == 0) & ended, t + 1, self.lengths[live])


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids padded with 0 on one side, int64 [N, width], and the number of padding tokens per row, int64 [N]."""
    width = max(map(len, rows))
    padded = np.zeros((len(rows), width), np.int64)
    padding = np.zeros(len(rows), np.int64)
    for number, row in enumerate(rows):
        padding[number] = width - len(row)
        start = width - len(row) if left else 0
        padded[number, start : start + len(row)] = row
    return torch.from_numpy(padded).to(device), torch.from_numpy(padding).to(device)


def make_stream(seed: int) -> np.random.Generator:
    """A sample's own stream of random numbers."""
    return np.random.Generator(np.random.Philox(key=seed))


def load_model(path: str, revision: str | None, dtype: str) -> Any:
    """The model of a folder or of the hub, on the CPU. Raises HealError where it cannot be loaded."""
    if dtype not in DTYPES:
        raise HealError(f'dtype "{dtype}" is unknown', fix='use "float32", "bfloat16", "float16" or "auto"')
    if Path(path).is_dir():
        check_safetensors(Path(path))
    try:
        return AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            attn_implementation="sdpa",
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        folder = "give a folder with config.json and *.safetensors, of an architecture transformers knows"
        fix = folder if Path(path).is_dir() else explain_hub_fix(path, revision)
        raise HealError(f"the model could not be loaded ({get_first_line(error)})", where=path, fix=fix) from error


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU. Raises HealError for one that does not exist."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise HealError(f'device "{name}" is unknown', fix='use "auto", "cpu" or "cuda:0"') from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise HealError(f'there is no device "{name}"', fix='use "auto" or "cpu", or check CUDA_VISIBLE_DEVICES')
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)
