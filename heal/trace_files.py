"""The one table of trace files: name, schema, parents, the rule that makes each, and who pays for it.

The registry, the workflow, the cost plan, the ledger and the figures read this table. Paths are relative to a run's
`heal.run_layout.TRACES` folder. `{variant}` is the name of a GEAR variant, `{allocation}` one of `ALLOCATIONS`,
`{student}` the student that a curriculum is for: `REPAIRS.of(variant="no_hint")`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

ALLOCATIONS = ("uniform", "treated")
DEFAULT_VARIANT = "default"
EXTRA_BLOCK = 4
"""Extra samples of a problem that are sampled at once, so that they share its prefill."""
SAMPLED_SCHEMAS = ("samples", "guided", "repairs", "continuations")
"""Schemas of the files in which a model wrote text, and would write other text if it was asked again."""


@dataclass(frozen=True)
class TraceFile:
    """One file of traces, or of what was measured on traces."""

    path: str
    """Relative path, with the wildcards that are still open in braces."""
    schema: str
    """Key of heal.schemas.SCHEMAS."""
    rule: str
    """The rule that makes it, or its shards."""
    made_by: Literal["teacher", "student", "cpu"]
    """Which model's tokens it costs; `cpu`: none."""
    parents: tuple[TraceFile, ...] = ()
    """The trace files it is made from."""
    sharded: bool = False
    """Whether `merge_shards` joins it from sampling.shards parts."""
    content: str = field(kw_only=True)
    """What its rows are, in words."""

    @property
    def wildcards(self) -> list[str]:
        """The wildcards that are still open."""
        return [name for _, name, _, _ in string.Formatter().parse(self.path) if name]

    def of(self, **wildcards: str) -> TraceFile:
        """The file, and its parents, with these wildcards filled in."""
        path = self.path
        for name, value in wildcards.items():
            path = path.replace(f"{{{name}}}", value)
        return replace(self, path=path, parents=tuple(parent.of(**wildcards) for parent in self.parents))


SAMPLES = TraceFile(
    "samples.parquet", "samples", "sample_base", "teacher", sharded=True, content="the teacher's base samples"
)
GRADES = TraceFile(
    "grades.parquet", "grades", "grade_traces", "cpu", (SAMPLES,), content="whether each base sample is correct"
)
GUIDED = TraceFile(
    "guided.parquet",
    "guided",
    "sample_guided",
    "teacher",
    (GRADES,),
    sharded=True,
    content="answer-guided samples of the problems that the teacher solves rarely",
)
CUTS = TraceFile(
    "cuts/{variant}.parquet",
    "cuts",
    "plan_cuts",
    "cpu",
    (SAMPLES, GRADES),
    content="where each wrong trace of a treated problem is cut",
)
REPAIRS = TraceFile(
    "repairs/{variant}.parquet",
    "repairs",
    "repair_traces",
    "teacher",
    (CUTS,),
    sharded=True,
    content="continuations of cut traces after a hint",
)
SCORES = TraceFile(
    "scores/{variant}.parquet",
    "scores",
    "score_traces",
    "teacher",
    (SAMPLES, GRADES, REPAIRS),
    sharded=True,
    content="what PURE reads of accepted repairs, and of some correct samples",
)
GUIDED_SCORES = TraceFile(
    "guided_scores.parquet",
    "scores",
    "score_guided",
    "teacher",
    (GUIDED,),
    sharded=True,
    content="what PURE reads of accepted answer-guided samples",
)
GREEDY_SHARD = "shards/greedy/{shard}.parquet"
"""Greedy samples of the treated problems, made with each shard of GUIDED; only the premise reads them."""
LOW_TEMPERATURE_SAMPLES = TraceFile(
    "low_temperature.parquet",
    "samples",
    "sample_low_temperature",
    "teacher",
    sharded=True,
    content="one greedy and some low-temperature samples of every problem",
)
LOW_TEMPERATURE_GRADES = TraceFile(
    "low_temperature.grades.parquet",
    "grades",
    "grade_traces",
    "cpu",
    (LOW_TEMPERATURE_SAMPLES,),
    content="whether each low-temperature sample is correct",
)
EXTRA_SAMPLES = TraceFile(
    "extra/{allocation}/{variant}.parquet",
    "samples",
    "sample_extra",
    "teacher",
    (GRADES, GUIDED, GUIDED_SCORES, REPAIRS, SCORES),
    sharded=True,
    content="as many further samples as HEAL's extra cost buys",
)
EXTRA_GRADES = TraceFile(
    "extra/{allocation}/{variant}.grades.parquet",
    "grades",
    "grade_traces",
    "cpu",
    (EXTRA_SAMPLES,),
    content="whether each further sample is correct",
)
REPAIR_RANKS = TraceFile(
    "students/{student}/repair_ranks/{variant}.parquet",
    "ranks",
    "rank_repairs",
    "student",
    (REPAIRS,),
    sharded=True,
    content="token ranks of accepted repairs under the untrained student",
)
STUDENT_SAMPLES = TraceFile(
    "students/{student}/samples.parquet",
    "samples",
    "sample_student",
    "student",
    sharded=True,
    content="the untrained student's samples",
)
STUDENT_GRADES = TraceFile(
    "students/{student}/grades.parquet",
    "grades",
    "grade_traces",
    "cpu",
    (STUDENT_SAMPLES,),
    content="whether each of the student's samples is correct",
)
RANKS = TraceFile(
    "students/{student}/ranks.parquet",
    "ranks",
    "rank_samples",
    "student",
    (SAMPLES, GRADES),
    sharded=True,
    content="token ranks of correct base samples under the untrained student",
)
CONTINUATIONS = TraceFile(
    "students/{student}/continuations.parquet",
    "continuations",
    "continue_samples",
    "student",
    (SAMPLES, GRADES),
    sharded=True,
    content="the untrained student's continuations of the beginnings of correct base samples",
)

TRACE_FILES = (
    SAMPLES,
    GRADES,
    GUIDED,
    CUTS,
    REPAIRS,
    SCORES,
    GUIDED_SCORES,
    LOW_TEMPERATURE_SAMPLES,
    LOW_TEMPERATURE_GRADES,
    EXTRA_SAMPLES,
    EXTRA_GRADES,
    STUDENT_SAMPLES,
    STUDENT_GRADES,
    RANKS,
    REPAIR_RANKS,
    CONTINUATIONS,
)


REQUIRED = (SAMPLES, GRADES, GUIDED, REPAIRS.of(variant=DEFAULT_VARIANT))
"""The files that must hold a good trace for the rest of a run to have a point (heal.pipeline.stop). The repairs of
other GEAR variants need none: a control may fail."""


def list_trace_files(variants: Iterable[str]) -> list[TraceFile]:
    """Every file that rules can make for these GEAR variants; `{student}` stays open."""
    files = []
    for file in TRACE_FILES:
        allocations = ALLOCATIONS if "allocation" in file.wildcards else ("",)
        names = tuple(variants) if "variant" in file.wildcards else ("",)
        for allocation in allocations:
            files += [file.of(allocation=allocation, variant=variant) for variant in names]
    return files


def find_trace_file(path: str) -> TraceFile:
    """The table's entry for a path, with the wildcards that the path fills in. Raises KeyError where none fits."""
    for file in TRACE_FILES:
        pattern = re.escape(file.path).replace(r"\{", "(?P<").replace(r"\}", r">[\w{}]+)")
        match = re.fullmatch(pattern, path)
        if match:
            return file.of(**match.groupdict())
    raise KeyError(path)
