"""Builds what the page shows of a repair: tokens with entropies, steps, cut, hint, PURE's numbers, first wrong step.

Reads nothing, writes nothing. What several repairs share (problem, text, cut) is a row of its own, by id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from tokenizers.decoders import DecodeStream

from heal.config.experiment import Pure
from heal.errors import HealError
from heal.method import pure
from heal.method.entropy import aggregate_steps
from heal.method.steps import Step, TokenTexts, split
from heal.records import Row
from heal.viewer.read_run import ViewedRepair, ViewedRun
from heal.worlds import registry as worlds
from heal.worlds.error_origin import classify_error

SIGNIFICANT_DIGITS = 4
PROBLEM_FIELDS = ("question", "answer", "source", "difficulty")

Tables = dict[str, dict[str, Any]]
"""Table of the page (problems, texts, cuts, repairs) → id → row."""


def round_number(value: float | None) -> float | None:
    """A number as the page stores it; None where it is missing or not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def round_numbers(values: Iterable[float]) -> list[float | None]:
    return list(map(round_number, map(float, values)))


class RowBuilder:
    """Builds the page's rows with the teacher's tokenizer and PURE's options."""

    def __init__(self, run: ViewedRun, tokenizer: Any, options: Pure) -> None:
        self.run = run
        self.tokenizer = tokenizer
        self.get_texts = TokenTexts(tokenizer)
        self.options = options
        self.checkable = worlds.is_checkable(list(run.problems.values()))
        self.split_steps = cache(self._split_steps)

    def build_tables(self, repair: ViewedRepair) -> Tables:
        """The rows of a repair and of everything it refers to. Raises HealError where files do not belong together."""
        row = repair.row
        source = get_row(self.run.samples, row["source_id"], "samples")
        problem = get_row(self.run.problems, row["problem_id"], "problems")
        cut_id = f"{repair.variant}/{row['source_id']}"
        texts = {row["source_id"]: self.build_text(source["token_ids"], source["entropies"])}
        if row["trace_id"]:
            new_ids = row["token_ids"][len(row["token_ids"]) - len(row["entropies"]) :]
            texts[row["trace_id"]] = self.build_text(new_ids, row["entropies"])
        return {
            "problems": {row["problem_id"]: {name: problem[name] for name in PROBLEM_FIELDS}},
            "texts": texts,
            "cuts": {cut_id: self.build_cut(repair, source, problem)},
            "repairs": {repair.id: self.build_repair(repair, source, problem) | {"cut": cut_id}},
        }

    def build_text(self, token_ids: Sequence[int], entropies: Sequence[float]) -> Row:
        """Each token's text and entropy (hundredths of a nat).

        A character of several tokens belongs to the last of them; the others are empty.
        """
        stream = DecodeStream(skip_special_tokens=True)
        backend = self.tokenizer.backend_tokenizer
        pieces, centinats = [], []
        for token, entropy in zip(map(int, token_ids), map(float, entropies), strict=True):
            pieces.append(stream.step(backend, token) or "")
            centinats.append(round(100 * entropy))
        return {"pieces": pieces, "centinats": centinats}

    def _split_steps(self, token_ids: tuple[int, ...], min_step_tokens: int) -> list[Step]:
        return split(self.get_texts(token_ids), min_step_tokens)

    def build_cut(self, repair: ViewedRepair, source: Row, problem: Row) -> Row:
        """The wrong trace as the detector saw it. Raises HealError where the tokenizer is not the teacher's."""
        row, gear = repair.row, self.run.gears[repair.variant]
        steps = self.split_steps(tuple(map(int, source["token_ids"])), gear.min_step_tokens)
        if len(steps) != len(row["step_entropies"]):
            raise HealError(
                f"{len(steps)} steps by this tokenizer, {len(row['step_entropies'])} in repairs/{repair.variant}",
                where=f"trace {row['source_id']}",
                fix="give the teacher's own tokenizer with --tokenizer",
            )
        return {
            "text": row["source_id"],
            "ends": get_ends(steps),
            "entropies": round_numbers(row["step_entropies"]),
            "surges": round_numbers(row["surges"]),
            "breakpoint": row["breakpoint"],
            "kept": row["kept_steps"] or 0,
            "certain": row["cut_certain"],
            "answer": get_row(self.run.grades, row["source_id"], "grades")["extracted"],
            "first_wrong": self.find_first_wrong(problem, steps),
        }

    def build_repair(self, repair: ViewedRepair, source: Row, problem: Row) -> Row:
        """The repair itself; only verdicts where no repair was tried."""
        row, gear = repair.row, self.run.gears[repair.variant]
        verdicts = {
            "variant": repair.variant,
            "problem": row["problem_id"],
            "index": row["index"],
            "verdict": repair.verdict,
            "pure": repair.pure,
            "text": row["trace_id"],
            "checker": None,
        }
        if not row["trace_id"]:
            return verdicts
        kept_tokens = len(row["token_ids"]) - len(row["entropies"])
        steps = self.split_steps(tuple(map(int, row["token_ids"])), gear.min_step_tokens)
        entropies_T = [*source["entropies"][:kept_tokens], *row["entropies"]]
        first_wrong = self.find_first_wrong(problem, steps)
        return verdicts | {
            "kept_tokens": kept_tokens,
            "hint": row["hint"] or "",
            "place": gear.hint.place,
            "ends": get_ends(steps),
            "entropies": round_numbers(aggregate_steps(entropies_T, steps, gear.statistic)),
            "answer": row["extracted"],
            "finish": row["finish_reason"],
            "first_wrong": first_wrong,
            "checker": classify_error(first_wrong, row["kept_steps"]) if self.checkable else None,
            "score": None if repair.score is None else build_score(repair.score, self.options),
        }

    def find_first_wrong(self, problem: Row, steps: Sequence[Step]) -> int | None:
        """The first step that is not valid, from 1; None where every step is, or where steps cannot be checked."""
        return worlds.find_first_wrong_step(problem, [step.text for step in steps]) if self.checkable else None


def get_row(rows: Mapping[str, Row], key: str, table: str) -> Row:
    """A row that a repair refers to. Raises HealError where the table lacks it."""
    if key not in rows:
        fix = "make the repairs again: these files belong to different runs"
        raise HealError(f"no {key} in {table}, which a repair refers to", where=table, fix=fix)
    return rows[key]


def get_ends(steps: Iterable[Step]) -> list[int]:
    """The token after each step."""
    return [step.end for step in steps]


def build_score(score: Row, options: Pure) -> Row:
    """PURE's numbers of a trace; `ratios` (ln r, nats) end at k₁."""
    surprise_K = np.asarray(score[pure.SURPRISE[options.surprise]], dtype=np.float64)
    uncertainty_K = score[f"uncertainty_{options.uncertainty}"]
    ratios = pure.compute_scored_ratios(score, options)
    last = len(ratios)
    return {
        "perplexities": round_numbers(np.exp(surprise_K)),
        "uncertainties": round_numbers(uncertainty_K),
        "ratios": round_numbers(ratios),
        "certain": bool(last and uncertainty_K[last - 1] < options.certain_below),
        "worst": int(np.argmax(ratios)) + 1 if last else None,
        "anomaly": round_number(pure.compute_anomaly(score, options)),
        "statement": score["statement"],
        "statement_nll": round_number(score["statement_nll"]),
    }
