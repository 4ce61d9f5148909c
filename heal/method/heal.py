"""HEAL as a method."""

from __future__ import annotations

from heal.config.experiment import Gear, Pace, Pure
from heal.config.options import OptionGroup
from heal.method import pure
from heal.method.base import Example, Method, Traces, by_problem, examples, valid_traces
from heal.records import Row
from heal.trace_files import files


class HealOptions(OptionGroup):
    gear: Gear = Gear()
    """GEAR, where it differs from the run's."""
    pure: Pure = Pure()
    """PURE, where it differs from the run's."""
    pace: Pace = Pace()
    """PACE, where it differs from the run's."""
    stages: list[int] = [1, 2, 3]
    """The stages that are used."""


class Heal(Method):
    """Stage I: correct base samples; II: + answer-guided samples; III: + GEAR's repairs that PURE keeps."""

    kind = "heal"
    paper = "arXiv 2603.10359 (re-implemented from a description)"
    summary = "GEAR's repairs, filtered by PURE, taught in PACE's three stages"
    differs = "what is reported of the paper and what is ours stands beside each option in config/README.md"
    Options = HealOptions
    options: HealOptions

    def needs(self) -> list[str]:
        gear, pure = self.options.gear, self.options.pure
        scores = [files.scores(gear)] if pure.enabled else []
        return [*files.base, files.guided, files.repairs(gear), *scores]

    def curriculum(self, traces: Traces) -> list[Example]:
        most = self.options.pace.max_per_problem
        stages = {
            1: lambda: examples(traces.correct(), 1, "sample", most),
            2: lambda: examples(self.guided(traces), 2, "guided", most),
            3: lambda: examples(self.repairs(traces), 3, "repair", most),
        }
        return [example for stage in sorted(self.options.stages) for example in stages[stage]()]

    def guided(self, traces: Traces) -> dict[str, list[Row]]:
        """Accepted answer-guided samples by problem, filtered by PURE only where its switch says so."""
        rows = [row for row in traces.read(files.guided, "guided") if row["accepted"]]
        return by_problem(self.filtered(traces, rows, "guided") if self.options.pure.filter_guided else rows)

    def repairs(self, traces: Traces) -> dict[str, list[Row]]:
        """Accepted repairs by problem, as far as PURE keeps them."""
        rows = [row for row in traces.read(files.repairs(self.options.gear), "repairs") if row["accepted"]]
        return by_problem(self.filtered(traces, rows, "repair"))

    def filtered(self, traces: Traces, rows: list[Row], kind: str) -> list[Row]:
        options = self.options.pure
        if not options.enabled:
            return rows
        scores = traces.read(files.scores(self.options.gear), "scores")
        kept = pure.kept(
            [score for score in scores if score["kind"] == kind],
            options,
            own=[score for score in scores if score["kind"] == "sample"],
            seed=traces.seed,
            valid=valid_traces(traces.problems, rows) if options.rule == "oracle" else (),
        )
        return [row for row in rows if row["trace_id"] in kept]
