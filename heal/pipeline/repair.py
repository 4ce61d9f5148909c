"""GEAR's second half: continue from every cut with a hint, and keep the whole story of each repair.

Reads problems, base samples and their grades; cuts as heal.method.gear says; writes one row per repair (schema
`repairs`).

    heal repair --config config/config.yaml --teacher default --variant no_hint --problems problems/train.parquet \\
        --samples samples.parquet --grades grades.parquet --out repairs.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from heal import records
from heal.command import Section
from heal.config.experiment import Gear, Sampling
from heal.grading.grader import Grader
from heal.method.gear import Cut, WrongTrace, select_cuts
from heal.method.hints import HINTS
from heal.method.steps import OPENING_TOKENS, count_opening_tokens
from heal.pipeline.runner import ModelCommand, count_tokens, count_tokens_since, decode_tokens
from heal.pipeline.verdict import judge_trace
from heal.records import Row, Usage, derive_seed, hash_content
from heal.worlds import registry as worlds

if TYPE_CHECKING:
    from heal.engines.base import Completion, Engine, Request

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

STEP_END = "\n\n"


class Repair(ModelCommand):
    problems: Path
    """The problems file."""
    samples: Path
    """The teacher's base samples."""
    grades: Path
    """Their grades."""
    sampling: Annotated[Sampling, Section("sampling")] = Sampling()
    """Decoding of the repairs."""
    variant: str = "default"
    """GEAR variant by name."""
    gear: Annotated[Gear, Section("gear_variants.{variant}")] = Gear()
    """GEAR's options."""

    def run(self) -> None:
        problems = records.read(self.problems, "problems")
        samples = records.read(self.samples, "samples")
        grades = records.read(self.grades, "grades")
        problems_by_id = {row["problem_id"]: row for row in problems}

        def find_first_wrong_step(trace: WrongTrace) -> int | None:
            problem = problems_by_id[trace.row["problem_id"]]
            return worlds.find_first_wrong_step(problem, [step.text for step in trace.steps])

        with self.start_engine("repair") as (engine, facts):
            cuts = select_cuts(
                problems,
                samples,
                grades,
                lambda row: decode_tokens(engine, row["token_ids"]),
                self.gear,
                self.seed,
                find_first_wrong_step,
            )
            cuts_by_problem: dict[str, list[Cut]] = {}
            for cut in cuts:
                cuts_by_problem.setdefault(cut.trace.row["problem_id"], []).append(cut)
            repairer = Repairer(engine, problems_by_id, self.gear, self.sampling, (self.seed, self.teacher_seed))
            facts["tokens"] = self.run_shard(
                "repairs",
                list(cuts_by_problem.values()),
                repairer.repair_batch,
                engine=engine,
                item_ids=[cut.trace.row["trace_id"] for cut in cuts],
                label="problems repaired",
            )


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

    def repair_batch(self, batch: Sequence[list[Cut]]) -> tuple[list[Row], Usage]:
        """All repairs of the cuts of a batch of problems, judged; traces without a breakpoint get one row each."""
        from heal.engines.base import Sampling as Decoding

        before = count_tokens(self.engine)
        cuts: list[Cut] = []
        rows: list[Row] = []
        for problem_cuts in batch:
            for cut in problem_cuts:
                if cut.breakpoint is None:
                    rows.append(build_untried_row(cut, self.gear))
                else:
                    cuts.append(cut)
        hints = self.write_hints(cuts)
        requests = [self.build_request(cut, hint) for cut, hint in zip(cuts, hints, strict=True)]
        decoding = Decoding(self.sampling.temperature, self.sampling.top_p, self.sampling.max_new_tokens)
        completions = self.engine.generate(requests, decoding)
        with Grader() as grader:
            for cut, hint, repairs in zip(cuts, hints, completions, strict=True):
                gold = self.get_problem(cut)["answer"]
                for index, completion in enumerate(repairs):
                    row = self.build_row(cut, hint, index, completion)
                    patterns = self.gear.leak_patterns
                    rows.append(row | judge_trace(row["text"], gold, row["finish_reason"], patterns, grader))
        reject_duplicates(rows)
        return rows, count_tokens_since(self.engine, before)

    def get_problem(self, cut: Cut) -> Row:
        return self.problems[cut.trace.row["problem_id"]]

    def write_hints(self, cuts: Sequence[Cut]) -> list[str]:
        """One hint per cut."""
        if self.gear.hint.source == "teacher":
            return self.ask_for_hints(cuts)
        write_hint = HINTS[self.gear.hint.source]
        return [write_hint(cut, self.get_problem(cut), self.gear) for cut in cuts]

    def ask_for_hints(self, cuts: Sequence[Cut]) -> list[str]:
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
            seeds = (derive_seed(*self.seed, "hint", cut.trace.row["trace_id"]),)
            requests.append(Request(tuple(self.engine.tokenize_chat(prompt)), seeds, hint_options.max_tokens))
        hints = []
        completions = self.engine.generate(requests, Decoding(max_new_tokens=hint_options.max_tokens))
        for cut, samples in zip(cuts, completions, strict=True):
            hint = self.engine.tokenizer.decode(samples[0].token_ids, skip_special_tokens=True).strip()
            hints.append("" if self.get_problem(cut)["answer"] in hint else hint)
        return hints

    def get_kept_ids(self, cut: Cut) -> list[int]:
        """The tokens before the cut; a trace that opened a thinking block keeps at least the opening."""
        ids = list(map(int, cut.trace.row["token_ids"]))
        return ids[: cut.kept_tokens or count_opening_tokens(decode_tokens(self.engine, ids[:OPENING_TOKENS]))]

    def decode_kept(self, cut: Cut) -> str:
        return self.engine.tokenizer.decode(self.get_kept_ids(cut), skip_special_tokens=True)

    def build_request(self, cut: Cut, hint: str) -> Request:
        """Asks the teacher to continue from the kept tokens; the hint follows them, or is in the user's turn."""
        from heal.engines.base import Request

        question = cut.trace.question
        prefix = self.get_kept_ids(cut)
        if hint and self.gear.hint.place == "user":
            question = self.gear.hint.user_turn.format(question=question, hint=hint)
        elif hint:
            prefix = prefix + self.engine.tokenizer.encode(hint + STEP_END, add_special_tokens=False)
        seeds = []
        for index in range(self.gear.repairs_per_trace):
            seeds.append(derive_seed(*self.seed, "repair", cut.trace.row["trace_id"], cut.kept_steps, hint, index))
        return Request(tuple(self.engine.tokenize_chat(question, prefix)), tuple(seeds))

    def build_row(self, cut: Cut, hint: str, index: int, completion: Completion) -> Row:
        """A row of the schema `repairs`, without its verdict."""
        decode = self.engine.tokenizer.decode
        continuation = completion.token_ids.tolist()
        token_ids = self.get_kept_ids(cut) + continuation
        return describe_cut(cut, self.gear) | {
            "trace_id": hash_content("repair", cut.trace.row["trace_id"], cut.kept_steps, hint, index, token_ids),
            "index": index,
            "kept": self.decode_kept(cut),
            "hint": hint,
            "continuation": decode(continuation, skip_special_tokens=True),
            "text": decode(token_ids, skip_special_tokens=True),
            "token_ids": token_ids,
            "logprobs": completion.logprobs,
            "entropies": completion.entropies,
            "finish_reason": completion.finish_reason,
        }


def describe_cut(cut: Cut, gear: Gear) -> Row:
    """The columns that are known before the teacher continues."""
    return {
        "problem_id": cut.trace.row["problem_id"],
        "source_id": cut.trace.row["trace_id"],
        "detector": gear.detector,
        "step_entropies": cut.trace.step_entropies_K,
        "surges": cut.trace.surges_K,
        "breakpoint": cut.breakpoint,
        "kept_steps": cut.kept_steps,
        "cut_certain": cut.certain,
    }


def build_untried_row(cut: Cut, gear: Gear) -> Row:
    """The row of a trace without a breakpoint: no repair is tried."""
    return describe_cut(cut, gear) | {
        "trace_id": None,
        "index": 0,
        "kept": "",
        "hint": None,
        "continuation": "",
        "text": "",
        "token_ids": [],
        "logprobs": [],
        "entropies": [],
        "finish_reason": "none",
        "extracted": None,
        "accepted": False,
        "reason": "no_breakpoint",
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
