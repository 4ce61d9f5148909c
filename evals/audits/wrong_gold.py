"""Audit of the filters where some gold answers are wrong: how many "repairs" of such problems each filter passes.

Pure functions from the rows of one teacher seed to quantities with intervals; `heal audit` calls them where training
problems have wrong gold answers (option `wrong_gold_share` of the mini world), which a world that can solve its own
questions finds. A repair that verifies against a wrong gold answer is an error with reasons: students are trained on
what passes here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.audits.estimates import Quantities, collect_column, estimate_share, mark_present
from evals.audits.gear import select_sources
from heal.config.experiment import Gear
from heal.method.gear import select_treated_problems
from heal.records import Row
from heal.worlds.base import Problem
from heal.worlds.registry import find_world

KeptByRule = Mapping[str, Collection[str]]
"""PURE's rule → trace ids of the repairs that it keeps."""


@dataclass(frozen=True)
class Filter:
    """The items that reach a filter, by problem, and whether each passes; arrays of shape [items]."""

    problem_ids: np.ndarray
    passes: np.ndarray

    @classmethod
    def from_rows(cls, rows: Sequence[Row], passes: np.ndarray) -> Filter:
        return cls(collect_column(rows, "problem_id", str), passes)


def find_wrong_gold(problems: Sequence[Row]) -> set[str]:
    """Ids of the problems whose gold answer is not the true one; none where a world does not know the true one."""
    wrong = set()
    for row in problems:
        world = find_world(row)
        true_answer = world.solve(Problem.from_row(row)) if world else None
        if true_answer is not None and true_answer != row["answer"]:
            wrong.add(row["problem_id"])
    return wrong


def mark_members(rows: Sequence[Row], column: str, ids: Collection[str]) -> np.ndarray:
    """Whether each row's value in the column is one of the ids, shape [rows]."""
    return np.array([row[column] in ids for row in rows], dtype=bool)


def list_remaining(repairs: Sequence[Row], kept_by_rule: KeptByRule) -> dict[str, Collection[str]]:
    """Name → trace ids of the repairs that remain: all accepted ones, and those that each of PURE's rules keeps."""
    accepted = set()
    for row in repairs:
        if row["accepted"]:
            accepted.add(row["trace_id"])
    remaining: dict[str, Collection[str]] = {"accepted": accepted}
    for rule, kept_ids in kept_by_rule.items():
        remaining[f"left after PURE {rule}"] = kept_ids
    return remaining


def build_problem_filters(
    problems: Sequence[Row], grades: Sequence[Row], repairs: Sequence[Row], kept_by_rule: KeptByRule, gear: Gear
) -> dict[str, Filter]:
    """Which problems GEAR considers, which it skips as suspect, and which have a repair at the end."""
    treated, suspect = map(set, select_treated_problems(grades, gear.max_pass_rate, gear.max_wrong_agreement))
    is_unsolved = mark_members(problems, "problem_id", treated | suspect)
    unsolved = [row for row, chosen in zip(problems, is_unsolved, strict=True) if chosen]
    filters = {
        "unsolved, of problems": Filter.from_rows(problems, is_unsolved),
        "wrong answers differ enough, of unsolved": Filter.from_rows(
            unsolved, mark_members(unsolved, "problem_id", treated)
        ),
    }
    repaired_ids = collect_column(repairs, "problem_id")
    for name, trace_ids in list_remaining(repairs, kept_by_rule).items():
        with_repair = set(repaired_ids[mark_members(repairs, "trace_id", trace_ids)])
        passes = mark_members(problems, "problem_id", with_repair)
        filters[f"a repair is {name}, of problems"] = Filter.from_rows(problems, passes)
    return filters


def build_trace_filters(
    grades: Sequence[Row], guided: Sequence[Row], repairs: Sequence[Row], kept_by_rule: KeptByRule
) -> dict[str, Filter]:
    """What reaches each filter of single traces, in the method's order, and what passes."""
    sources = select_sources(repairs)
    tried, verified, without_leak, accepted = [], [], [], []
    for row in repairs:
        if row["trace_id"] is None:
            continue
        tried.append(row)
        if row["accepted"] or row["reason"] in ("leak", "duplicate"):
            verified.append(row)
            if row["reason"] != "leak":
                without_leak.append(row)
                if row["accepted"]:
                    accepted.append(row)
    verified_ids = set(collect_column(verified, "trace_id"))
    has_breakpoint = mark_present(sources, "breakpoint")
    no_leak = collect_column(verified, "reason") != "leak"
    filters = {
        "correct, of base samples": Filter.from_rows(grades, collect_column(grades, "correct", bool)),
        "accepted, of guided samples": Filter.from_rows(guided, collect_column(guided, "accepted", bool)),
        "breakpoint found, of wrong traces": Filter.from_rows(sources, has_breakpoint),
        "verified, of repairs": Filter.from_rows(tried, mark_members(tried, "trace_id", verified_ids)),
        "no leak, of verified": Filter.from_rows(verified, no_leak),
        "no duplicate, of those": Filter.from_rows(without_leak, collect_column(without_leak, "accepted", bool)),
    }
    for rule, kept_ids in kept_by_rule.items():
        passes = mark_members(accepted, "trace_id", kept_ids)
        filters[f"kept by PURE {rule}, of accepted"] = Filter.from_rows(accepted, passes)
    return filters


def measure_filters(filters: Mapping[str, Filter], chosen: Collection[str]) -> Quantities:
    """Share that passes each filter, of the items of the chosen problems."""
    chosen_ids = np.array(sorted(chosen), dtype=str)
    quantities: Quantities = {}
    for name, step in filters.items():
        of_chosen = np.isin(step.problem_ids, chosen_ids)
        quantities[name] = estimate_share(step.passes, of_chosen, step.problem_ids)
    return quantities


def measure_remaining(repairs: Sequence[Row], kept_by_rule: KeptByRule, chosen: Collection[str]) -> Quantities:
    """Share of the chosen problems among the repairs that remain."""
    groups = collect_column(repairs, "problem_id", str)
    of_chosen = np.isin(groups, np.array(sorted(chosen), dtype=str))
    quantities: Quantities = {}
    for name, trace_ids in list_remaining(repairs, kept_by_rule).items():
        remains = mark_members(repairs, "trace_id", trace_ids)
        share = estimate_share(of_chosen[remains], np.ones(int(remains.sum()), dtype=bool), groups[remains])
        quantities[f"share of the repairs {name}"] = share
    return quantities


def measure_wrong_gold(
    problems: Sequence[Row],
    grades: Sequence[Row],
    guided: Sequence[Row],
    repairs: Sequence[Row],
    kept_by_rule: KeptByRule,
    gear: Gear,
) -> dict[str, Quantities]:
    """Each filter, for problems with a wrong and with a right gold answer."""
    wrong = find_wrong_gold(problems)
    right = set(collect_column(problems, "problem_id")) - wrong
    filters = build_problem_filters(problems, grades, repairs, kept_by_rule, gear)
    filters |= build_trace_filters(grades, guided, repairs, kept_by_rule)
    quantities = {}
    for name, chosen in (("wrong gold", wrong), ("right gold", right)):
        quantities[name] = measure_filters(filters, chosen) | measure_remaining(repairs, kept_by_rule, chosen)
    return quantities
