"""Compare ways of doing the same work in paired, interleaved rounds: A B C, A B C, … in one process.

Each round runs every way once, the next round in the reverse order, so that what else the machine does meets all of
them. A ratio is taken within a round; tables have the median over rounds and the range. Used by the other benchmarks.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heal import records
from heal.provenance import describe_machine, list_package_versions
from tools.docs.markdown import build_table


@dataclass(frozen=True)
class Way:
    """One way of doing the work. run: does it once; returns the number of tokens (or other units) that it made.

    baseline: the way that it is compared with.
    """

    name: str
    baseline: str
    run: Callable[[], int]


@dataclass(frozen=True)
class Measurement:
    """One way in one round. cpu_seconds: of this process and of those it started."""

    case: str
    way: str
    baseline: str
    round: int
    tokens: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum over rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{format_value(self.median)} ({format_value(self.low)}–{format_value(self.high)})"


@dataclass(frozen=True)
class Row:
    """One way in one case, over all rounds. ratio: tokens per second over the baseline's in the same round."""

    case: str
    way: str
    baseline: str
    rounds: int
    tokens: int
    tokens_per_s: Spread
    ratio: Spread
    cpu_ratio: Spread
    """The same of tokens per CPU second, which other processes of the machine change little."""


@dataclass
class Table:
    """What a benchmark writes: rows, settings and the machine."""

    title: str
    settings: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)

    def measure(self, case: str, ways: Sequence[Way], rounds: int) -> None:
        """Runs every way once unmeasured, then `rounds` interleaved rounds."""
        for way in ways:
            way.run()
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                gc.collect()
                began, began_cpu = time.monotonic(), read_cpu_seconds()
                tokens = way.run()
                seconds, cpu_seconds = time.monotonic() - began, read_cpu_seconds() - began_cpu
                measurement = Measurement(case, way.name, way.baseline, number, tokens, seconds, cpu_seconds)
                self.measurements.append(measurement)
                print(measurement, file=sys.stderr, flush=True)

    def summarize(self) -> list[Row]:
        """One row per case and way, in the order of measuring."""
        groups: dict[tuple[str, str], list[Measurement]] = {}
        for measurement in self.measurements:
            groups.setdefault((measurement.case, measurement.way), []).append(measurement)
        rows = []
        for (case, way), group in groups.items():
            baseline = groups[case, group[0].baseline]
            speeds = [item.tokens / item.seconds for item in group]
            ratios, cpu_ratios = [], []
            for item, other in zip(sort_rounds(group), sort_rounds(baseline), strict=True):
                ratios.append(item.tokens / item.seconds / (other.tokens / other.seconds))
                cpu_ratios.append(item.tokens / item.cpu_seconds / (other.tokens / other.cpu_seconds))
            spreads = compute_spread(speeds), compute_spread(ratios), compute_spread(cpu_ratios)
            tokens = round(statistics.median(item.tokens for item in group))
            rows.append(Row(case, way, group[0].baseline, len(group), tokens, *spreads))
        return rows

    def write(self, out: Path) -> None:
        """The csv (one line per way and round), and the summary as a Markdown table."""
        columns = list(Measurement.__dataclass_fields__)
        lines = [",".join(columns)]
        for measurement in self.measurements:
            values = vars(measurement) | {
                "seconds": round(measurement.seconds, 3),
                "cpu_seconds": round(measurement.cpu_seconds, 3),
            }
            lines.append(",".join(str(values[column]) for column in columns))
        records.write_text(out, "\n".join(lines) + "\n")
        header = ["case", "way", "tokens", "tokens/s", "ratio", "of CPU seconds", "baseline", "rounds"]
        cells = []
        for row in self.summarize():
            spreads = [str(row.tokens_per_s), str(row.ratio), str(row.cpu_ratio)]
            cells.append([row.case, row.way, str(row.tokens), *spreads, row.baseline, str(row.rounds)])
        note = "Median (minimum–maximum) over rounds. Ratio: tokens per second over the baseline's in the same round."
        write_page(out, self.title, self.settings, header, cells, note)


def write_page(
    out: Path, title: str, settings: dict[str, Any], header: Sequence[str], cells: Iterable[Sequence[str]], note: str
) -> None:
    """A benchmark's table as Markdown beside its csv, with machine, versions and settings below it."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in list_package_versions().items())
    lines = [f"**{title}**", "", build_table(header, cells), note, ""]
    lines += [f"Machine: {machine['processor']}, {machine['cores']} cores, {', '.join(machine['cpu_flags'])}.", ""]
    lines += [f"Versions: {versions}.", ""]
    lines += [f"Settings: {', '.join(f'{name} {value}' for name, value in settings.items())}."]
    records.write_text(out.with_suffix(".md"), "\n".join(lines) + "\n")


def format_value(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def sort_rounds(group: Iterable[Measurement]) -> list[Measurement]:
    return sorted(group, key=lambda item: item.round)


def compute_spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def read_cpu_seconds() -> float:
    """User and system seconds of this process, of its ended children, and of its living descendants."""
    import psutil

    process = psutil.Process()
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return float(total)
