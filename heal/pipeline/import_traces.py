"""Base samples that somebody already has: read from a file, measured by the teacher, and used in place of sampling.

A jsonl (or parquet) file of rows with `question`, `answer` and `trace` (text) or `traces` (a list of texts) is both the
problems and the samples; the teacher scores each trace as if it had just written it, and the pipeline goes on from
there. `heal import` checks such a file and prints the config's lines for it.

    heal import traces.jsonl
    python -m heal.pipeline.sample base --traces traces.jsonl --problems problems/train.parquet --model PATH --out FILE
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heal import records
from heal.data.load_problems import with_instruction
from heal.errors import HealError
from heal.pipeline.runner import tokens_since, tokens_used
from heal.records import Row, Usage

if TYPE_CHECKING:
    from heal.engines.base import Engine


def read_traces(path: str | Path, instruction: str = "") -> dict[str, list[str]]:
    """Question, with the run's instruction → its traces, in the file's order. Raises HealError naming row and field."""
    rows = records.open_table(path).to_pylist() if Path(path).suffix == ".parquet" else records.read_jsonl(path)
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        question = row.get("question") or row.get("problem")
        traces = row.get("traces", row.get("trace"))
        traces = [traces] if isinstance(traces, str) else traces
        for field, value, kind in (("question", [question], "text"), ("traces", traces, "texts")):
            if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
                fix = f"give non-empty {kind}" + (", or leave the row out" if field == "traces" else "")
                raise HealError(f"no usable {field}", where=f"{path}, row {number}, field {field}", fix=fix)
        found.setdefault(with_instruction(question.strip(), instruction), []).extend(traces)
    if not found:
        raise HealError("no rows", where=str(path), fix="give a file with at least one problem and its traces")
    return found


def trace_ids(engine: Engine, text: str, where: str) -> tuple[int, ...]:
    """The trace's tokens, with the end token behind them: a trace that somebody kept has ended."""
    tokenizer = engine.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False)
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != text:
        fix = "give the tokenizer of the model that wrote the traces, or take out words that it does not know"
        raise HealError("tokenizing and decoding changes the trace", where=where, fix=fix)
    return (*ids, tokenizer.eos_token_id)


def measurer(
    engine: Engine, traces: Mapping[str, Sequence[str]], path: str
) -> Callable[[Sequence[Row]], tuple[list[Row], Usage]]:
    """A function that gives a batch of problems its kept traces as sample rows."""
    from heal.engines.base import Completion
    from heal.pipeline.verdict import trace_row

    def work(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        before = tokens_used(engine)
        kept = []
        for problem in batch:
            if problem["question"] not in traces:
                fix = "give it traces, or take problems.train from the same file"
                raise HealError(
                    "no traces of a problem", where=f"{path}, question {problem['question']!r:.80}", fix=fix
                )
            for index, text in enumerate(dict.fromkeys(traces[problem["question"]])):
                kept.append((problem, index, text, trace_ids(engine, text, f"{path}, {problem['question']!r:.60}")))
        scores = engine.score([(engine.chat_ids(problem["question"]), ids) for problem, _, _, ids in kept])
        rows = []
        for (problem, index, text, ids), score in zip(kept, scores, strict=True):
            made = Completion(np.array(ids, np.int32), score.logprobs, score.entropies, "stop", score.entropies_upper)
            rows.append(trace_row(problem["problem_id"], "imported", index, text, made))
        return rows, tokens_since(engine, before)

    return work
