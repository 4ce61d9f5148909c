"""GEAR's second half: go on from every cut with a hint, and keep the whole story of each repair.

Reads problems, base samples and their grades; cuts as `heal.method.gear` says; writes one row per repair (schema `repairs`).

    python -m heal.pipeline.repair --problems problems/train.parquet --samples samples.parquet --grades grades.parquet \\
        --model heal/worlds/mini/models/teacher --options '{"min_step_tokens": 1}' --out repairs.parquet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from heal import records
from heal.config.experiment import Engine as EngineOptions
from heal.config.experiment import Gear, Sampling
from heal.engines.open import open_engine
from heal.errors import exit_with_errors
from heal.grading.grader import Grader
from heal.method.gear import Cut, WrongTrace, plan
from heal.method.hints import HINTS
from heal.method.steps import OPENING_TOKENS, opening_tokens
from heal.pipeline.runner import (
    arguments_parser,
    pieces,
    read_options,
    run_batches,
    shard_of,
    tokens_since,
    tokens_used,
)
from heal.pipeline.verdict import verdict
from heal.provenance import recorded
from heal.records import Row, Usage, content_id, request_seed
from heal.worlds import registry as worlds

if TYPE_CHECKING:
    from heal.engines.base import Completion, Engine, Request

STEP_END = "\n\n"


def ask_for_hints(
    engine: Engine, cuts: Sequence[Cut], problems: dict[str, Row], gear: Gear, seed: Sequence[Any]
) -> list[str]:
    """One short hint per cut from the teacher itself; a hint that states the answer is dropped."""
    from heal.engines.base import Request
    from heal.engines.base import Sampling as Decoding

    requests, answers = [], []
    for cut in cuts:
        problem = problems[cut.trace.row["problem_id"]]
        question = gear.hint.ask_template.format(
            question=problem["question"], kept=kept_text(engine, cut), answer=problem["answer"]
        )
        seeds = (request_seed(*seed, "hint", cut.trace.row["trace_id"]),)
        requests.append(Request(tuple(engine.chat_ids(question)), seeds, gear.hint.max_tokens))
        answers.append(problem["answer"])
    hints = [
        engine.tokenizer.decode(samples[0].token_ids, skip_special_tokens=True).strip()
        for samples in engine.generate(requests, Decoding(max_new_tokens=gear.hint.max_tokens))
    ]
    return ["" if answer in hint else hint for hint, answer in zip(hints, answers, strict=True)]


def kept_ids(engine: Engine, cut: Cut) -> list[int]:
    """The tokens before the cut; a trace that opened a thinking block keeps at least the opening, and so the block."""
    ids = cut.trace.row["token_ids"]
    return ids[: cut.kept_tokens or opening_tokens(pieces(engine, ids[:OPENING_TOKENS]))]


def kept_text(engine: Engine, cut: Cut) -> str:
    return engine.tokenizer.decode(kept_ids(engine, cut), skip_special_tokens=True)


def request(engine: Engine, cut: Cut, hint: str, gear: Gear, seed: Sequence[Any]) -> Request:
    """Asks the teacher to go on from the kept tokens; the hint stands behind them, or in the user's turn."""
    from heal.engines.base import Request

    question, prefix = cut.trace.question, kept_ids(engine, cut)
    if hint and gear.hint.place == "user":
        question = gear.hint.user_turn.format(question=question, hint=hint)
    elif hint:
        prefix = prefix + engine.tokenizer.encode(hint + STEP_END, add_special_tokens=False)
    seeds = tuple(
        request_seed(*seed, "repair", cut.trace.row["trace_id"], cut.kept_steps, hint, index)
        for index in range(gear.repairs_per_trace)
    )
    return Request(tuple(engine.chat_ids(question, prefix)), seeds)


def story(cut: Cut, gear: Gear) -> Row:
    """What is known of a cut before the teacher goes on from it."""
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


def not_tried(cut: Cut, gear: Gear) -> Row:
    nothing: Row = {
        "kept": "",
        "continuation": "",
        "text": "",
        "token_ids": [],
        "logprobs": [],
        "entropies": [],
    }
    told = {"index": 0, "finish_reason": "none", "accepted": False, "reason": "no_breakpoint"}
    return story(cut, gear) | nothing | told | {"trace_id": None, "hint": None, "extracted": None}


