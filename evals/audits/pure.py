"""Audit of PURE: does the anomaly tell invalid repairs from valid ones, better than simpler numbers, and length aside?

Pure functions from scores and repairs to quantities with intervals; `evals.audits.run` runs them. Every rival is turned so
that more means more suspect. Inherited errors (the cut came after the error) and fresh ones are judged apart.
Rank-surprisal (arXiv 2601.14249) is not among the rivals: it needs each token's rank, which traces do not store.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from evals.audits.checker_truth import Truth, ratio
from evals.audits.gear import Quantities
from evals.stats import compute_auroc, compute_partial_rank_correlation
from heal.config.experiment import Pure
from heal.method import pure
from heal.records import Row, request_seed

RULES = ("quantile", "calibrated", "random", "oracle")
KINDS = ("inherited", "fresh")


def before_statement(score: Row, field: str) -> list[float]:
    """A per-step number of the steps before the answer statement."""
    return score[field] if score["statement"] is None else score[field][: score["statement"] - 1]


def max_perplexity(score: Row) -> float:
    """Perplexity of the most surprising step; its logarithm, which ranks the same."""
    return max(before_statement(score, "nll_mean"), default=-math.inf)


def max_token_nll(score: Row) -> float:
    return max(before_statement(score, "nll_max"), default=-math.inf)


def statement_nll(score: Row) -> float:
    """s = −ln p(answer statement | steps before it)."""
    return -math.inf if score["statement_nll"] is None else score["statement_nll"]


def first_mention(score: Row, gold: str) -> float:
    """How early the gold answer is first mentioned before its statement: 1 at the start, 0 where it is not."""
    text = "".join(score["steps"] if score["statement"] is None else score["steps"][: score["statement"] - 1])
    found = re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", text)
    return 1.0 - found.start() / len(text) if found else 0.0


def rivals(
    options: Pure, gold: dict[str, str], lengths: dict[str, int], seed: int
) -> dict[str, Callable[[Row], float]]:
    """Name → suspicion of a scored trace; lengths in tokens, by trace id."""
    return {
        "anomaly": lambda score: pure.anomaly(score, options),
        "max step perplexity": max_perplexity,
        "max token NLL": max_token_nll,
        "s (answer statement NLL)": statement_nll,
        "first mention of the gold answer": lambda score: first_mention(score, gold[score["problem_id"]]),
        "length in tokens": lambda score: float(lengths[score["trace_id"]]),
        "random": lambda score: float(request_seed(seed, "random suspicion", score["trace_id"])),
    }


def origins(scores: Sequence[Row], repairs: Sequence[Row], truth: Truth) -> list[str]:
    """valid | inherited | fresh of each scored repair."""
    by_id = {row["trace_id"]: row for row in repairs}
    return [truth.origin_of_error(by_id[score["trace_id"]]) for score in scores]


def suspicions(
    scores: Sequence[Row], repairs: Sequence[Row], options: Pure, gold: dict[str, str], seed: int
) -> dict[str, np.ndarray]:
    """Name → suspicion of each scored repair, shape [scores]."""
    lengths = {row["trace_id"]: len(row["token_ids"]) for row in repairs if row["trace_id"]}
    named = rivals(options, gold, lengths, seed)
    return {name: np.array([suspicion(score) for score in scores]) for name, suspicion in named.items()}


def separation_quantities(
    scores: Sequence[Row], repairs: Sequence[Row], truth: Truth, options: Pure, gold: dict[str, str], seed: int
) -> Quantities:
    """AUROC of every rival for inherited and for fresh errors against valid repairs; its partial correlation with each.

    scores: of repairs only. The partial rank correlation is with being invalid, length taken off.
    """
    labels = np.array(origins(scores, repairs, truth))
    groups = np.array([score["problem_id"] for score in scores])
    found: Quantities = {}
    correlations: Quantities = {}
    suspected = suspicions(scores, repairs, options, gold, seed)
    length = suspected["length in tokens"]
    for kind in KINDS:
        use = (labels == "valid") | (labels == kind)
        positive = labels[use] == kind
        for name, values in suspected.items():
            found[f"AUROC {kind}: {name}"] = (
                compute_auroc(values[use], positive, groups=groups[use]),
                int(positive.sum()),
            )
            if name != "length in tokens":
                partial = compute_partial_rank_correlation(values[use], positive, length[use])
                correlations[f"correlation {kind}, length aside: {name}"] = (partial, int(use.sum()))
    return found | correlations


def kept_by_rule(
    scores: Sequence[Row], repairs: Sequence[Row], truth: Truth, options: Pure, seed: int
) -> dict[str, set[str]]:
    """Rule → the ids of the scored repairs that it keeps."""
    own = [score for score in scores if score["kind"] == "sample"]
    repaired = [score for score in scores if score["kind"] == "repair"]
    labels = origins(repaired, repairs, truth)
    valid = {score["trace_id"] for score, label in zip(repaired, labels, strict=True) if label == "valid"}
    chosen = {rule: options.model_copy(update={"rule": rule, "enabled": True}) for rule in RULES}
    return {rule: pure.kept(repaired, one, own=own, seed=seed, valid=valid) for rule, one in chosen.items()}


def rule_quantities(
    scores: Sequence[Row], repairs: Sequence[Row], truth: Truth, options: Pure, seed: int
) -> Quantities:
    """What each rule keeps of the repairs: share kept, valid share before and after, share of the valid ones kept."""
    repaired = [score for score in scores if score["kind"] == "repair"]
    groups = [score["problem_id"] for score in repaired]
    valid = np.array(origins(repaired, repairs, truth)) == "valid"
    n = len(repaired)
    found: Quantities = {"valid, no rule": (ratio(valid, np.ones(n), groups), n)}
    for rule, kept_ids in kept_by_rule(scores, repairs, truth, options, seed).items():
        kept = np.array([score["trace_id"] in kept_ids for score in repaired], dtype=bool)
        found[f"kept, {rule}"] = (ratio(kept, np.ones(n), groups), n)
        found[f"valid of kept, {rule}"] = (ratio(valid & kept, kept, groups), int(kept.sum()))
        found[f"valid ones kept, {rule}"] = (ratio(valid & kept, valid, groups), int(valid.sum()))
    return found
