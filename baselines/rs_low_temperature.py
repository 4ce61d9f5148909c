"""Rejection sampling with one greedy and some low-temperature samples besides: is the ceiling one of temperature 1?

A cheap control. Where the teacher answers a problem greedily, and not at its sampling temperature, no ceiling needs a
repair.
"""

from __future__ import annotations

from collections.abc import Iterator

from baselines.rs_matched import build_from_further_samples
from heal.config import experiment as config
from heal.config.options import OptionGroup
from heal.method.base import Example, Method, Traces
from heal.trace_files import GRADES, LOW_TEMPERATURE_GRADES, LOW_TEMPERATURE_SAMPLES, SAMPLES, TraceFile


class Options(OptionGroup):
    pace: config.Pace = config.Pace()
    """`max_per_problem` only, for as many samples as rejection sampling has; it grows with a problem's samples."""


class RsLowTemperature(Method):
    name = "rs_low_temperature"
    paper = "ours: a control of rejection sampling (arXiv 2308.01825) for the sampling temperature"
    summary = "rejection sampling with one greedy and some low-temperature samples of every problem besides"
    differs = "further samples by greedy decoding and at a low temperature (section `low_temperature`)"
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, LOW_TEMPERATURE_SAMPLES, LOW_TEMPERATURE_GRADES]

    def build_curriculum(self, traces: Traces) -> Iterator[Example]:
        limit = self.options.pace.max_per_problem
        return build_from_further_samples(traces, LOW_TEMPERATURE_SAMPLES, LOW_TEMPERATURE_GRADES, limit)
