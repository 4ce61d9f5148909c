"""Audit of PURE: does the anomaly separate invalid from valid repairs, better than simpler scores and beyond length?

Pure functions from scores and repairs to quantities with intervals; `heal audit` calls them. Each rival score is signed
so that a higher value is more suspect. Inherited errors (the cut came after the error) and fresh ones are judged apart.
Rank-surprisal (arXiv 2601.14249) is not among the rivals: it needs each token's rank, which traces do not store.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from evals.audits.checker_truth import Truth
from evals.audits.estimates import Estimate, Quantities, collect_column, estimate_share
from evals.stats import compute_auroc, compute_partial_rank_correlation
from heal.config.experiment import Pure
from heal.method import pure
from heal.records import Row, derive_seed

RULES: tuple[Literal["quantile", "calibrated", "random", "oracle"], ...] = (
    "quantile",
    "calibrated",
    "random",
    "oracle",
)
ERROR_ORIGINS = ("inherited", "fresh")
LENGTH = "length in tokens"


def select_scores(scores: Sequence[Row], origin: str) -> list[Row]:
    """The scores of one origin: sample, guided or repair."""
    return [score for score in scores if score["origin"] == origin]


def get_steps_before_statement(score: Row, column: str) -> list:
    """A per-step column, for the steps before the answer statement."""
    return score[column] if score["statement"] is None else score[column][: score["statement"] - 1]


def compute_max_perplexity(score: Row) -> float:
    """Log-perplexity of the most surprising step (ranks as its perplexity does)."""
    return max(get_steps_before_statement(score, "nll_mean"), default=-math.inf)


def compute_max_token_nll(score: Row) -> float:
    """Highest NLL of a token, in nats."""
    return max(get_steps_before_statement(score, "nll_max"), default=-math.inf)


def get_statement_nll(score: Row) -> float:
    """s = −ln p(answer statement | steps before it)."""
    return -math.inf if score["statement_nll"] is None else score["statement_nll"]


def compute_first_mention(score: Row, gold: str) -> float:
    """How early the gold answer is first mentioned before its statement: 1 at the start, 0 where it is not."""
    text = "".join(get_steps_before_statement(score, "steps"))
    mention = re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", text)
    return 1.0 - mention.start() / len(text) if mention else 0.0


def build_suspicion_scores(
    options: Pure, gold: Mapping[str, str], lengths: Mapping[str, int], seed: int
) -> dict[str, Callable[[Row], float]]:
    """Name → a function that scores a trace. gold: problem id → answer. lengths: trace id → tokens."""
    return {
        "anomaly": lambda score: pure.compute_anomaly(score, options),
        "max step perplexity": compute_max_perplexity,
        "max token NLL": compute_max_token_nll,
        "s (answer statement NLL)": get_statement_nll,
        "first mention of the gold answer": lambda score: compute_first_mention(score, gold[score["problem_id"]]),
        LENGTH: lambda score: float(lengths[score["trace_id"]]),
        "random": lambda score: float(derive_seed(seed, "random suspicion", score["trace_id"])),
    }


def classify_scored(scores: Sequence[Row], repairs: Sequence[Row], truth: Truth) -> np.ndarray:
    """valid | inherited | fresh of each scored repair, shape [scores]."""
    by_id = {row["trace_id"]: row for row in repairs}
    return truth.classify_errors([by_id[score["trace_id"]] for score in scores])


def compute_suspicions(
    scores: Sequence[Row], repairs: Sequence[Row], options: Pure, gold: Mapping[str, str], seed: int
) -> dict[str, np.ndarray]:
    """Name → suspicion of each scored repair, shape [scores]."""
    lengths = {row["trace_id"]: len(row["token_ids"]) for row in repairs if row["trace_id"]}
    suspicions = {}
    for name, score_trace in build_suspicion_scores(options, gold, lengths, seed).items():
        suspicions[name] = np.array(list(map(score_trace, scores)))
    return suspicions


def measure_separation(
    scores: Sequence[Row], repairs: Sequence[Row], truth: Truth, options: Pure, gold: Mapping[str, str], seed: int
) -> Quantities:
    """AUROC of every suspicion score for inherited and for fresh errors against valid repairs; partial correlations.

    scores: of repairs only. The partial rank correlation is with being invalid, controlling for length.
    """
    origins = classify_scored(scores, repairs, truth)
    groups = collect_column(scores, "problem_id", str)
    suspicions = compute_suspicions(scores, repairs, options, gold, seed)
    areas: Quantities = {}
    correlations: Quantities = {}
    for error in ERROR_ORIGINS:
        compared = (origins == "valid") | (origins == error)
        invalid = origins[compared] == error
        length = suspicions[LENGTH][compared]
        for name, suspicion in suspicions.items():
            area = compute_auroc(suspicion[compared], invalid, groups=groups[compared])
            areas[f"AUROC {error}: {name}"] = Estimate(area, int(invalid.sum()))
            if name != LENGTH:
                correlation = compute_partial_rank_correlation(suspicion[compared], invalid, length)
                correlations[f"correlation {error}, length aside: {name}"] = Estimate(correlation, int(compared.sum()))
    return areas | correlations


def select_kept_by_rule(
    scores: Sequence[Row], repairs: Sequence[Row], truth: Truth, options: Pure, seed: int
) -> dict[str, set[str]]:
    """Rule → trace ids of the scored repairs that it keeps."""
    repair_scores = select_scores(scores, "repair")
    origins = classify_scored(repair_scores, repairs, truth)
    valid = set(collect_column(repair_scores, "trace_id")[origins == "valid"])
    kept_ids: dict[str, set[str]] = {}
    for rule in RULES:
        rule_options = options.model_copy(update={"rule": rule, "enabled": True})
        kept_ids[rule] = pure.select_kept(scores, "repair", rule_options, seed=seed, valid=valid)
    return kept_ids


def measure_rules(scores: Sequence[Row], repairs: Sequence[Row], truth: Truth, options: Pure, seed: int) -> Quantities:
    """What each rule keeps of the repairs: share kept, valid share before and after, share of the valid ones kept."""
    repair_scores = select_scores(scores, "repair")
    trace_ids = collect_column(repair_scores, "trace_id", str)
    groups = collect_column(repair_scores, "problem_id", str)
    valid = classify_scored(repair_scores, repairs, truth) == "valid"
    every = np.ones(len(repair_scores), dtype=bool)
    quantities: Quantities = {"valid, no rule": estimate_share(valid, every, groups)}
    for rule, kept_ids in select_kept_by_rule(scores, repairs, truth, options, seed).items():
        keeps = np.isin(trace_ids, np.array(sorted(kept_ids), dtype=str))
        quantities[f"kept, {rule}"] = estimate_share(keeps, every, groups)
        quantities[f"valid of kept, {rule}"] = estimate_share(valid, keeps, groups)
        quantities[f"valid ones kept, {rule}"] = estimate_share(keeps, valid, groups)
    return quantities
