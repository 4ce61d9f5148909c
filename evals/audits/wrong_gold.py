"""Audit of the filters where some gold answers are wrong: how many "repairs" of such problems each lets through.

Pure functions from one draw's rows to quantities with intervals; `evals.audits.run` runs them where training problems have
wrong gold answers (`wrong_gold_share`). A question of the mini world says its own answer, so the truth is known. A
repair that verifies against a wrong gold answer is an error with reasons: what passes here is taught to students.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from evals.audits.checker_truth import ratio
from evals.audits.gear import Quantities, sources
from heal.config.experiment import Gear
from heal.method.gear import problems_to_treat
from heal.records import Row
from heal.worlds.mini import puzzles
from heal.worlds.registry import world_of

Kept = Mapping[str, Collection[str]]  # PURE's rule → ids of the repairs that it keeps
Reached = tuple[Sequence[Row], Sequence[bool]]  # the rows that come to a filter, and whether each passes


def wrong_gold(problems: Sequence[Row]) -> set[str]:
    """Ids of the problems whose gold answer is not the question's; none outside the mini world."""
    mini = [row for row in problems if world_of(row) == "mini"]
    return {row["problem_id"] for row in mini if puzzles.parse(row["question"]).answer != row["answer"]}


def left_over(repairs: Sequence[Row], kept: Kept) -> dict[str, Collection[str]]:
    """The repairs that are left at the end: all that are accepted, and after each of PURE's rules."""
    accepted = {row["trace_id"] for row in repairs if row["accepted"]}
    return {"accepted": accepted} | {f"left after PURE {rule}": ids for rule, ids in kept.items()}


def problem_filters(
    problems: Sequence[Row], grades: Sequence[Row], repairs: Sequence[Row], kept: Kept, gear: Gear
) -> dict[str, Reached]:
    """Which problems GEAR looks at, which it skips as suspect, and which reach a student in the end."""
    treated, suspect = map(set, problems_to_treat(grades, gear.max_pass_rate, gear.max_wrong_agreement))
    unsolved = [row for row in problems if row["problem_id"] in treated | suspect]
    found: dict[str, Reached] = {
        "unsolved, of problems": (problems, [row["problem_id"] in treated | suspect for row in problems]),
        "wrong answers differ enough, of unsolved": (unsolved, [row["problem_id"] in treated for row in unsolved]),
    }
    for name, ids in left_over(repairs, kept).items():
        reaching = {row["problem_id"] for row in repairs if row["trace_id"] in ids}
        found[f"a repair is {name}, of problems"] = (problems, [row["problem_id"] in reaching for row in problems])
    return found


def trace_filters(
    grades: Sequence[Row], guided: Sequence[Row], repairs: Sequence[Row], kept: Kept
) -> dict[str, Reached]:
    """What comes to each filter of single traces, in the method's order, and what passes."""
    traces, tried = sources(repairs), [row for row in repairs if row["trace_id"] is not None]
    verified = [row for row in tried if row["accepted"] or row["reason"] in ("leak", "duplicate")]
    silent = [row for row in verified if row["reason"] != "leak"]
    accepted, ids = [row for row in silent if row["accepted"]], {row["trace_id"] for row in verified}
    found: dict[str, Reached] = {
        "correct, of base samples": (grades, [row["correct"] for row in grades]),
        "accepted, of guided samples": (guided, [row["accepted"] for row in guided]),
        "breakpoint found, of wrong traces": (traces, [row["breakpoint"] is not None for row in traces]),
        "verified, of repairs": (tried, [row["trace_id"] in ids for row in tried]),
        "no leak, of verified": (verified, [row["reason"] != "leak" for row in verified]),
        "no duplicate, of those": (silent, [row["accepted"] for row in silent]),
    }
    for rule, chosen in kept.items():
        found[f"kept by PURE {rule}, of accepted"] = (accepted, [row["trace_id"] in chosen for row in accepted])
    return found


def passing(reached: Mapping[str, Reached], chosen: Collection[str]) -> Quantities:
    """The share that passes each filter, of what belongs to the chosen problems; over how many."""
    found: Quantities = {}
    for name, (rows, passed) in reached.items():
        groups = [row["problem_id"] for row in rows]
        mine = np.array([group in chosen for group in groups], dtype=bool)
        found[name] = (ratio(mine & np.array(passed, dtype=bool), mine, groups), int(mine.sum()))
    return found


def shares(repairs: Sequence[Row], kept: Kept, chosen: Collection[str]) -> Quantities:
    """How much of what is left belongs to the chosen problems; over how much is left."""
    found: Quantities = {}
    for name, ids in left_over(repairs, kept).items():
        groups = [row["problem_id"] for row in repairs if row["trace_id"] in ids]
        mine = [group in chosen for group in groups]
        found[f"share of the repairs {name}"] = (ratio(mine, np.ones(len(groups)), groups), len(groups))
    return found


def gold_quantities(
    problems: Sequence[Row],
    grades: Sequence[Row],
    guided: Sequence[Row],
    repairs: Sequence[Row],
    kept: Kept,
    gear: Gear,
) -> dict[str, Quantities]:
    """Each filter for problems with a wrong and with a right gold answer."""
    wrong = wrong_gold(problems)
    right = {row["problem_id"] for row in problems} - wrong
    reached = problem_filters(problems, grades, repairs, kept, gear) | trace_filters(grades, guided, repairs, kept)
    return {
        name: passing(reached, chosen) | shares(repairs, kept, chosen)
        for name, chosen in (("wrong gold", wrong), ("right gold", right))
    }
