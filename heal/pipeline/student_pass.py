"""What an untrained student makes of the teacher's correct samples, for the baselines that ask it before they teach it.

`ranks`: the log-prob and the rank of every token under the student. `continue`: the student goes on from the beginnings
of correct samples, and every continuation is judged. Reads problems, the teacher's samples and their grades; writes
one row per sample (schema `ranks`) or per continuation (schema `continued`). The student's own samples of the problems
are made by `heal.pipeline.sample base` with the student's model.

    python -m heal.pipeline.student_pass continue --problems problems/train.parquet --samples samples.parquet \\
        --grades grades.parquet --model heal/worlds/mini/models/student --options '{"cuts": 4}' --out continued.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from heal import records
from heal.config.experiment import Engine as EngineOptions
from heal.config.experiment import Gear, Prefixes, Sampling
from heal.engines.open import open_engine
from heal.errors import exit_with_errors
from heal.grading.grader import Grader
from heal.method.base import by_problem, distinct
from heal.method.steps import THINKING_STARTS, split, with_opening
from heal.pipeline.runner import (
    arguments_parser,
    pieces,
    read_options,
    run_batches,
    shard_of,
    tokens_since,
    tokens_used,
)
from heal.pipeline.verdict import question, verdict
from heal.provenance import recorded
from heal.records import Row, Usage, content_id, request_seed

if TYPE_CHECKING:
    from heal.engines.base import Engine


def cuts(steps: int, wanted: int) -> list[int]:
    """How many steps are kept: at most `wanted` numbers from 0 to steps − 1, evenly spaced, 0 always."""
    return sorted({i * steps // wanted for i in range(wanted)}) if steps else []


def student_ids(engine: Engine, text: str) -> list[int] | None:
    """A trace in the student's tokens, as it will learn it; None where its tokenizer has no tokens for it."""
    text = with_opening(text.strip())
    if engine.tokenizer.decode(engine.chat_ids("1")).endswith(THINKING_STARTS):  # its template opens the block itself
        text = text.removeprefix(THINKING_STARTS)
    ids = engine.tokenizer.encode(text, add_special_tokens=False)
    return ids if engine.tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text else None


def readable(engine: Engine, traces: Sequence[Row]) -> list[tuple[Row, list[int]]]:
    """The traces with their tokens; those that the student cannot read are left out and counted."""
    found = [(trace, student_ids(engine, trace["text"])) for trace in traces]
    kept = [(trace, ids) for trace, ids in found if ids]
    if len(kept) < len(found):
        print(f"{len(found) - len(kept)} of {len(found)} traces have no tokens there", file=sys.stderr, flush=True)
    return kept


def ranks_of(engine: Engine, problems: Mapping[str, Row], batch: Sequence[list[Row]]) -> list[Row]:
    """Log-prob and rank of every token of every trace, the end token included."""
    traces = readable(engine, [trace for rows in batch for trace in rows])
    end = engine.tokenizer.eos_token_id
    prompts = [engine.chat_ids(question(problems[trace["problem_id"]])) for trace, _ in traces]
    scores = engine.score([(prompt, [*ids, end]) for prompt, (_, ids) in zip(prompts, traces, strict=True)])
    return [
        {"trace_id": trace["trace_id"], "problem_id": trace["problem_id"], "logprobs": s.logprobs, "ranks": s.ranks}
        for (trace, _), s in zip(traces, scores, strict=True)
    ]


def continued(
    engine: Engine,
    problems: Mapping[str, Row],
    options: Prefixes,
    sampling: Sampling,
    leak_patterns: Sequence[str],
    seed: Sequence[Any],
    batch: Sequence[list[Row]],
) -> list[Row]:
    """Every continuation from every cut of the first distinct traces of each problem, with its verdict."""
    from heal.engines.base import Request
    from heal.engines.base import Sampling as Decoding

    chosen = [trace for rows in batch for trace in distinct(rows, options.traces_per_problem)]
    places, requests = [], []
    for trace, ids in readable(engine, chosen):
        steps = split(pieces(engine, ids))
        for kept_steps in cuts(len(steps), options.cuts):
            kept = ids[: steps[kept_steps - 1].end] if kept_steps else []
            seeds = [
                request_seed(*seed, "continue", trace["trace_id"], kept_steps, index)
                for index in range(options.continuations)
            ]
            prompt = engine.chat_ids(question(problems[trace["problem_id"]]), kept)
            requests.append(Request(prompt, tuple(seeds)))
            places.append((trace, kept_steps, len(steps), kept))
    decoding = Decoding(sampling.temperature, sampling.top_p, sampling.max_new_tokens)
    decode, rows = partial(engine.tokenizer.decode, skip_special_tokens=True), []
    with Grader() as grader:
        for (trace, kept_steps, count, kept), completions in zip(
            places, engine.generate(requests, decoding), strict=True
        ):
            gold = problems[trace["problem_id"]]["answer"]
            for index, completion in enumerate(completions):
                new = completion.token_ids.tolist()
                row = {
                    "trace_id": content_id("continued", trace["trace_id"], kept_steps, index, new),
                    "problem_id": trace["problem_id"],
                    "source_id": trace["trace_id"],
                    "index": index,
                    "kept_steps": kept_steps,
                    "steps": count,
                    "kept": decode(kept),
                    "continuation": decode(new),
                    "text": decode(kept) + decode(new),
                    "finish_reason": completion.finish_reason,
                }
                rows.append(row | verdict(row["text"], gold, row["finish_reason"], leak_patterns, grader))
    return rows


def counted(engine: Engine, work: Callable[[Sequence[list[Row]]], list[Row]], batch: Any) -> tuple[list[Row], Usage]:
    before = tokens_used(engine)
    return work(batch), tokens_since(engine, before)


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "samples", "grades", model=True)
    parser.add_argument("purpose", choices=["ranks", "continue"], help="what is asked of the student")
    parser.add_argument("--sampling", default="{}", help="decoding options as JSON")
    parser.add_argument("--gear", default="{}", help="GEAR's options as JSON: leak patterns")
    arguments = parser.parse_args()
    options = read_options(Prefixes, arguments.options)
    sampling = read_options(Sampling, arguments.sampling, "--sampling")
    patterns = read_options(Gear, arguments.gear, "--gear").leak_patterns
    size = read_options(EngineOptions, arguments.engine, "--engine").problems_per_batch
    problems = {row["problem_id"]: row for row in records.read(arguments.problems, "problems")}
    right = {row["trace_id"] for row in records.read(arguments.grades, "grades") if row["correct"]}
    samples = [row for row in records.read(arguments.samples, "samples") if row["trace_id"] in right]
    seed = (arguments.seed, arguments.draw)
    with recorded(arguments.out, "heal.pipeline.student_pass", options=vars(arguments), seeds=list(seed)) as facts:
        engine = open_engine(arguments)
        facts["engine"] = engine.settings
        work = partial(ranks_of, engine, problems)
        if arguments.purpose == "continue":
            work = partial(continued, engine, problems, options, sampling, patterns, seed)
        facts["tokens"] = run_batches(
            arguments.out,
            "ranks" if arguments.purpose == "ranks" else "continued",
            shard_of(list(by_problem(samples).values()), arguments.shard),
            size,
            partial(counted, engine, work),
            fingerprint=[
                vars(arguments) | {"out": None, "gpus": None},
                engine.settings,
                [row["trace_id"] for row in samples],
            ],
            what=f"problems, {arguments.purpose}",
        )


if __name__ == "__main__":
    exit_with_errors(main)
