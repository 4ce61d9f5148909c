"""Use base samples that already exist: read from a file, scored by the teacher, in place of sampling.

A jsonl (or parquet) file of rows with `question`, `answer` and `trace` (text) or `traces` (a list of texts) is both the
problems and the samples; the teacher scores each trace as if it had just written it, and the pipeline continues from
there.

    heal import traces.jsonl                                            # check the file, print the config's lines
    heal sample base --traces traces.jsonl --problems problems/train.parquet --model.path PATH --out FILE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.config.data import Dataset
from heal.data import load_problems
from heal.data.existing_traces import read_traces
from heal.errors import HealError
from heal.pipeline.requests import RequestLog
from heal.pipeline.runner import BatchWorker
from heal.pipeline.verdict import build_trace_row
from heal.records import Row, Usage

if TYPE_CHECKING:
    from heal.engines.base import Engine


class ImportTraces(Command):
    file: CliPositionalArg[Path]
    """jsonl or parquet: question, answer, and trace or traces."""

    def run(self) -> None:
        traces = read_traces(self.file)
        load_problems.collect(Dataset(source="file", path=str(self.file)), seed=0)  # the same rows, as problems
        count = sum(map(len, traces.values()))
        print(f"{self.file}: {len(traces)} problems with {count} traces. In a config:")
        print(f"  problems:\n    train: {{source: file, path: {self.file}}}")
        print(f"  teachers:\n    name: {{path: the model that scores and repairs them, traces: {self.file}}}")


def encode_trace(engine: Engine, text: str, where: str) -> tuple[int, ...]:
    """The trace's tokens, with the end token: a trace that somebody kept has ended. Raises HealError otherwise."""
    tokenizer = engine.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False)
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != text:
        fix = "give the tokenizer of the model that wrote the traces, or take out words that it does not know"
        raise HealError("tokenizing and decoding changes the trace", where=where, fix=fix)
    return (*ids, engine.end_token_id)


def make_trace_measurer(engine: Engine, traces: Mapping[str, Sequence[str]], path: str) -> BatchWorker:
    """A function that turns the existing traces of a batch of problems into sample rows."""
    from heal.engines.base import Completion

    def measure_batch(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        log = RequestLog(engine)
        items = []
        for problem in batch:
            question = problem["question"]
            if question not in traces:
                fix = "give it traces, or take problems.train from the same file"
                raise HealError("no traces of a problem", where=f"{path}, question {question!r:.80}", fix=fix)
            prompt = engine.tokenize_chat(question)
            for index, text in enumerate(dict.fromkeys(traces[question])):
                ids = encode_trace(engine, text, f"{path}, {question!r:.60}")
                if log.fits(prompt, len(ids)):
                    items.append((problem, index, text, prompt, ids))
        requests = [(prompt, ids) for _, _, _, prompt, ids in items]
        rows = []
        for (problem, index, text, _, ids), score in zip(items, engine.score(requests), strict=True):
            token_ids = np.array(ids, np.int32)
            completion = Completion(token_ids, score.logprobs, score.entropies, "stop", score.entropies_upper)
            rows.append(build_trace_row(problem["problem_id"], "imported", index, text, completion))
        return rows, log.get_usage()

    return measure_batch
