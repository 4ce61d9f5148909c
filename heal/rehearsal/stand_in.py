"""A stand-in model: a tiny model of the preset's architecture, trained for about a minute on the rehearsal's problems.

Writes a model folder: safetensors, config, generation config, tokenizer with chat template. Only tokens that occur in
the training texts are trained. All other rows of the embedding are zero, and so their logits: the loss over the whole
vocabulary is exact, and costs as much as one over a few hundred tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from heal.rehearsal.architectures import shrink
from heal.rehearsal.traces import TraceWriter, tokenize

BATCH_SIZE = 8
PEAK_LEARNING_RATE = 6e-3
STEPS = {"teachers": 400, "students": 200}
"""Optimizer steps by role: a teacher has to give every kind of trace, a student has to end its turns."""
HINTED_SHARE = 0.5
IGNORED = -100


class ReducedVocabulary:
    """The tokens that occur in the training texts: their ids, and their places in a small vocabulary."""

    def __init__(self, texts: Sequence[tuple[list[int], int]]) -> None:
        self.ids = sorted({token for ids, _ in texts for token in ids})
        self.places = {token: place for place, token in enumerate(self.ids)}


def train_stand_in(
    config: Any, tokenizer: Any, writer: TraceWriter, end_id: int, base: bool, positions: int, steps: int, seed: int
) -> Any:
    """The trained stand-in. base: it rambles on after its turn. positions: its longest sequence. steps: of the
    optimizer."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)  # the model is too small for more
    torch.manual_seed(seed)
    texts = []
    for conversation in writer.write(BATCH_SIZE * steps // 2, 0.0 if base else HINTED_SHARE):
        texts.append(tokenize(conversation, tokenizer, end_id, base))
    reduced = ReducedVocabulary(texts)
    small = AutoModelForCausalLM.from_config(shrink(config, positions, len(reduced.ids)), dtype=torch.float32)
    log_unused = math.log(config.vocab_size - len(reduced.ids))
    optimizer = torch.optim.AdamW(small.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(steps):
        start = step * BATCH_SIZE % (len(texts) - BATCH_SIZE)
        inputs, labels = make_batch(texts[start : start + BATCH_SIZE], reduced, torch)
        rate = PEAK_LEARNING_RATE * min(1.0, (step + 1) / 20, 1.2 * (1 - step / steps) + 0.02)
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = small(input_ids=inputs).logits[:, :-1].float()
        unused = torch.full((*logits.shape[:-1], 1), log_unused)
        loss = torch.nn.functional.cross_entropy(
            torch.cat([logits, unused], -1).flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(small.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return widen(small, config, reduced, positions)


def make_batch(texts: Sequence[tuple[list[int], int]], reduced: ReducedVocabulary, torch: Any) -> tuple[Any, Any]:
    """Inputs and labels [batch, tokens], padded at the end."""
    longest = max(len(ids) for ids, _ in texts)
    inputs = torch.zeros((len(texts), longest), dtype=torch.long)
    labels = torch.full((len(texts), longest), IGNORED)
    for row, (ids, n_context) in enumerate(texts):
        places = torch.tensor([reduced.places[token] for token in ids])
        inputs[row, : len(ids)] = places
        labels[row, n_context : len(ids)] = places[n_context:]
    return inputs, labels


def widen(small: Any, config: Any, reduced: ReducedVocabulary, positions: int) -> Any:
    """The model with the whole vocabulary; embeddings of tokens that were not trained are zero."""
    import torch
    from transformers import AutoModelForCausalLM

    full = AutoModelForCausalLM.from_config(shrink(config, positions, config.vocab_size), dtype=torch.float32)
    weights = dict(small.state_dict())
    rows = torch.tensor(reduced.ids)
    with torch.no_grad():
        for name, parameter in full.state_dict().items():
            if parameter.shape == weights[name].shape:
                parameter.copy_(weights[name])
            else:
                parameter.zero_()
                parameter[rows] = weights[name]
    return full
