"""GEAR's second half: continue from every cut with a hint, and keep the whole story of each repair.

Reads problems and the cuts that `heal plan-cuts` has planned; writes one row per repair (schema `repairs`), and one per
trace that cannot be repaired (`reason`: no_breakpoint, or no_room where question, kept steps and hint fill the model).

    heal repair --config config/config.yaml --teacher default --variant no_hint --problems problems/train.parquet \\
        --cuts cuts/no_hint.parquet --out repairs.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Sampling
from heal.grading.grader import Grader
from heal.method.base import group_by_problem
from heal.method.hints import HINTS, HintContext
from heal.pipeline.requests import NO_ROOM, RequestLog
from heal.pipeline.runner import ModelCommand, describe_usage
from heal.pipeline.verdict import judge_trace
from heal.records import Row, Usage, derive_seed, hash_content

if TYPE_CHECKING:
    from heal.engines.base import Completion, Engine, Request

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""

NO_BREAKPOINT = "no_breakpoint"
STEP_END = "\n\n"
CUT_COLUMNS = (
    *("problem_id", "source_id", "detector", "step_entropies", "surges"),
    *("breakpoint", "kept_steps", "cut_certain"),
)
"""Columns of a cut that its repairs repeat."""


class Repair(ModelCommand):
    problems: Path
    """The problems file."""
    cuts: Path
    """The cuts of this GEAR variant."""
    sampling: Annotated[Sampling, Section("sampling")] = Sampling()
    """Decoding of the repairs."""
    variant: str = "default"
    """GEAR variant by name."""
    gear: Annotated[Gear, Section("gear_variants.{variant}")] = Gear()
    """GEAR's options."""

    def run(self) -> None:
        problems = {row["problem_id"]: row for row in records.read(self.problems, "problems")}
        cuts = records.read(self.cuts, "cuts")
        with self.start_engine("repair") as (engine, facts):
            repairer = Repairer(engine, problems, self.gear, self.sampling, (self.seed, self.teacher_seed))
            usage = self.run_shard(
                "repairs",
                list(group_by_problem(cuts).values()),
                repairer.repair_batch,
                engine=engine,
                item_ids=[cut["source_id"] for cut in cuts],
                label="problems repaired",
            )
            facts |= describe_usage(usage)


