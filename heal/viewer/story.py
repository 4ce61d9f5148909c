"""A repair as the page shows it: tokens with their entropies, steps, cut, hint, PURE's numbers, first wrong step.

Reads nothing, writes nothing. What several repairs share (problem, texts, cut) is a row of its own, by id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from tokenizers.decoders import DecodeStream

from heal.config.experiment import Pure
from heal.errors import HealError
from heal.method import pure
from heal.method.entropy import per_step
from heal.method.steps import Step, split
from heal.records import Row
from heal.viewer.found import Found, Repair
from heal.worlds import registry as worlds

SIGNIFICANT_DIGITS = 4


def number(value: float | None) -> float | None:
    """Rounded; None where there is no finite number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [number(float(value)) for value in values]


class Storyteller:
    """Tells repairs with the teacher's tokenizer and PURE's options."""

    def __init__(self, found: Found, tokenizer: Any, options: Pure) -> None:
        self.found, self.tokenizer, self.options = found, tokenizer, options
        self.checked = worlds.is_checkable(list(found.problems.values()))
        self.steps = cache(self._steps)

    def tell(self, repair: Repair) -> dict[str, dict[str, Any]]:
        """Table → id → row, of this repair and of all it refers to. Raises HealError where files do not fit."""
        row = repair.row
        source, problem = self.of_run("samples", row["source_id"]), self.of_run("problems", row["problem_id"])
        fields = ("question", "answer", "source", "difficulty")
        cut = f"{repair.variant}/{row['source_id']}"
        told: dict[str, dict[str, Any]] = {
            "problems": {row["problem_id"]: {name: problem[name] for name in fields}},
            "texts": {row["source_id"]: self.text(source)},
            "cuts": {cut: self.cut(repair, source, problem)},
            "repairs": {repair.id: self.repair(repair, source, problem) | {"cut": cut}},
        }
        if row["trace_id"]:
            new = row["token_ids"][len(row["token_ids"]) - len(row["entropies"]) :]
            told["texts"][row["trace_id"]] = self.text({"token_ids": new, "entropies": row["entropies"]})
        return told

    def of_run(self, table: str, key: str) -> Row:
        try:
            return getattr(self.found, table)[key]
        except KeyError:
            fix = "give a run whose files belong together: make the repairs again"
            raise HealError(f"no {key} in {table}, which a repair refers to", where=table, fix=fix) from None

    def text(self, trace: Row) -> Row:
        """Each token's text and entropy; a character of several tokens stands with its last, the others are empty."""
        stream = DecodeStream(skip_special_tokens=True)
        backend = self.tokenizer.backend_tokenizer
        pieces = [stream.step(backend, token) or "" for token in trace["token_ids"]]
        return {"pieces": pieces, "centinats": [round(100 * value) for value in trace["entropies"]]}

    def _steps(self, token_ids: tuple[int, ...], min_step_tokens: int) -> list[Step]:
        pieces = [self.tokenizer.decode([token], skip_special_tokens=True) for token in token_ids]
        return split(pieces, min_step_tokens)

    def cut(self, repair: Repair, source: Row, problem: Row) -> Row:
        """The wrong trace as the detector saw it."""
        row, gear = repair.row, self.found.gears[repair.variant]
        steps = self.steps(tuple(source["token_ids"]), gear.min_step_tokens)
        if len(steps) != len(row["step_entropies"]):
            raise HealError(
                f"{len(steps)} steps by this tokenizer, {len(row['step_entropies'])} in repairs/{repair.variant}",
                where=f"trace {row['source_id']}",
                fix="give the teacher's own tokenizer with --tokenizer",
            )
        grade = self.of_run("grades", row["source_id"])
        return {
            "text": row["source_id"],
            "ends": [step.end for step in steps],
            "entropies": numbers(row["step_entropies"]),
            "surges": numbers(row["surges"]),
            "breakpoint": row["breakpoint"],
            "kept": row["kept_steps"] or 0,
            "certain": row["cut_certain"],
            "answer": grade["extracted"],
            "first_wrong": self.first_wrong(problem, steps),
        }

    def repair(self, repair: Repair, source: Row, problem: Row) -> Row:
        row, gear = repair.row, self.found.gears[repair.variant]
        told = {
            "variant": repair.variant,
            "problem": row["problem_id"],
            "index": row["index"],
            "verdict": repair.verdict,
            "pure": repair.pure,
            "text": row["trace_id"],
            "checker": None,
        }
        if not row["trace_id"]:
            return told
        kept_tokens = len(row["token_ids"]) - len(row["entropies"])
        steps = self.steps(tuple(row["token_ids"]), gear.min_step_tokens)
        entropies_T = [*source["entropies"][:kept_tokens], *row["entropies"]]
        wrong = self.first_wrong(problem, steps)
        return told | {
            "kept_tokens": kept_tokens,
            "hint": row["hint"] or "",
            "place": gear.hint.place,
            "ends": [step.end for step in steps],
            "entropies": numbers(per_step(entropies_T, steps, gear.statistic)),
            "answer": row["extracted"],
            "finish": row["finish_reason"],
            "first_wrong": wrong,
            "checker": origin_of_error(wrong, row["kept_steps"]) if self.checked else None,
            "score": None if repair.score is None else scored(repair.score, self.options),
        }

    def first_wrong(self, problem: Row, steps: Sequence[Step]) -> int | None:
        """The first step that the checker finds wrong, from 1; None where all are right, or nothing can be checked."""
        return worlds.find_first_wrong_step(problem, [step.text for step in steps]) if self.checked else None


def origin_of_error(first_wrong: int | None, kept_steps: int) -> str:
    """valid | inherited (the kept part was wrong already) | fresh (the continuation went wrong)."""
    if first_wrong is None:
        return "valid"
    return "inherited" if first_wrong <= kept_steps else "fresh"


def scored(score: Row, options: Pure) -> Row:
    """PURE's numbers of a trace; `ratios` (ln r, nats) stop at k₁."""
    surprise_K = np.asarray(score[pure.SURPRISE[options.surprise]], dtype=np.float64)
    uncertainty_K = score[f"uncertainty_{options.uncertainty}"]
    ratios = pure.scored_ratios(score, options)
    last = len(ratios)
    return {
        "perplexities": numbers(np.exp(surprise_K)),
        "uncertainties": numbers(uncertainty_K),
        "ratios": numbers(ratios),
        "certain": bool(last and uncertainty_K[last - 1] < options.certain_below),
        "worst": int(np.argmax(ratios)) + 1 if last else None,
        "anomaly": number(pure.anomaly(score, options)),
        "statement": score["statement"],
        "statement_nll": number(score["statement_nll"]),
    }
