"""The audit of PURE: separation of valid and invalid repairs, and what each rule keeps."""

from __future__ import annotations

import math

from evals.audits import pure as pure_audit
from evals.audits.estimates import Quantities
from heal.config.experiment import Pure
from heal.records import Row
from tests.support.audit_factory import (
    PROBLEMS,
    SAMPLES,
    TRUTH,
    N,
    get_value,
    make_repairs,
    make_scores,
)
from tests.support.run_factory import make_score


def measure_separation(rows: list[Row], jumps: float, insights: float) -> Quantities:
    gold = {row["problem_id"]: row["answer"] for row in PROBLEMS}
    return pure_audit.measure_separation(make_scores(rows, jumps, insights), rows, TRUTH, Pure(), gold, 0)


def test_pure_is_judged_for_fresh_and_inherited_errors_apart():
    rows = make_repairs(2, "alternate") + [
        row | {"trace_id": row["trace_id"] + "i"} for row in make_repairs(3, "valid")
    ]
    quantities = measure_separation(rows, jumps=3.0, insights=0.5)
    assert get_value(quantities, "AUROC fresh: anomaly") == get_value(quantities, "AUROC inherited: anomaly") == 1
    assert get_value(measure_separation(rows, 0.5, 3.0), "AUROC fresh: anomaly") == 0
    assert get_value(measure_separation(rows, 1.0, 1.0), "AUROC fresh: max step perplexity") == 0.5
    assert quantities["AUROC fresh: anomaly"].n == quantities["AUROC inherited: anomaly"].n / 2 == N / 2
    assert math.isnan(get_value(measure_separation(make_repairs(2, "jump"), 3.0, 0.5), "AUROC fresh: anomaly"))


def test_an_early_mention_of_the_answer_is_suspect():
    scores = make_score(SAMPLES[0], 1.0)
    steps = ["It is 7 at once.\n\n", "So.\n\n", "x = \\boxed{7}"]
    early = pure_audit.compute_first_mention(scores | {"steps": steps, "statement": 3}, "7")
    late = pure_audit.compute_first_mention(scores | {"steps": steps[1:2] + steps[:1] + steps[2:], "statement": 3}, "7")
    assert early > late > 0
    assert pure_audit.compute_first_mention(scores | {"steps": ["77 = 71\n\n", steps[2]], "statement": 2}, "7") == 0


def test_rules_keep_what_they_say():
    rows = make_repairs(2, "alternate")
    quantities = pure_audit.measure_rules(make_scores(rows, 3.0, 0.5), rows, TRUTH, Pure(drop_share=0.5), 0)
    assert get_value(quantities, "valid, no rule") == 0.5
    assert get_value(quantities, "valid of kept, quantile") == get_value(quantities, "valid of kept, oracle") == 1
    assert get_value(quantities, "valid ones kept, oracle") == 1
    assert get_value(quantities, "kept, random") == 0.5
    blind = pure_audit.measure_rules(make_scores(rows, 1.0, 1.0), rows, TRUTH, Pure(drop_share=0.5), 0)
    assert get_value(blind, "valid of kept, random") < 1
