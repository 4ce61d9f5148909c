"""Mix Distillation: long and short correct traces in a fixed ratio, as small students learn badly from long ones alone.

Li et al. 2025, arXiv 2502.12143 ("Small models struggle to learn from strong reasoners"). Students up to 3B parameters
gain less from long chains of thought, or from the strongest teacher, than from short ones; a mix does better than both.
Known: Mix-Long takes long and short traces 1:4, Mix-Large those of a large and a small teacher 1:4; long ones come from
a reasoning model, short ones from an instruct model, of the same problems.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

from heal.config import experiment as config
from heal.config.options import OptionGroup, Share
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples, take_distinct
from heal.records import Row
from heal.trace_files import GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    long_share: Share = 0.2
    """Share of long traces: 0.2 is 1:4 as in the paper, 0.8 is 4:1."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class MixDistillation(Method):
    name = "mix_distillation"
    paper = "arXiv 2502.12143 (Li et al., Mix Distillation)"
    summary = "the teacher's longest and shortest correct traces of each problem in a fixed ratio"
    differs = (
        "long and short are the longer and the shorter half of one teacher's own correct traces of a problem, not the "
        "styles of two models; problems with one distinct trace are left out; the run's optimizer steps"
    )
    sources: ClassVar = {"long and short traces 1:4": NOT_CHECKED, "students up to 3B parameters": NOT_CHECKED}
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        limit, taken, mixed = self.options.pace.max_per_problem, 0, {}
        for problem, rows in traces.read_correct().items():
            by_length = sorted(take_distinct(rows, len(rows)), key=lambda row: len(row["token_ids"]))
            if len(by_length) > 1:
                mixed[problem] = mix_by_length(by_length, limit, self.options.long_share, taken)
                taken += len(mixed[problem])
        return build_examples(mixed, 1, "sample", limit)


def mix_by_length(by_length: list[Row], limit: int, share: float, before: int) -> list[Row]:
    """Up to `limit` rows from the ends of a list sorted by length; the share of long ones holds over all problems.

    before: number of rows from earlier problems. Half of a list is long, half short; a middle row is neither.
    """
    short, long = by_length[: len(by_length) // 2], by_length[::-1][: len(by_length) // 2]
    chosen: list[Row] = []
    for number in range(before, before + limit):
        is_long = math.floor((number + 1) * share + 1e-9) > math.floor(number * share + 1e-9)
        half = long if is_long else short
        if not half:
            break
        chosen.append(half.pop(0))
    return chosen
