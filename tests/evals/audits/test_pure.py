"""The audit of PURE: separation of valid and invalid repairs, and what each rule keeps."""

from __future__ import annotations

import math

from evals.audits import gear as cut_audit
from evals.audits import pure as pure_audit
from heal.config.experiment import Pure
from heal.records import Row
from tests.support.audit_factory import (
    PROBLEMS,
    SAMPLES,
    TRUTH,
    N,
    repaired,
    scored,
    value,
)
from tests.support.run_factory import score


def separation(rows: list[Row], jumps: float, insights: float) -> cut_audit.Quantities:
    gold = {row["problem_id"]: row["answer"] for row in PROBLEMS}
    return pure_audit.separation_quantities(scored(rows, jumps, insights), rows, TRUTH, Pure(), gold, 0)


def test_pure_is_judged_for_fresh_and_inherited_errors_apart():
    rows = repaired(2, "alternate") + [row | {"trace_id": row["trace_id"] + "i"} for row in repaired(3, "valid")]
    found = separation(rows, jumps=3.0, insights=0.5)
    assert value(found, "AUROC fresh: anomaly") == value(found, "AUROC inherited: anomaly") == 1
    assert value(separation(rows, 0.5, 3.0), "AUROC fresh: anomaly") == 0
    assert value(separation(rows, 1.0, 1.0), "AUROC fresh: max step perplexity") == 0.5
    assert found["AUROC fresh: anomaly"][1] == found["AUROC inherited: anomaly"][1] / 2 == N / 2
    assert math.isnan(value(separation(repaired(2, "jump"), 3.0, 0.5), "AUROC fresh: anomaly"))


def test_an_early_mention_of_the_answer_is_suspect():
    told = score(SAMPLES[0], 1.0)
    steps = ["It is 7 at once.\n\n", "So.\n\n", "x = \\boxed{7}"]
    early = pure_audit.first_mention(told | {"steps": steps, "statement": 3}, "7")
    late = pure_audit.first_mention(told | {"steps": steps[1:2] + steps[:1] + steps[2:], "statement": 3}, "7")
    assert early > late > 0
    assert pure_audit.first_mention(told | {"steps": ["77 = 71\n\n", steps[2]], "statement": 2}, "7") == 0


def test_rules_keep_what_they_say():
    rows = repaired(2, "alternate")
    found = pure_audit.rule_quantities(scored(rows, 3.0, 0.5), rows, TRUTH, Pure(drop_share=0.5), 0)
    assert value(found, "valid, no rule") == 0.5
    assert value(found, "valid of kept, quantile") == value(found, "valid of kept, oracle") == 1
    assert value(found, "valid ones kept, oracle") == 1
    assert value(found, "kept, random") == 0.5
    blind = pure_audit.rule_quantities(scored(rows, 1.0, 1.0), rows, TRUTH, Pure(drop_share=0.5), 0)
    assert value(blind, "valid of kept, random") < 1
