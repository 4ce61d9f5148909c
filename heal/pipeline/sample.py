"""Sampling the teacher: base samples, answer-guided samples, and the extra samples of the equal-cost control.

Reads problems (and grades, where the choice of problems depends on them); writes traces with token ids, log-probs and
entropies. A sample depends on (seed, draw, purpose, problem, index) only, never on batches or shards.

    python -m heal.pipeline.sample base --problems problems/train.parquet --model heal/worlds/mini/models/teacher \\
        --options '{"n": 8, "max_new_tokens": 160}' --shard 0/2 --out samples.parquet
    python -m heal.pipeline.sample guided … --grades grades.parquet --guided '{"below": 0.5}'
    python -m heal.pipeline.sample extra … --grades grades.parquet --match repairs.parquet guided.parquet --allocation uniform
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from heal import records
from heal.config.experiment import Engine as EngineOptions
from heal.config.experiment import Gear, Guided, Sampling
from heal.engines.open import open_engine
from heal.errors import HealError, exit_with_errors
from heal.grading.grader import Grader
from heal.method.gear import problems_to_treat
from heal.pipeline.import_traces import measurer, read_traces
from heal.pipeline.runner import arguments_parser, read_options, run_batches, shard_of, tokens_since, tokens_used
from heal.pipeline.verdict import pass_rates, question, trace_row, verdict
from heal.provenance import recorded
from heal.records import Row, Usage, request_seed

if TYPE_CHECKING:
    from heal.engines.base import Engine

EXTRA_BLOCK = 4  # extra samples of a problem drawn at once, so that they share its prefill


def sampler(
    engine: Engine,
    sampling: Sampling,
    seed_parts: Sequence[object],
    indices: Sequence[int],
    ask: Callable[[Row], str],
) -> Callable[[Sequence[Row]], tuple[list[Row], Usage]]:
    """A function that draws samples `indices` of each problem of a batch, asked by `ask(problem)`."""
    from heal.engines.base import Request
    from heal.engines.base import Sampling as Decoding

    purpose = str(seed_parts[-1])
    decoding = Decoding(sampling.temperature, sampling.top_p, sampling.max_new_tokens)

    def draw(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        requests = [
            Request(
                tuple(engine.chat_ids(ask(problem))),
                tuple(request_seed(*seed_parts, problem["problem_id"], index) for index in indices),
            )
            for problem in batch
        ]
        before = tokens_used(engine)
        completions = engine.generate(requests, decoding)
        rows = [
            trace_row(
                problem["problem_id"],
                purpose,
                index,
                engine.tokenizer.decode(completion.token_ids, skip_special_tokens=True),
                completion,
            )
            for problem, samples in zip(batch, completions, strict=True)
            for index, completion in zip(indices, samples, strict=True)
        ]
        return rows, tokens_since(engine, before)

    return draw


def extra_indices(first: int, block: int) -> range:
    return range(first + block * EXTRA_BLOCK, first + (block + 1) * EXTRA_BLOCK)


def within_budget(rows: Sequence[Row], prefill: dict[str, int], budget: int) -> tuple[list[Row], int]:
    """The first rows whose tokens, prompts included once per problem and block, fit the budget; and what they cost."""
    kept, spent, seen = [], 0, set()
    for row in rows:
        cost = len(row["token_ids"]) + (0 if row["problem_id"] in seen else prefill[row["problem_id"]])
        if spent + cost > budget:
            break
        seen.add(row["problem_id"])
        spent += cost
        kept.append(row)
    return kept, spent


def draw_extra(
    engine: Engine,
    problems: Sequence[Row],
    sampling: Sampling,
    seed_parts: Sequence[object],
    budget: int,
    out: str,
    size: int,
    fingerprint: object,
) -> Usage:
    """Blocks of further samples of every problem until the token budget is spent."""
    pieces = records.Pieces(out, "samples", [fingerprint, budget, size])
    prefill = {row["problem_id"]: len(engine.chat_ids(row["question"])) for row in problems}
    block_size = max(1, min(len(problems), size))
    number, spent, batches_per_block = 0, 0, -(-len(problems) // block_size)
    while spent < budget and problems:
        block, part = divmod(number, batches_per_block)
        if not pieces.done(number):
            draw = sampler(
                engine,
                sampling,
                seed_parts,
                extra_indices(sampling.n, block),
                lambda problem: problem["question"],
            )
            rows, _ = draw(problems[part * block_size : (part + 1) * block_size])
            kept, cost = within_budget(rows, prefill, budget - spent)
            prompts = {row["problem_id"] for row in kept}
            used = {
                "prefill": sum(prefill[p] for p in prompts),
                "generated": sum(len(r["token_ids"]) for r in kept),
            }
            pieces.add(number, kept, used | {"exhausted": int(len(kept) < len(rows))})
        used = records.usage(pieces.file(number))
        spent += used["prefill"] + used["generated"]
        number += 1
        print(f"extra samples: {spent}/{budget} tokens", file=sys.stderr, flush=True)
        if used["exhausted"]:
            break
    total = pieces.finish(number)
    return {key: value for key, value in total.items() if key != "exhausted"}


def main() -> None:
    parser = arguments_parser(__doc__, "problems", model=True)
    parser.add_argument("purpose", choices=["base", "guided", "extra"], help="which samples")
    parser.add_argument("--grades", help="grades of the base samples (guided, extra)")
    parser.add_argument(
        "--traces", help="a file of traces to take in place of base samples (heal.pipeline.import_traces)"
    )
    parser.add_argument("--instruction", default="", help="what the run puts behind every question, for --traces")
    parser.add_argument("--guided", default="{}", help="options of the guided samples as JSON")
    parser.add_argument(
        "--gear", default="{}", help="GEAR's options as JSON: leak patterns, which problems are treated"
    )
    parser.add_argument("--match", nargs="*", default=[], help="files whose tokens the extra samples may spend")
    parser.add_argument(
        "--allocation", choices=["uniform", "treated"], default="uniform", help="extra: of which problems"
    )
    arguments = parser.parse_args()
    sampling = read_options(Sampling, arguments.options)
    guided = read_options(Guided, arguments.guided, "--guided")
    gear = read_options(Gear, arguments.gear, "--gear")
    size = read_options(EngineOptions, arguments.engine, "--engine").problems_per_batch
    problems = records.read(arguments.problems, "problems")
    if arguments.purpose != "base" and not arguments.grades:
        raise HealError("missing", where="--grades", fix=f"`{arguments.purpose}` samples depend on the base grades")
    grades = records.read(arguments.grades, "grades") if arguments.grades else []
    seed_parts = (arguments.seed, arguments.draw, arguments.purpose)

    with recorded(arguments.out, "heal.pipeline.sample", options=vars(arguments), seeds=list(seed_parts)) as facts:
        engine = open_engine(arguments)
        facts["engine"] = engine.settings
        if arguments.purpose == "guided":
            rates = pass_rates(grades)
            problems = [p for p in problems if rates.get(p["problem_id"], 0.0) < guided.pass_rate_below]
        elif arguments.allocation == "treated":
            treated = set(problems_to_treat(grades, gear.max_pass_rate, gear.max_wrong_agreement)[0])
            problems = [p for p in problems if p["problem_id"] in treated]
        fingerprint = [
            vars(arguments) | {"out": None, "gpus": None},
            engine.settings,
            [p["problem_id"] for p in problems],
        ]
        if arguments.purpose == "extra":
            budget = sum(sum(records.usage(path).values()) for path in arguments.match)
            facts["tokens"] = draw_extra(
                engine, problems, sampling, seed_parts, budget, arguments.out, size, fingerprint
            )
            return
        if arguments.purpose == "guided":
            work, kind = graded(engine, sampling, guided, gear, seed_parts), "guided"
        elif arguments.traces:
            kept = read_traces(arguments.traces, arguments.instruction)
            work, kind = measurer(engine, kept, arguments.traces), "samples"
        else:
            work, kind = sampler(engine, sampling, seed_parts, range(sampling.n), question), "samples"
        facts["tokens"] = run_batches(
            arguments.out,
            kind,
            shard_of(problems, arguments.shard),
            size,
            work,
            fingerprint=fingerprint,
            what=f"{arguments.purpose} samples",
        )


def graded(
    engine: Engine, sampling: Sampling, guided: Guided, gear: Gear, seed_parts: Sequence[object]
) -> Callable[[Sequence[Row]], tuple[list[Row], Usage]]:
    """Draws answer-guided samples (STaR's rationalization, arXiv 2203.14465) and says which may be learnt from."""
    draw = sampler(
        engine,
        sampling,
        seed_parts,
        range(guided.n or sampling.n),
        lambda problem: guided.template.format(question=problem["question"], answer=problem["answer"]),
    )

    def work(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        rows, usage = draw(batch)
        gold = {problem["problem_id"]: problem["answer"] for problem in batch}
        with Grader() as grader:
            for row in rows:
                row |= verdict(row["text"], gold[row["problem_id"]], row["finish_reason"], gear.leak_patterns, grader)
        return rows, usage

    return work


if __name__ == "__main__":
    exit_with_errors(main)
