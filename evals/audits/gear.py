"""Audit of GEAR: where a variant cuts relative to the first wrong step, and what its repairs are worth.

Pure functions from the rows of one repairs file to quantities with intervals; `heal audit` calls them. "At or before
the error" is not a quantity here: a cut at the first step always is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evals.audits.checker_truth import Truth
from evals.audits.estimates import (
    Estimate,
    Quantities,
    collect_column,
    compute_ratio,
    estimate_mean,
    estimate_share,
    mark_present,
)
from evals.stats import compute_auroc
from heal.errors import HealError
from heal.method.steps import split_text
from heal.records import Row, Usage

BAR = re.compile(r"distance ([+-]?\d+)")


@dataclass(frozen=True)
class Cuts:
    """The cuts of wrong traces that have a wrong step; arrays of shape [cuts]."""

    problem_ids: NDArray[np.str_]
    kept_steps: NDArray[np.int_]
    """Number of steps that the cut keeps; 0 is a restart."""
    first_wrong: NDArray[np.int_]
    """First wrong step of the trace, from 1."""

    @property
    def distances(self) -> NDArray[np.int_]:
        """0: the cut keeps exactly the steps before the first wrong one; positive: it keeps the error."""
        return self.kept_steps + 1 - self.first_wrong


def select_sources(repairs: Sequence[Row]) -> list[Row]:
    """One row per wrong trace, since all repairs of a trace share its cut."""
    first_rows: dict[str, Row] = {}
    for row in repairs:
        first_rows.setdefault(row["source_id"], row)
    return list(first_rows.values())


def collect_cuts(repairs: Sequence[Row], samples: dict[str, Row], truth: Truth) -> Cuts:
    """samples: trace id → sample. Raises HealError for a repair of an unknown trace."""
    problem_ids, kept_steps, first_wrong = [], [], []
    for row in select_sources(repairs):
        if row["source_id"] not in samples:
            raise HealError(
                f"trace {row['source_id']} is not among the samples",
                where=f"repair of problem {row['problem_id']}",
                fix="give samples and repairs of the same teacher seed",
            )
        first = truth.find_first_wrong(row["problem_id"], samples[row["source_id"]]["text"])
        if row["breakpoint"] is not None and first is not None:
            problem_ids.append(row["problem_id"])
            kept_steps.append(len(split_text(row["kept"])))
            first_wrong.append(first)
    return Cuts(np.array(problem_ids, dtype=str), np.array(kept_steps, dtype=int), np.array(first_wrong, dtype=int))


def measure_cuts(repairs: Sequence[Row], samples: dict[str, Row], truth: Truth) -> Quantities:
    """Where the cuts are. A cut that keeps nothing is a restart; restarts are counted apart."""
    sources = select_sources(repairs)
    cuts = collect_cuts(repairs, samples, truth)
    groups, distances = cuts.problem_ids, cuts.distances
    every = np.ones(len(groups), dtype=bool)
    mid_trace = cuts.kept_steps > 0
    right_steps = cuts.first_wrong - 1
    has_right_prefix = right_steps > 0
    prefix_kept = np.minimum(cuts.kept_steps, right_steps) / np.maximum(right_steps, 1)
    has_breakpoint = mark_present(sources, "breakpoint")
    source_groups = collect_column(sources, "problem_id", str)
    quantities: Quantities = {
        "breakpoint found": estimate_share(has_breakpoint, np.ones(len(sources), dtype=bool), source_groups),
        "restart": estimate_share(~mid_trace, every, groups),
        "exact": estimate_share(distances == 0, every, groups),
        "exact, without restarts": estimate_mean(distances == 0, groups, mid_trace, share=True),
        "distance in steps": estimate_mean(distances, groups),
        "distance in steps, without restarts": estimate_mean(distances, groups, mid_trace),
        "after the error": estimate_share(distances > 0, every, groups),
        "share of right prefix kept": estimate_mean(prefix_kept, groups, has_right_prefix, share=True),
    }
    for distance in np.unique(distances):
        quantities[format_distance(distance)] = estimate_share(distances == distance, every, groups)
    return quantities


def format_distance(distance: int) -> str:
    """The name of a bar in the histogram of cut distances: "distance +2"."""
    return f"distance {distance:+d}" if distance else "distance 0"


def parse_distance(quantity: str) -> int | None:
    """The distance of a bar, inverse of `format_distance`; None for any other quantity."""
    bar = BAR.fullmatch(quantity)
    return int(bar[1]) if bar else None


def compute_tokens_per_row(repairs: Sequence[Row], usage: Usage) -> NDArray[np.float64]:
    """Teacher tokens of each row: its own continuation, and an even share of prompts and hints per problem.

    Their sum is what the file cost. Raises HealError where the file does not say what it cost.
    """
    if not repairs:
        return np.zeros(0)
    if not usage:
        raise HealError("the repairs file does not say what it cost", fix="make it again with heal repair")
    rows_per_problem = Counter(collect_column(repairs, "problem_id"))
    own = np.zeros(len(repairs))
    rows_sharing = np.zeros(len(repairs))
    for i, row in enumerate(repairs):
        own[i] = len(row["entropies"])
        rows_sharing[i] = rows_per_problem[row["problem_id"]]
    shared = usage.get("prefill", 0) + usage.get("generated", 0) + usage.get("scored", 0) - own.sum()
    return own + shared / len(rows_per_problem) / rows_sharing


def measure_repairs(repairs: Sequence[Row], usage: Usage, truth: Truth) -> Quantities:
    """What the repairs are worth; valid repairs per 1,000 teacher tokens is the primary quantity."""
    groups = collect_column(repairs, "problem_id", str)
    tried = mark_present(repairs, "trace_id")
    accepted = collect_column(repairs, "accepted", bool)
    origins = np.full(len(repairs), "", dtype="<U9")
    restart = np.zeros(len(repairs), dtype=bool)
    for i, row in enumerate(repairs):
        restart[i] = not row["kept"].strip()
        if row["accepted"]:
            origins[i] = truth.classify_error(row)
    valid = origins == "valid"
    valid_per_1000 = compute_ratio(1000.0 * valid, compute_tokens_per_row(repairs, usage), groups, share=False)
    return {
        "accepted": estimate_share(accepted, tried, groups),
        "treated problems with an accepted repair": estimate_problems(accepted, groups),
        "valid of accepted": estimate_share(valid, accepted, groups),
        "inherited error of accepted": estimate_share(origins == "inherited", accepted, groups),
        "fresh error of accepted": estimate_share(origins == "fresh", accepted, groups),
        "valid of accepted, restarts": estimate_share(valid, accepted & restart, groups),
        "valid of accepted, mid-trace cuts": estimate_share(valid, accepted & ~restart, groups),
        "valid repairs per 1,000 teacher tokens": Estimate(valid_per_1000, len(np.unique(groups))),
    }


def estimate_problems(passed: NDArray[np.bool_], groups: NDArray[np.str_]) -> Estimate:
    """Share of the problems of which at least one item passes."""
    problems = np.unique(groups)
    return estimate_share(np.isin(problems, groups[passed]), np.ones(len(problems), dtype=bool), problems)


@dataclass
class StepColumns:
    """Step entropies (nats) of wrong traces with what the checker says of each step; lists with one entry per step."""

    entropies: list[float] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)
    first_wrong: list[bool] = field(default_factory=list)
    withheld: list[bool] = field(default_factory=list)
    problem_ids: list[str] = field(default_factory=list)


def measure_entropy(repairs: Sequence[Row], samples: dict[str, Row], truth: Truth) -> Quantities:
    """Does entropy mark the error? Step entropies of the wrong traces: wrong steps against right ones.

    Skips traces whose stored steps are not the checker's (joined short steps). `n` counts traces or steps.
    """
    steps = StepColumns()
    trace_problem_ids: list[str] = []
    surge_hits: list[bool] = []
    entropy_hits: list[bool] = []
    for row in select_sources(repairs):
        valid = truth.check_steps(row["problem_id"], samples[row["source_id"]]["text"])
        if len(valid) != len(row["step_entropies"]) or valid.all():
            continue
        steps.entropies.extend(row["step_entropies"])
        steps.wrong.extend(~valid)
        steps.first_wrong.extend(np.arange(len(valid)) == np.argmin(valid))
        steps.withheld.extend(truth.mark_withheld(row["problem_id"], len(valid)))
        steps.problem_ids.extend([row["problem_id"]] * len(valid))
        trace_problem_ids.append(row["problem_id"])
        surge_hits.append(not valid[np.argmax(row["surges"])])
        entropy_hits.append(not valid[np.argmax(row["step_entropies"])])
    quantities = compare_step_entropies(steps, truth.knows_withheld) if steps.entropies else {}
    for name, hits in (("surge", surge_hits), ("entropy", entropy_hits)):
        share = estimate_mean(np.array(hits, dtype=bool), trace_problem_ids, share=True)
        quantities[f"largest {name} is a wrong step"] = share
    return quantities


def compare_step_entropies(steps: StepColumns, knows_withheld: bool) -> Quantities:
    """Mean entropy of the steps by what they are, and how well entropy finds the first wrong one."""
    entropies, groups = np.array(steps.entropies, dtype=float), np.array(steps.problem_ids)
    wrong, first_wrong = np.array(steps.wrong), np.array(steps.first_wrong)
    withheld = np.array(steps.withheld)
    masks = {"first wrong": first_wrong}
    if knows_withheld:
        masks |= {"withheld": withheld, "right and not withheld": ~(wrong | withheld)}
    else:
        masks["right"] = ~wrong
    quantities: Quantities = {}
    for name, mask in masks.items():
        quantities[f"entropy of {name} steps, nats"] = estimate_mean(entropies, groups, mask)
    compared = first_wrong | ~wrong  # later wrong steps are neither the error nor right
    area = compute_auroc(entropies[compared], first_wrong[compared], groups=groups[compared])
    quantities["AUROC of step entropy for the first wrong step"] = Estimate(area, int(compared.sum()))
    return quantities


def measure_guided(guided: Sequence[Row], treated: set[str], truth: Truth, usage: Usage) -> Quantities:
    """Answer-guided samples of the treated problems: accepted, and valid at every step.

    guided: all rows of the file. treated: problem ids. usage: tokens of the whole file.
    """
    all_groups = collect_column(guided, "problem_id", str)
    of_treated = np.isin(all_groups, np.array(sorted(treated), dtype=str))
    groups = all_groups[of_treated]
    accepted = collect_column(guided, "accepted", bool)[of_treated]
    valid = accepted.copy()
    for i, index in enumerate(np.flatnonzero(of_treated)):
        valid[i] = accepted[i] and truth.is_valid(guided[index])
    quantities: Quantities = {
        "accepted": estimate_mean(accepted, groups, share=True),
        "valid of accepted": estimate_share(valid, accepted, groups),
    }
    if len(groups):
        costs = compute_tokens_per_row(guided, usage)[of_treated]
        valid_per_1000 = compute_ratio(1000.0 * valid, costs, groups, share=False)
        quantities["valid samples per 1,000 teacher tokens"] = Estimate(valid_per_1000, len(np.unique(groups)))
    return quantities
