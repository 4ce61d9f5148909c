"""HEAL as a method: stage I correct base samples, II + answer-guided samples, III + GEAR's repairs that PURE keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from heal.config.experiment import Pace, Pure
from heal.config.options import Name, OptionGroup
from heal.method import pure
from heal.method.base import Example, Method, Traces, build_examples, group_by_problem
from heal.records import Row
from heal.trace_files import DEFAULT_VARIANT, GRADES, GUIDED, GUIDED_SCORES, REPAIRS, SAMPLES, SCORES, TraceFile


class HealOptions(OptionGroup):
    gear: Name = DEFAULT_VARIANT
    """The GEAR variant by name; `default` is the section `gear`."""
    pure: Pure = Pure()
    """PURE, where it differs from the run's."""
    pace: Pace = Pace()
    """PACE, where it differs from the run's."""
    stages: list[int] = [1, 2, 3]
    """The stages that are used."""


class Heal(Method):
    name = "heal"
    paper = "arXiv 2603.10359 (re-implemented from a description)"
    summary = "GEAR's repairs, filtered by PURE, taught in PACE's three stages"
    differs = "`heal options` says for each option whether its default is reported of the paper or ours"
    version = 2
    Options = HealOptions
    options: HealOptions

    @property
    def variant(self) -> str:
        return self.options.gear

    @property
    def schedule(self) -> str:
        return self.options.pace.schedule

    def needs(self) -> list[TraceFile]:
        files = [SAMPLES, GRADES]
        if 2 in self.options.stages:
            files.append(GUIDED)
            if self.options.pure.filters_guided:
                files.append(GUIDED_SCORES)
        files.append(REPAIRS.of(variant=self.variant))
        if self.options.pure.enabled:
            files.append(SCORES.of(variant=self.variant))
        return files

    def build_curriculum(self, traces: Traces) -> Iterator[Example]:
        limit = self.options.pace.max_per_problem
        for stage in sorted(self.options.stages):
            if stage == 1:
                yield from build_examples(traces.read_correct(), 1, "sample", limit)
            elif stage == 2:
                yield from build_examples(self.read_guided(traces), 2, "guided", limit)
            else:
                yield from self.build_last_stage(traces)

    def build_last_stage(self, traces: Traces) -> Iterable[Example]:
        """Stage III."""
        return build_examples(self.read_repairs(traces), 3, "repair", self.options.pace.max_per_problem)

    def read_guided(self, traces: Traces) -> dict[str, list[Row]]:
        """Accepted answer-guided samples by problem, filtered by PURE unless `filter_guided` is false."""
        rows = [row for row in traces.read(GUIDED) if row["accepted"]]
        return group_by_problem(
            self.filter_traces(traces, rows, "guided") if self.options.pure.filters_guided else rows
        )

    def read_repairs(self, traces: Traces) -> dict[str, list[Row]]:
        """Accepted repairs by problem that PURE keeps."""
        rows = [row for row in traces.read(REPAIRS.of(variant=self.variant)) if row["accepted"]]
        return group_by_problem(self.filter_traces(traces, rows, "repair"))

    def filter_traces(self, traces: Traces, rows: list[Row], origin: str) -> list[Row]:
        """The rows that PURE keeps. origin: repair | guided, as in the scores."""
        options = self.options.pure
        if not options.enabled:
            return rows
        scores = traces.read(SCORES.of(variant=self.variant))
        if origin == "guided":  # the repairs' file has the scores of the teacher's own traces, for `calibrated`
            scores = [*scores, *traces.read(GUIDED_SCORES)]
        valid = traces.find_valid(rows) if options.rule == "oracle" else ()
        kept_ids = pure.select_kept(scores, origin, options, seed=traces.seed, valid=valid)
        return [row for row in rows if row["trace_id"] in kept_ids]
