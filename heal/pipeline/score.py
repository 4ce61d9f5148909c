"""What PURE needs to know of a trace, measured by the teacher without any hint in context (ours: docs/method.md, PURE).

For each step: its surprise (NLL per token, three statistics), and the uncertainty about the gold answer that is left
after it, read as the probability of the gold answer behind a cue, relative to the same before any step. Reads accepted
repairs (and guided samples, and correct base samples for calibration); writes one row per trace (schema `scores`).

    python -m heal.pipeline.score --problems problems/train.parquet --repairs repairs.parquet --samples samples.parquet \\
        --grades grades.parquet --model heal/worlds/mini/models/teacher --out scores.parquet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from heal import records
from heal.config.experiment import Engine as EngineOptions
from heal.config.experiment import Scoring
from heal.engines.open import open_engine
from heal.errors import HealError, exit_with_errors
from heal.method.entropy import per_step
from heal.method.steps import Step, opening_tokens, split, states_answer
from heal.pipeline.runner import (
    arguments_parser,
    pieces,
    read_options,
    run_batches,
    shard_of,
    tokens_since,
    tokens_used,
)
from heal.provenance import recorded
from heal.records import Row, Usage

if TYPE_CHECKING:
    from heal.engines.base import Engine


def uncertainty(gold_logprobs: np.ndarray, reading: str) -> float:
    """1 − probability of the gold answer: product over its tokens, or their mean probability (ours)."""
    if reading == "mean":
        return float(1.0 - np.exp(gold_logprobs).mean())
    return float(-np.expm1(np.sum(gold_logprobs, dtype=np.float64)))


def relative(values_K: Sequence[float], before: float) -> np.ndarray:
    """u_k divided by u_0, shape [K]; where the answer was certain from the start there is nothing left to lose: 0."""
    return np.asarray(values_K) / before if before > 0 else np.zeros(len(values_K))


def grid(steps: int, points: int) -> list[int]:
    """At most `points` step numbers from 1 to `steps`, evenly spaced, the last always."""
    if steps <= points:
        return list(range(1, steps + 1))
    return sorted({round(1 + i * (steps - 1) / (points - 1)) for i in range(points)}) if points > 1 else [steps]


def hold(values: Sequence[float] | np.ndarray, points: Sequence[int], steps: int, before: float) -> list[float]:
    """Values measured at some steps, held until the next point; `before` up to the first."""
    held, current, at = [], before, dict(zip(points, values, strict=True))
    for k in range(1, steps + 1):
        current = at.get(k, current)
        held.append(current)
    return held


def statement_step(steps: Sequence[Step]) -> int | None:
    """The first step that states the answer, from 1."""
    return next((k for k, step in enumerate(steps, 1) if states_answer(step.text)), None)


def score_batch(
    engine: Engine, traces: Sequence[Row], problems: dict[str, Row], options: Scoring, min_step_tokens: int
) -> list[Row]:
    """Scores of the traces in their order; two calls of the engine in all."""
    from heal.engines.base import Branch

    encode = engine.tokenizer.encode
    cue, closing = (encode(text, add_special_tokens=False) for text in (options.cue, options.closing))
    prompts = [list(engine.chat_ids(problems[trace["problem_id"]]["question"])) for trace in traces]
    whole = engine.score([(p, trace["token_ids"]) for p, trace in zip(prompts, traces, strict=True)])
    trunks, layouts = [], []
    for prompt, trace in zip(prompts, traces, strict=True):
        texts = pieces(engine, trace["token_ids"])
        steps = split(texts, min_step_tokens)
        statement = statement_step(steps)
        points = grid(len(steps) if statement is None else statement - 1, options.max_points)
        gold = tuple(encode(problems[trace["problem_id"]]["answer"], add_special_tokens=False) + closing)
        ends = [opening_tokens(texts)] + [steps[k - 1].end for k in points]  # the cue closes what is open
        layouts.append((steps, statement, points))
        trunks.append(
            (prompt + trace["token_ids"][: ends[-1]], [Branch(len(prompt) + end, tuple(cue), gold) for end in ends])
        )
    answers = engine.score_branches(trunks)
    rows = []
    for trace, score, (steps, statement, points), answer in zip(traces, whole, layouts, answers, strict=True):
        nll = -np.asarray(score.logprobs, dtype=np.float64)
        row = {
            "trace_id": trace["trace_id"],
            "problem_id": trace["problem_id"],
            "kind": trace["kind"],
            "steps": [step.text for step in steps],
            "statement": statement,
            "statement_nll": None if statement is None else float(nll[steps[statement - 1].start :].sum()),
        }
        for name, statistic in (("nll_mean", "mean"), ("nll_top20", "top20"), ("nll_max", "max")):
            row[name] = per_step(nll, steps, statistic)
        for reading in ("product", "mean"):
            before, *after = (uncertainty(logprobs, reading) for logprobs in answer)
            u_K = hold(relative(after, before), points, len(steps), 1.0)
            row[f"uncertainty_{reading}"] = u_K
        rows.append(row)
    return rows


def chosen_traces(repairs: Sequence[Row], guided: Sequence[Row], correct: Sequence[Row], calibration: int) -> list[Row]:
    """Accepted repairs, accepted guided samples, and the first correct sample of evenly chosen problems."""
    first = {row["problem_id"]: row for row in reversed(correct)}
    own = sorted(first.values(), key=lambda row: row["trace_id"])[:calibration]
    return [
        row | {"kind": kind}
        for kind, rows in (("repair", repairs), ("guided", guided), ("sample", own))
        for row in rows
        if kind == "sample" or row["accepted"]
    ]


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "repairs", "samples", "grades", model=True)
    parser.add_argument("--guided", help="guided samples, to score them too")
    parser.add_argument("--min-step-tokens", type=int, default=16, help="as for GEAR")
    arguments = parser.parse_args()
    options = read_options(Scoring, arguments.options)
    size = read_options(EngineOptions, arguments.engine, "--engine").problems_per_batch
    problems = {row["problem_id"]: row for row in records.read(arguments.problems, "problems")}
    right = {row["trace_id"] for row in records.read(arguments.grades, "grades") if row["correct"]}
    samples = [row for row in records.read(arguments.samples, "samples") if row["trace_id"] in right]
    guided = records.read(arguments.guided, "guided") if arguments.guided else []
    traces = chosen_traces(records.read(arguments.repairs, "repairs"), guided, samples, options.calibration_traces)
    for trace in traces:
        if not trace["token_ids"]:
            raise HealError(
                "the trace is empty", where=f"trace {trace['trace_id']}", fix="remove it, or sample it again"
            )
    with recorded(arguments.out, "heal.pipeline.score", options=vars(arguments)) as facts:
        engine = open_engine(arguments)
        facts["engine"] = engine.settings
        work = scorer(engine, problems, options, arguments.min_step_tokens)
        facts["tokens"] = run_batches(
            arguments.out,
            "scores",
            shard_of(traces, arguments.shard),
            size,
            work,
            fingerprint=[
                vars(arguments) | {"out": None, "gpus": None},
                engine.settings,
                [row["trace_id"] for row in traces],
            ],
            what="traces scored",
        )


def scorer(
    engine: Engine, problems: dict[str, Row], options: Scoring, min_step_tokens: int
) -> Callable[[Sequence[Row]], tuple[list[Row], Usage]]:
    def work(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        before = tokens_used(engine)
        return score_batch(engine, batch, problems, options, min_step_tokens), tokens_since(engine, before)

    return work


if __name__ == "__main__":
    exit_with_errors(main)
