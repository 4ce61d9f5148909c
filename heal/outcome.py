"""What came out of a stage, in one sentence: how many, how many of them good, why the others are not, what it took.

A command puts the counts into its provenance (`outcome`), and `heal.provenance.record_run` prints the sentence to the
job's log as its last line. heal.stages adds the counts of a run's jobs up.

    repairs/default of default: 12 of 100 accepted (12 %); 52 wrong, 30 truncated (30 %), 6 leak; 31 s, 1,204 tokens/s
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from heal.stored_rows import explain_damage

VERDICTS = {"correct": "right", "strict": "right", "accepted": "accepted"}
"""Column with the verdict → its word."""
TRUNCATED = "truncated"
UNTRIED = ("no_breakpoint", "no_room")
"""Reasons of traces that no repair was tried of."""
TRACE_PATH = re.compile(
    r"traces/(?P<teacher>[^/]+)/teacher_seed\d+/(?:shards/(?P<shards>.+)/\d+|(?P<file>.+))\.parquet$"
)


@dataclass(frozen=True)
class Outcome:
    """Counts of what a stage made."""

    count: int
    """Rows that were tried."""
    good: int | None = None
    """Those with a good verdict; None for rows without one."""
    verdict: str = ""
    """The word for a good verdict: right | accepted."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why the others are not good, and how many were not tried; `truncated`: cut off at the limit of tokens."""

    @property
    def truncated_share(self) -> float:
        """Share of the rows that were cut off."""
        return self.reasons.get(TRUNCATED, 0) / self.count if self.count else 0.0

    def describe(self) -> str:
        """12 of 100 accepted (12 %); 58 wrong, 30 truncated (30 %)."""
        text = f"{self.count:,}"
        if self.good is not None:
            text = f"{self.good:,} of {text} {self.verdict}{format_share(self.good, self.count)}"
        reasons = []
        for reason, count in sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])):
            share = format_share(count, self.count) if reason == TRUNCATED else ""
            reasons.append(f"{count:,} {reason}{share}")
        return "; ".join(filter(None, [text, ", ".join(reasons)]))


def format_share(count: int, total: int) -> str:
    """ " (12 %)"; nothing of nothing."""
    return f" ({count / total:.0%})".replace("%", " %") if total else ""


def parse_outcome(counts: Mapping[str, Any]) -> Outcome:
    """The outcome that a provenance file holds."""
    return Outcome(**{name.name: counts[name.name] for name in fields(Outcome)})


def add_outcomes(outcomes: Iterable[Outcome]) -> Outcome:
    """The counts of several jobs of one kind together. Raises ValueError for none."""
    every = list(outcomes)
    if not every:
        raise ValueError("no outcome to add")
    reasons: Counter[str] = Counter()
    for outcome in every:
        reasons.update(outcome.reasons)
    goods = [outcome.good for outcome in every if outcome.good is not None]
    good = sum(goods) if goods else None
    verdict = next((outcome.verdict for outcome in every if outcome.verdict), "")  # a shard may be empty
    return Outcome(sum(outcome.count for outcome in every), good, verdict, dict(reasons))


def read_outcome(path: str | Path) -> Outcome:
    """The outcome of a parquet file of traces, verdicts, scores or problems: of its small columns."""
    with explain_damage(path):
        names = [*VERDICTS, "reason", "finish_reason", "breakpoint"]
        columns = [name for name in names if name in pq.read_schema(path).names]
        table = pq.read_table(path, columns=columns)
    return count_rows(table.to_pylist() if columns else [{}] * pq.read_metadata(path).num_rows)


def count_rows(rows: Iterable[Mapping[str, Any]]) -> Outcome:
    """The outcome of rows, by the columns that they have."""
    count, good, verdict = 0, 0, ""
    reasons: Counter[str] = Counter()
    for row in rows:
        column = next((name for name in VERDICTS if name in row), None)
        if column is None:
            count += 1
            if row.get("finish_reason") == "length":
                reasons[TRUNCATED] += 1
            if "breakpoint" in row and row["breakpoint"] is None:
                reasons["no_breakpoint"] += 1
            continue
        verdict = VERDICTS[column]
        count += row["reason"] not in UNTRIED
        good += row[column]
        if not row[column]:
            reasons[row["reason"]] += 1
    return Outcome(count, good if verdict else None, verdict, dict(reasons))


def name_outcome(record: Mapping[str, Any]) -> str:
    """What an output is, from its provenance: of all shards, seeds and benchmarks of one kind the same."""
    options, output = record.get("options") or {}, Path(str(record["output"]))
    match = TRACE_PATH.search(str(output))
    if match:
        return f"{match['shards'] or match['file']} of {match['teacher']}"
    if record["command"] == "evaluate":
        answering = options.get("teacher") or options.get("student") or "a model"
        return f"answers of {answering}" + (f", trained by {options['method']}" if options.get("method") else "")
    if record["command"] == "train":
        return f"examples of {options.get('method') or 'a method'}"
    return f"{record['command']}, {output.name.partition('.')[0]}"


def describe_run(record: Mapping[str, Any]) -> str:
    """The sentence about one job, from its provenance; "" where it counts nothing."""
    if not record.get("outcome"):
        return ""
    took = format_cost(record["seconds"], record.get("tokens_per_s", 0.0))
    return f"{name_outcome(record)}: {parse_outcome(record['outcome']).describe()}; {took}"


def format_cost(seconds: float, tokens_per_s: float) -> str:
    """31 s, 1,204 tokens/s."""
    rate = f", {tokens_per_s:,.0f} tokens/s" if tokens_per_s else ""
    return f"{seconds:,.0f} s{rate}"


def record_outcome(outcome: Outcome) -> dict[str, Any]:
    """The fact that a command adds to its provenance."""
    return {"outcome": asdict(outcome)}
