"""Run the untrained student over the teacher's correct traces, for the baselines that ask it before they teach it.

`ranks`: log-prob and rank of every token of the correct samples under the student (schema `ranks`). `repair-ranks`: the
same of the accepted repairs of one GEAR variant. `continuations`: the student continues
from beginnings of correct samples, and every continuation is judged (schema `continuations`). The student's own
samples of the problems are made by `heal sample base --student NAME`.

    heal student-pass continuations --config config/config.yaml --student tiny --problems problems/train.parquet \\
        --samples samples.parquet --grades grades.parquet --out continuations.parquet
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Prefixes, Sampling
from heal.grading.grader import Grader
from heal.method.base import group_by_problem, take_distinct
from heal.method.steps import THINKING_STARTS, add_opening, split
from heal.pipeline.requests import UNREADABLE, RequestLog
from heal.pipeline.runner import BatchWorker, ModelCommand, decode_tokens, describe_usage
from heal.pipeline.verdict import get_question, judge_trace
from heal.records import Row, Usage, derive_seed, hash_content

if TYPE_CHECKING:
    from heal.engines.base import Completion, Engine, Request

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""


class StudentPass(ModelCommand):
    """What both passes of the student share."""

    problems: Path
    """The problems file."""

    def run_over(
        self,
        traces: Sequence[Row],
        name: str,
        schema: str,
        make_worker: Callable[[Engine, Mapping[str, Row]], BatchWorker],
    ) -> None:
        """Works through the traces of this shard's problems and writes `out`. name: of the pass."""
        problems = {row["problem_id"]: row for row in records.read(self.problems, "problems")}
        with self.start_engine(f"student-pass {name}") as (engine, facts):
            usage = self.run_shard(
                schema,
                list(group_by_problem(traces).values()),
                make_worker(engine, problems),
                engine=engine,
                item_ids=[row["trace_id"] for row in traces],
                label=f"problems, {name}",
            )
            facts |= describe_usage(usage)


class SamplePass(StudentPass):
    """A pass over the teacher's correct samples."""

    samples: Path
    """The teacher's base samples."""
    grades: Path
    """Their grades."""

    def read_correct(self) -> list[Row]:
        correct_ids = {row["trace_id"] for row in records.read(self.grades, "grades") if row["correct"]}
        return [row for row in records.read(self.samples, "samples") if row["trace_id"] in correct_ids]


class RankSamples(SamplePass):
    """Measure log-prob and rank of every token of the teacher's correct samples under the student.

    heal student-pass ranks --config config/config.yaml --student tiny --problems FILE --samples FILE --grades FILE \\
        --out ranks.parquet
    """

    def run(self) -> None:
        self.run_over(self.read_correct(), "ranks", "ranks", make_rank_worker)


class RankRepairs(StudentPass):
    """Measure log-prob and rank of every token of the accepted repairs of one GEAR variant under the student.

    heal student-pass repair-ranks --config config/config.yaml --student tiny --problems FILE \\
        --repairs repairs/default.parquet --out ranks.parquet
    """

    repairs: Path
    """The repairs of one GEAR variant."""

    def run(self) -> None:
        accepted = [row for row in records.read(self.repairs, "repairs") if row["accepted"]]
        self.run_over(accepted, "repair-ranks", "ranks", make_rank_worker)


class ContinueSamples(SamplePass):
    """Let the student continue from beginnings of the teacher's correct samples, and judge every continuation.

    heal student-pass continuations --config config/config.yaml --student tiny --problems FILE --samples FILE \\
        --grades FILE --out continuations.parquet
    """

    sampling: Annotated[Sampling, Section("sampling")] = Sampling()
    """Decoding of the continuations."""
    prefixes: Annotated[Prefixes, Section("prefixes")] = Prefixes()
    """Where correct samples are cut."""
    leak_patterns: Annotated[list[str], Section("gear.leak_patterns")] = Gear().leak_patterns
    """A continuation that matches one of these is rejected."""

    def run(self) -> None:
        self.run_over(self.read_correct(), "continuations", "continuations", self.make_worker)

    def make_worker(self, engine: Engine, problems: Mapping[str, Row]) -> BatchWorker:
        seed = (self.seed, self.teacher_seed)
        continuer = Continuer(engine, problems, self.prefixes, self.sampling, self.leak_patterns, seed)
        return continuer.continue_batch


def encode_for_student(engine: Engine, text: str) -> list[int] | None:
    """A trace in the student's tokens, as it will learn it; None where its tokenizer has no tokens for it."""
    text = add_opening(text.strip())
    # The student's template may open the block itself.
    if engine.tokenizer.decode(engine.tokenize_chat("1")).endswith(THINKING_STARTS):
        text = text.removeprefix(THINKING_STARTS)
    ids = engine.tokenizer.encode(text, add_special_tokens=False)
    return ids if engine.tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text else None


def encode_readable(engine: Engine, traces: Sequence[Row], log: RequestLog) -> list[tuple[Row, list[int]]]:
    """The traces with their tokens; those that the student cannot read are skipped and counted."""
    readable = []
    for trace in traces:
        ids = encode_for_student(engine, trace["text"])
        if ids:
            readable.append((trace, ids))
    skipped = len(traces) - len(readable)
    if skipped:
        log.skipped[UNREADABLE] += skipped
        message = f"{skipped} of {len(traces)} traces skipped: the student's tokenizer cannot represent them"
        print(message, file=sys.stderr, flush=True)
    return readable


