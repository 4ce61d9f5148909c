"""Audit of GEAR: where a variant cuts, against the first wrong step, and what its repairs are worth.

Pure functions from the rows of one repairs file to quantities with intervals; `evals.audits.run` runs them. "At or before
the error" is no quantity here: cutting at the first step always is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evals.audits.checker_truth import Truth, mean, ratio
from evals.stats import Interval, compute_auroc
from heal.errors import HealError
from heal.method.steps import split_text
from heal.records import Row, Usage

Quantities = dict[str, tuple[Interval, int]]  # name → estimate, and how many items it is over


@dataclass(frozen=True)
class AuditedCut:
    """One wrong trace that was cut: steps kept, and its first wrong step (from 1)."""

    row: Row
    kept: int
    first_wrong: int

    @property
    def distance(self) -> int:
        """0: the cut keeps exactly the steps before the first wrong one; positive: it keeps the error."""
        return self.kept + 1 - self.first_wrong


def sources(repairs: Sequence[Row]) -> list[Row]:
    """One row per wrong trace: all its repairs share the cut."""
    return list({row["source_id"]: row for row in reversed(repairs)}.values())[::-1]


def cuts(repairs: Sequence[Row], samples: dict[str, Row], truth: Truth) -> list[AuditedCut]:
    """The cuts of wrong traces with a wrong step. Raises HealError for a repair of an unknown trace."""
    found = []
    for row in sources(repairs):
        if row["source_id"] not in samples:
            raise HealError(
                f"trace {row['source_id']} is not among the samples",
                where=f"repair of problem {row['problem_id']}",
                fix="give samples and repairs of the same draw",
            )
        first = truth.first_wrong(row["problem_id"], samples[row["source_id"]]["text"])
        if row["breakpoint"] is not None and first is not None:
            found.append(AuditedCut(row, len(split_text(row["kept"])), first))
    return found


def cut_quantities(repairs: Sequence[Row], samples: dict[str, Row], truth: Truth) -> Quantities:
    """Where the cuts are. A cut that keeps nothing is a restart; restarts are counted apart."""
    every, audited = sources(repairs), cuts(repairs, samples, truth)
    mid = [cut for cut in audited if cut.kept > 0]
    started = [cut for cut in audited if cut.first_wrong > 1]

    def over(chosen: Sequence[AuditedCut], values: Sequence[float], share: bool = True) -> tuple[Interval, int]:
        return mean(values, [cut.row["problem_id"] for cut in chosen], share=share), len(chosen)

    tried = [row["breakpoint"] is not None for row in every]
    restarts = [cut.kept == 0 for cut in audited]
    kept_right = [min(cut.kept, cut.first_wrong - 1) / (cut.first_wrong - 1) for cut in started]
    found: Quantities = {
        "breakpoint found": (mean(tried, [row["problem_id"] for row in every]), len(every)),
        "restart": over(audited, restarts),
        "exact": over(audited, [cut.distance == 0 for cut in audited]),
        "exact, without restarts": over(mid, [cut.distance == 0 for cut in mid]),
        "distance in steps": over(audited, [cut.distance for cut in audited], share=False),
        "distance in steps, without restarts": over(mid, [cut.distance for cut in mid], share=False),
        "after the error": over(audited, [cut.distance > 0 for cut in audited]),
        "share of right prefix kept": over(started, kept_right),
    }
    histogram = Counter(cut.distance for cut in audited)
    for distance in sorted(histogram):
        name = f"distance {distance:+d}" if distance else "distance 0"
        found[name] = over(audited, [cut.distance == distance for cut in audited])
    return found


def tokens_by_row(repairs: Sequence[Row], usage: Usage) -> np.ndarray:
    """Teacher tokens of each row: its own continuation, and an even share of prompts and hints per problem.

    Their sum is what the file spent. Raises HealError where the file does not say what it spent.
    """
    if not repairs:
        return np.zeros(0)
    if not usage:
        raise HealError("the repairs file does not say what it cost", fix="make it again with heal.pipeline.repair")
    own = np.array([len(row["entropies"]) for row in repairs], dtype=float)
    shared = usage.get("prefill", 0) + usage.get("generated", 0) + usage.get("scored", 0) - own.sum()
    counts = Counter(row["problem_id"] for row in repairs)
    return own + np.array([shared / len(counts) / counts[row["problem_id"]] for row in repairs])


def repair_quantities(repairs: Sequence[Row], usage: Usage, truth: Truth) -> Quantities:
    """What the repairs are worth; valid repairs per 1,000 teacher tokens is the primary quantity."""
    groups = [row["problem_id"] for row in repairs]
    tried = np.array([row["trace_id"] is not None for row in repairs], dtype=bool)
    accepted = np.array([row["accepted"] for row in repairs], dtype=bool)
    origins = np.array([truth.origin_of_error(row) if row["accepted"] else "" for row in repairs], dtype=str)
    valid = origins == "valid"
    restart = np.array([not row["kept"].strip() for row in repairs], dtype=bool)
    found: Quantities = {
        "accepted": (ratio(accepted, tried, groups), int(tried.sum())),
        "valid of accepted": (ratio(valid, accepted, groups), int(accepted.sum())),
    }
    for name in ("inherited", "fresh"):
        found[f"{name} error of accepted"] = (ratio(origins == name, accepted, groups), int(accepted.sum()))
    for name, part in (("restarts", restart), ("mid-trace cuts", ~restart)):
        here = accepted & part
        found[f"valid of accepted, {name}"] = (ratio(valid & part, here, groups), int(here.sum()))
    per_1000 = ratio(1000.0 * valid, tokens_by_row(repairs, usage), groups, share=False)
    found["valid repairs per 1,000 teacher tokens"] = (per_1000, len(set(groups)))
    return found


def entropy_quantities(repairs: Sequence[Row], samples: dict[str, Row], truth: Truth) -> Quantities:
    """Does entropy mark the error? Step entropies of the wrong traces: wrong steps against right ones.

    Traces whose stored steps are not the checker's (joined short steps) are left out. `n` counts traces or steps.
    """
    entropies, wrong, first, withheld, groups = [], [], [], [], []
    peaks: dict[str, list[bool]] = {"surge": [], "entropy": []}
    owners = []
    for row in sources(repairs):
        verdicts = truth.verdicts(row["problem_id"], samples[row["source_id"]]["text"])
        if len(verdicts) != len(row["step_entropies"]) or all(verdicts):
            continue
        error = verdicts.index(False)
        needed = truth.withheld(row["problem_id"])
        entropies += list(row["step_entropies"])
        wrong += [not valid for valid in verdicts]
        first += [k == error for k in range(len(verdicts))]
        withheld += [k in needed for k in range(1, len(verdicts) + 1)]
        groups += [row["problem_id"]] * len(verdicts)
        owners.append(row["problem_id"])
        peaks["surge"].append(not verdicts[int(np.argmax(row["surges"]))])
        peaks["entropy"].append(not verdicts[int(np.argmax(row["step_entropies"]))])
    values = np.array(entropies, dtype=float)
    is_wrong, is_first, is_withheld = (np.array(flags, dtype=bool) for flags in (wrong, first, withheld))
    found: Quantities = {}
    masks = {"first wrong": is_first}
    if truth.knows_withheld:
        masks |= {"withheld": is_withheld, "right and not withheld": ~(is_wrong | is_withheld)}
    else:
        masks["right"] = ~is_wrong
    for name, mask in masks.items() if len(values) else ():
        chosen = [group for group, use in zip(groups, mask, strict=True) if use]
        found[f"entropy of {name} steps, nats"] = (mean(values[mask], chosen, share=False), int(mask.sum()))
    if len(values):
        use = is_first | ~is_wrong  # later wrong steps are neither the error nor right
        chosen = [group for group, used in zip(groups, use, strict=True) if used]
        area = compute_auroc(values[use], is_first[use], groups=chosen)
        found["AUROC of step entropy for the first wrong step"] = (area, int(use.sum()))
    for name, hits in peaks.items():
        found[f"largest {name} is a wrong step"] = (mean(hits, owners), len(hits))
    return found


def guided_quantities(guided: Sequence[Row], treated: set[str], truth: Truth, usage: Usage) -> Quantities:
    """Answer-guided samples of the treated problems: accepted, and valid at every step."""
    here = [row for row in guided if row["problem_id"] in treated]
    groups = [row["problem_id"] for row in here]
    accepted = np.array([row["accepted"] for row in here], dtype=bool)
    valid = np.array([row["accepted"] and truth.is_valid(row) for row in here], dtype=bool)
    found: Quantities = {
        "accepted": (mean(accepted, groups), len(here)),
        "valid of accepted": (ratio(valid, accepted, groups), int(accepted.sum())),
    }
    if here:
        costs = tokens_by_row(guided, usage)[[row["problem_id"] in treated for row in guided]]
        found["valid samples per 1,000 teacher tokens"] = (
            ratio(1000.0 * valid, costs, groups, share=False),
            len(set(groups)),
        )
    return found