def repair_row(engine: Engine, cut: Cut, hint: str, gear: Gear, index: int, completion: Completion) -> Row:
    continuation = completion.token_ids.tolist()
    token_ids = kept_ids(engine, cut) + continuation
    decode = engine.tokenizer.decode
    return story(cut, gear) | {
        "trace_id": content_id("repair", cut.trace.row["trace_id"], cut.kept_steps, hint, index, token_ids),
        "index": index,
        "kept": kept_text(engine, cut),
        "hint": hint,
        "continuation": decode(continuation, skip_special_tokens=True),
        "text": decode(token_ids, skip_special_tokens=True),
        "token_ids": token_ids,
        "logprobs": completion.logprobs,
        "entropies": completion.entropies,
        "finish_reason": completion.finish_reason,
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


def repairer(
    engine: Engine, problems: dict[str, Row], gear: Gear, sampling: Sampling, seed: Sequence[Any]
) -> Callable[[Sequence[list[Cut]]], tuple[list[Row], Usage]]:
    """A function that repairs the cuts of a batch of problems."""
    from heal.engines.base import Sampling as Decoding

    decoding = Decoding(sampling.temperature, sampling.top_p, sampling.max_new_tokens)

    def work(batch: Sequence[list[Cut]]) -> tuple[list[Row], Usage]:
        before = tokens_used(engine)
        every = [cut for cuts in batch for cut in cuts]
        cuts = [cut for cut in every if cut.breakpoint is not None]
        if gear.hint.source == "teacher":
            hints = ask_for_hints(engine, cuts, problems, gear, seed)
        else:
            hints = [HINTS[gear.hint.source](cut, problems[cut.trace.row["problem_id"]], gear) for cut in cuts]
        requests = [request(engine, cut, hint, gear, seed) for cut, hint in zip(cuts, hints, strict=True)]
        completions = engine.generate(requests, decoding)
        rows = [not_tried(cut, gear) for cut in every if cut.breakpoint is None]
        with Grader() as grader:
            for cut, hint, samples in zip(cuts, hints, completions, strict=True):
                gold = problems[cut.trace.row["problem_id"]]["answer"]
                for index, completion in enumerate(samples):
                    row = repair_row(engine, cut, hint, gear, index, completion)
                    rows.append(row | verdict(row["text"], gold, row["finish_reason"], gear.leak_patterns, grader))
        reject_duplicates(rows)
        return rows, tokens_since(engine, before)

    return work


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "samples", "grades", model=True)
    parser.add_argument("--sampling", default="{}", help="decoding options as JSON")
    arguments = parser.parse_args()
    gear = read_options(Gear, arguments.options)
    sampling = read_options(Sampling, arguments.sampling, "--sampling")
    size = read_options(EngineOptions, arguments.engine, "--engine").problems_per_batch
    problems = records.read(arguments.problems, "problems")
    samples = records.read(arguments.samples, "samples")
    grades = records.read(arguments.grades, "grades")
    by_id = {row["problem_id"]: row for row in problems}
    seed = (arguments.seed, arguments.draw)

    def first_wrong_step(trace: WrongTrace) -> int | None:
        return worlds.first_wrong_step(by_id[trace.row["problem_id"]], [step.text for step in trace.steps])

    with recorded(arguments.out, "heal.pipeline.repair", options=vars(arguments), seeds=list(seed)) as facts:
        engine = open_engine(arguments)
        facts["engine"] = engine.settings
        cuts = plan(
            problems,
            samples,
            grades,
            lambda row: pieces(engine, row["token_ids"]),
            gear,
            arguments.seed,
            first_wrong_step,
        )
        by_problem: dict[str, list[Cut]] = {}
        for cut in cuts:
            by_problem.setdefault(cut.trace.row["problem_id"], []).append(cut)
        work = repairer(engine, by_id, gear, sampling, seed)
        facts["tokens"] = run_batches(
            arguments.out,
            "repairs",
            shard_of(list(by_problem.values()), arguments.shard),
            size,
            work,
            fingerprint=[
                vars(arguments) | {"out": None, "gpus": None},
                engine.settings,
                [cut.trace.row["trace_id"] for cut in cuts],
            ],
            what="problems repaired",
        )


if __name__ == "__main__":
    exit_with_errors(main)
