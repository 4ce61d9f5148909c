"""HEAL's premises as the traces alone show them, from the audits of a teacher.

Reads nothing, writes nothing; `heal audit` and `heal combine-audits` call it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import pandas as pd

from evals.tables.render import list_columns

CANNOT_SAY: Final = "cannot say"


@dataclass(frozen=True)
class Premise:
    """A premise, the quantity that tests it, and the threshold from which on it holds (ours)."""

    name: str
    statement: str
    audit: str
    quantity: str
    threshold: float

    def judge(self, value: float) -> Literal["yes", "no", "cannot say"]:
        if math.isnan(value):
            return CANNOT_SAY
        return "yes" if value >= self.threshold else "no"


PREMISES = (
    # Half-way between always and one of two.
    Premise("P1", "entropy marks the error", "entropy", "largest surge is a wrong step", 0.75),
    # A tenth of the accepted traces.
    Premise("P2", "a hint from the start is not enough", "start or mid-trace", "gap, mean over problems", 0.1),
    # A fair AUROC by the usual rule of thumb.
    Premise("P3", "jumps look different from insight", "pure", "AUROC fresh: anomaly", 0.7),
)


@dataclass(frozen=True)
class PremiseCheck:
    """A row of premises_{teacher}.csv. Value and interval are NaN where the audits have no such quantity."""

    premise: str
    says: str
    quantity: str
    value: float
    low: float
    high: float
    threshold: float
    holds: str


def check_premises(audits: pd.DataFrame) -> pd.DataFrame:
    """Columns as PremiseCheck, one row per premise. audits: columns as evals.audits.run.AuditRow."""
    checks = []
    for premise in PREMISES:
        rows = audits[(audits["audit"] == premise.audit) & (audits["quantity"] == premise.quantity)]
        value, low, high = rows.iloc[0][["value", "low", "high"]] if len(rows) else (math.nan,) * 3
        check = PremiseCheck(
            premise=premise.name,
            says=premise.statement,
            quantity=f"{premise.audit}: {premise.quantity}",
            value=value,
            low=low,
            high=high,
            threshold=premise.threshold,
            holds=premise.judge(value),
        )
        checks.append(asdict(check))
    return pd.DataFrame(checks, columns=list_columns(PremiseCheck))


def describe_by_teacher_seed(combined: pd.DataFrame, audits: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The premises by the mean over teacher seeds, with a column `by_teacher_seed`: what each seed alone shows."""
    checks = check_premises(combined)
    verdicts: list[list[str]] = [[] for _ in range(len(checks))]
    for one_seed in audits:
        for i, verdict in enumerate(check_premises(one_seed)["holds"]):
            verdicts[i].append(verdict)
    return checks.assign(by_teacher_seed=list(map(", ".join, verdicts)))
