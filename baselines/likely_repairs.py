"""HEAL with the repairs that the student finds most likely, in place of those that PURE keeps.

After TREK, arXiv 2607.05339, of which one sentence is known to us: traces that a teacher repaired are ranked by the
student's own likelihood. A repair that is likely under the student is close to what it can already write.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from heal.method.base import NOT_CHECKED, Traces, group_by_problem
from heal.method.heal import Heal
from heal.records import Row
from heal.trace_files import REPAIR_RANKS, REPAIRS, TraceFile


class LikelyRepairs(Heal):
    name = "likely_repairs"
    paper = "after TREK, arXiv 2607.05339"
    summary = "HEAL with the accepted repairs of each problem that are likeliest under the student, in place of PURE's"
    differs = (
        "HEAL's repairs and stages, not TREK's; likelihood is the mean log-probability per token under the untrained "
        "student, the end of the turn included (ours); PURE filters stage II only"
    )
    sources: ClassVar = {"repaired traces ranked by the student's own likelihood": NOT_CHECKED}

    def needs(self) -> list[TraceFile]:
        return [*super().needs(), REPAIR_RANKS.of(variant=self.variant)]

    def read_repairs(self, traces: Traces) -> dict[str, list[Row]]:
        """The likeliest distinct accepted repairs of each problem, at most as many as are trained on."""
        mean_logprobs: dict[str, float] = {}
        for row in traces.read(REPAIR_RANKS.of(variant=self.variant)):
            mean_logprobs[row["trace_id"]] = float(np.mean(row["logprobs"], dtype=np.float64))
        # A trace that the student's tokenizer cannot represent has no ranks.
        repairs = traces.read(REPAIRS.of(variant=self.variant))
        known = [row for row in repairs if row["accepted"] and row["trace_id"] in mean_logprobs]
        likeliest = {}
        for problem, rows in group_by_problem(known).items():
            distinct: dict[str, Row] = {}
            for row in sorted(rows, key=lambda row: -mean_logprobs[row["trace_id"]]):
                distinct.setdefault(row["text"], row)
            likeliest[problem] = list(distinct.values())[: self.options.pace.max_per_problem]
        return likeliest