class Repairer:
    """Repairs cuts with one engine. seed: (run seed, teacher seed)."""

    def __init__(
        self, engine: Engine, problems: dict[str, Row], gear: Gear, sampling: Sampling, seed: Sequence[Any]
    ) -> None:
        self.engine = engine
        self.problems = problems
        self.gear = gear
        self.sampling = sampling
        self.seed = seed

    def repair_batch(self, batch: Sequence[list[Row]]) -> tuple[list[Row], Usage]:
        """All repairs of the cuts of a batch of problems, judged; traces that are not repaired get one row each."""
        from heal.engines.base import Sampling as Decoding

        log = RequestLog(self.engine)
        cuts: list[Row] = []
        rows: list[Row] = []
        for problem_cuts in batch:
            for cut in problem_cuts:
                if cut["breakpoint"] is None:
                    rows.append(build_untried_row(cut, NO_BREAKPOINT))
                else:
                    cuts.append(cut)
        hinted: list[tuple[Row, str]] = []
        with Grader() as grader:
            for cut, hint in zip(cuts, self.write_hints(cuts, log, grader), strict=True):
                if hint is None:
                    rows.append(build_untried_row(cut, NO_ROOM, self.decode_kept(cut)))
                else:
                    hinted.append((cut, hint))
            requests = [self.build_request(cut, hint) for cut, hint in hinted]
            decoding = Decoding(self.sampling.temperature, self.sampling.top_p, self.sampling.max_new_tokens)
            completions = log.generate(requests, decoding)
            for (cut, hint), repairs in zip(hinted, completions, strict=True):
                if repairs is None:
                    rows.append(build_untried_row(cut, NO_ROOM, self.decode_kept(cut)))
                    continue
                gold = self.get_problem(cut)["answer"]
                for index, completion in enumerate(repairs):
                    row = self.build_row(cut, hint, index, completion)
                    patterns = self.gear.leak_patterns
                    rows.append(row | judge_trace(row["text"], gold, row["finish_reason"], patterns, grader))
        reject_duplicates(rows)
        return rows, log.get_usage()

    def get_problem(self, cut: Row) -> Row:
        return self.problems[cut["problem_id"]]

    def write_hints(self, cuts: Sequence[Row], log: RequestLog, grader: Grader) -> list[str | None]:
        """One hint per cut; None where there is no room to ask for it."""
        if self.gear.hint.source == "teacher":
            return self.ask_for_hints(cuts, log)
        write_hint, context = HINTS[self.gear.hint.source], HintContext(self.gear, self.problems, grader)
        return [write_hint(cut, self.get_problem(cut), context) for cut in cuts]

    def ask_for_hints(self, cuts: Sequence[Row], log: RequestLog) -> list[str | None]:
        """One short hint per cut from the teacher itself; a hint that states the answer becomes empty."""
        from heal.engines.base import Request
        from heal.engines.base import Sampling as Decoding

        hint_options = self.gear.hint
        requests = []
        for cut in cuts:
            problem = self.get_problem(cut)
            prompt = hint_options.ask_template.format(
                question=problem["question"], kept=self.decode_kept(cut), answer=problem["answer"]
            )
            seeds = (derive_seed(*self.seed, "hint", cut["source_id"]),)
            requests.append(Request(tuple(self.engine.tokenize_chat(prompt)), seeds, hint_options.max_tokens))
        hints: list[str | None] = []
        completions = log.generate(requests, Decoding(max_new_tokens=hint_options.max_tokens))
        for cut, samples in zip(cuts, completions, strict=True):
            if samples is None:
                hints.append(None)
                continue
            hint = self.engine.tokenizer.decode(samples[0].token_ids, skip_special_tokens=True).strip()
            hints.append("" if self.get_problem(cut)["answer"] in hint else hint)
        return hints

    def decode_kept(self, cut: Row) -> str:
        return self.engine.tokenizer.decode(list(map(int, cut["kept_ids"])), skip_special_tokens=True)

    def build_request(self, cut: Row, hint: str) -> Request:
        """Asks the teacher to continue from the kept tokens; the hint follows them, or is in the user's turn."""
        from heal.engines.base import Request

        question = self.get_problem(cut)["question"]
        prefix = list(map(int, cut["kept_ids"]))
        if hint and self.gear.hint.place == "user":
            question = self.gear.hint.user_turn.format(question=question, hint=hint)
        elif hint:
            prefix = prefix + self.engine.tokenizer.encode(hint + STEP_END, add_special_tokens=False)
        seeds = []
        for index in range(self.gear.repairs_per_trace):
            seeds.append(derive_seed(*self.seed, "repair", cut["source_id"], cut["kept_steps"], hint, index))
        return Request(tuple(self.engine.tokenize_chat(question, prefix)), tuple(seeds))

    def build_row(self, cut: Row, hint: str, index: int, completion: Completion) -> Row:
        """A row of the schema `repairs`, without its verdict."""
        decode = self.engine.tokenizer.decode
        continuation = completion.token_ids.tolist()
        token_ids = list(map(int, cut["kept_ids"])) + continuation
        return copy_cut(cut) | {
            "trace_id": hash_content("repair", cut["source_id"], cut["kept_steps"], hint, index, token_ids),
            "index": index,
            "kept": self.decode_kept(cut),
            "hint": hint,
            "continuation": decode(continuation, skip_special_tokens=True),
            "text": decode(token_ids, skip_special_tokens=True),
            "token_ids": np.array(token_ids, np.int32),
            "logprobs": completion.logprobs,
            "entropies": completion.entropies,
            "finish_reason": completion.finish_reason,
        }


def copy_cut(cut: Row) -> Row:
    """The columns of a cut that its repairs repeat."""
    return {column: cut[column] for column in CUT_COLUMNS}


def build_untried_row(cut: Row, reason: str, kept: str = "") -> Row:
    """The row of a trace that is not repaired. reason: no_breakpoint | no_room. kept: text of the kept steps."""
    return copy_cut(cut) | {
        "trace_id": None,
        "index": 0,
        "kept": kept,
        "hint": None,
        "continuation": "",
        "text": "",
        "token_ids": [],
        "logprobs": [],
        "entropies": [],
        "finish_reason": "none",
        "extracted": None,
        "accepted": False,
        "reason": reason,
    }


def reject_duplicates(rows: Sequence[Row]) -> None:
    """Of accepted repairs with one text, only a problem's first stays accepted."""
    seen = set()
    for row in rows:
        if row["accepted"]:
            key = (row["problem_id"], row["text"])
            if key in seen:
                row |= {"accepted": False, "reason": "duplicate"}
            seen.add(key)