def make_rank_worker(engine: Engine, problems: Mapping[str, Row]) -> BatchWorker:
    return partial(rank_batch, engine, problems)


def rank_batch(engine: Engine, problems: Mapping[str, Row], batch: Sequence[list[Row]]) -> tuple[list[Row], Usage]:
    """Log-prob and rank of every token of every trace, the end of the turn included.

    A trace that is longer than the student's model takes has no row, and is counted.
    """
    log = RequestLog(engine)
    traces: list[Row] = []
    for rows in batch:
        traces += rows
    fitting, requests = [], []
    for trace, ids in encode_readable(engine, traces, log):
        prompt = engine.tokenize_chat(get_question(problems[trace["problem_id"]]))
        tokens = [*ids, engine.end_token_id]
        if log.fits(prompt, len(tokens)):
            fitting.append(trace)
            requests.append((prompt, tokens))
    rows = []
    for trace, score in zip(fitting, engine.score(requests), strict=True):
        row = {
            "trace_id": trace["trace_id"],
            "problem_id": trace["problem_id"],
            "logprobs": score.logprobs,
            "ranks": score.ranks,
        }
        rows.append(row)
    return rows, log.get_usage()


def choose_cuts(steps: int, count: int) -> list[int]:
    """How many steps are kept: at most `count` numbers from 0 to steps − 1, evenly spaced, 0 always."""
    return sorted({i * steps // count for i in range(count)}) if steps else []


@dataclass(frozen=True)
class Prefix:
    """The beginning of a correct sample. kept_ids: its tokens; steps: of the whole sample."""

    trace: Row
    kept_steps: int
    steps: int
    kept_ids: list[int]


@dataclass(frozen=True)
class Continuer:
    """Lets the student continue from beginnings of the teacher's correct samples. seed: (run seed, teacher seed)."""

    engine: Engine
    problems: Mapping[str, Row]
    prefixes: Prefixes
    sampling: Sampling
    leak_patterns: Sequence[str]
    seed: Sequence[Any]

    def continue_batch(self, batch: Sequence[list[Row]]) -> tuple[list[Row], Usage]:
        """Every continuation from every cut of the first distinct traces of each problem, with its verdict.

        A beginning that leaves no room for a continuation has no row, and is counted.
        """
        from heal.engines.base import Sampling as Decoding

        log = RequestLog(self.engine)
        traces: list[Row] = []
        for rows in batch:
            traces += take_distinct(rows, self.prefixes.traces_per_problem)
        prefixes: list[Prefix] = []
        for trace, ids in encode_readable(self.engine, traces, log):
            prefixes += self.list_prefixes(trace, ids)
        decoding = Decoding(self.sampling.temperature, self.sampling.top_p, self.sampling.max_new_tokens)
        completions = log.generate([self.build_request(prefix) for prefix in prefixes], decoding)
        rows = []
        with Grader() as grader:
            for prefix, continuations in zip(prefixes, completions, strict=True):
                gold = self.problems[prefix.trace["problem_id"]]["answer"]
                for index, completion in enumerate(continuations or []):
                    row = self.build_row(prefix, index, completion)
                    verdict = judge_trace(row["text"], gold, row["finish_reason"], self.leak_patterns, grader)
                    rows.append(row | verdict)
        return rows, log.get_usage()

    def list_prefixes(self, trace: Row, ids: list[int]) -> list[Prefix]:
        """The beginnings of one trace."""
        steps = split(decode_tokens(self.engine, ids))
        prefixes = []
        for kept_steps in choose_cuts(len(steps), self.prefixes.cuts):
            kept_ids = ids[: steps[kept_steps - 1].end] if kept_steps else []
            prefixes.append(Prefix(trace, kept_steps, len(steps), kept_ids))
        return prefixes

    def build_request(self, prefix: Prefix) -> Request:
        from heal.engines.base import Request

        trace = prefix.trace
        seeds = []
        for index in range(self.prefixes.continuations):
            seeds.append(derive_seed(*self.seed, "continue", trace["trace_id"], prefix.kept_steps, index))
        prompt = self.engine.tokenize_chat(get_question(self.problems[trace["problem_id"]]), prefix.kept_ids)
        return Request(prompt, tuple(seeds))

    def build_row(self, prefix: Prefix, index: int, completion: Completion) -> Row:
        """A row of the schema `continuations`, without its verdict."""
        decode = partial(self.engine.tokenizer.decode, skip_special_tokens=True)
        trace = prefix.trace
        token_ids = completion.token_ids.tolist()
        kept, continuation = decode(prefix.kept_ids), decode(token_ids)
        return {
            "trace_id": hash_content("continued", trace["trace_id"], prefix.kept_steps, index, token_ids),
            "problem_id": trace["problem_id"],
            "source_id": trace["trace_id"],
            "index": index,
            "kept_steps": prefix.kept_steps,
            "steps": prefix.steps,
            "kept": kept,
            "continuation": continuation,
            "text": kept + continuation,
            "finish_reason": completion.finish_reason,
        }
