"""Requests to vLLM and what comes back, in memory that does not grow with the length of the texts.

vLLM keeps 2.3 kB per token, the 20 likeliest tokens of each position as Python objects, until all requests of a call
have ended. Here requests are added as others end, each output is passed on as it ends, and each position is reduced
to log-prob, entropy bounds and rank (16 bytes) as it comes.

Importing this module imports vllm. `output_processor.request_states` and `logprobs_processor` are vLLM's own, of the
version that requirements/ pins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.inputs import tokens_input
from vllm.logprobs import FlatLogprobs
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError

from heal.errors import HealError
from heal.method.entropy import bound_entropies

BLOCK = 2**12
"""Log-probs that are held as they came, per request, in memory that is reserved once: growing lists fragment it."""


class TokenMeasures(FlatLogprobs):
    """Log-prob, entropy bounds and rank of each token from position `start` on, reduced block by block.

    vLLM lists the token itself first, then the K likeliest ones. It calls `append` for a position without log-probs
    (the first of a prompt), and `append_fast` for every other one.
    """

    def __init__(self, vocabulary: int, start: int = 0) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.start = start
        self.positions = 0
        self.reduced: list[np.ndarray] = []  # float32 [3, positions of a block]: log-prob, lower and upper bound
        self.ranks: list[np.ndarray] = []  # int32 [positions of a block]
        self.held = 0  # positions in the block
        self.block = np.empty((0, 1), np.float32)  # [positions, 1 + K], as vLLM lists them
        self.block_ranks = np.empty(0, np.int32)

    def __len__(self) -> int:
        return self.positions

    def append(self, logprobs_one_position: Any) -> None:
        self.positions += 1

    def append_fast(self, token_ids: list[int], logprobs: list[float], ranks: Any, decoded_tokens: Any) -> None:
        self.positions += 1
        if self.positions <= self.start:
            return
        if not len(self.block):
            size = max(1, BLOCK // len(logprobs))
            self.block = np.empty((size, len(logprobs)), np.float32)
            self.block_ranks = np.empty(size, np.int32)
        self.block[self.held] = logprobs
        self.block_ranks[self.held] = next(ranks)
        self.held += 1
        if self.held == len(self.block):
            self.reduce()

    def reduce(self) -> None:
        """Turns the positions held into four numbers each."""
        table = self.block[: self.held].astype(np.float64)
        low, high = bound_entropies(table[:, 1:], self.vocabulary)
        self.reduced.append(np.stack([table[:, 0], low, high]).astype(np.float32))
        self.ranks.append(self.block_ranks[: self.held].copy())
        self.held = 0

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(log-probs, lower bounds, upper bounds, ranks), float32 and int32 [T]; NaN where the model gave NaN."""
        if self.held:
            self.reduce()
        logprobs, low, high = np.concatenate([np.empty((3, 0), np.float32), *self.reduced], axis=1)
        return logprobs.copy(), low.copy(), high.copy(), np.concatenate([np.empty(0, np.int32), *self.ranks])


@dataclass
class VllmRequest:
    """One sequence for vLLM. options: of SamplingParams. measures: receives the log-probs, instead of the output.

    of_prompt: whether these are the log-probs of the prompt's tokens.
    """

    prompt_ids: list[int]
    options: dict[str, Any]
    measures: TokenMeasures | None = None
    of_prompt: bool = field(default=False)


def stream_outputs(llm: Any, requests: Iterable[VllmRequest], max_open: int) -> Iterator[tuple[int, VllmRequest, Any]]:
    """(index, request, vLLM's output) of each request as it ends; at most `max_open` are with vLLM at a time.

    Raises HealError where vLLM's engine process dies. What is open when the caller stops is aborted.
    """
    engine = llm.llm_engine
    waiting = enumerate(requests)
    opened: dict[str, tuple[int, VllmRequest, str]] = {}
    try:
        while True:
            for index, request in islice(waiting, max_open - len(opened)):
                name = str(next(llm.request_counter))
                opened[name] = index, request, add_request(engine, name, request)
            if not opened:
                return
            for output in engine.step():
                if output.finished:
                    index, request, _ = opened.pop(output.request_id)
                    yield index, request, output
    except EngineDeadError as error:
        opened.clear()
        fix = "see the log above; finished batches are saved: run again"
        raise HealError("vLLM's engine process has died", where="engine", fix=fix) from error
    finally:
        if opened:
            engine.abort_request([internal for _, _, internal in opened.values()], internal=True)


def add_request(engine: Any, name: str, request: VllmRequest) -> str:
    """Hands one request to vLLM; returns vLLM's own name for it."""
    parameters = SamplingParams(
        detokenize=False, flat_logprobs=True, output_kind=RequestOutputKind.FINAL_ONLY, **request.options
    )
    internal: str = engine.add_request(name, tokens_input(request.prompt_ids), parameters)
    if request.measures is not None:
        processor = engine.output_processor.request_states[internal].logprobs_processor
        if request.of_prompt:
            request.measures.append(None)  # as vLLM's own container: the first position has no log-prob
            processor.prompt_logprobs = request.measures
        else:
            processor.logprobs = request.measures
    return internal
