"""A comparison in words: sentences built from the rows of the main table and the content of premise.json.

Pure functions, apart from `read_comparison`, which reads tables/main.csv (of `heal tabulate-comparison`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from evals.results import TEACHER, UNSOLVED, UNTRAINED
from evals.tables.comparison_rows import (
    CANNOT_SAY,
    COLUMNS,
    PRIMARY,
    REFERENCE,
    UNDECIDED,
    ComparisonRow,
    group_by_student,
)
from evals.tables.render import format_bounds, format_difference, format_number
from evals.tables.run_notes import SEEDS_TO_RANK, describe_ceiling
from heal.errors import HealError

REPLIES = {
    "higher": "Yes",
    "lower": "No, lower",
    "not distinguishable": "Not shown",
    "cannot say": "Cannot say",
}
"""Verdict → how the sentence about the primary contrast begins."""

BEST_HEADER = [
    *("teacher", "student", "benchmark", "questions", "highest mean"),
    *("difference [95 %]", "verdict", "detectable"),
]


BEST_TEXT_COLUMNS = frozenset({0, 1, 2, 4, 6})
"""Columns of BEST_HEADER that hold words."""


def read_comparison(path: Path) -> list[ComparisonRow]:
    """The rows of a comparison's csv. Raises HealError for a csv without its columns."""
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        for column in COLUMNS:
            if column not in (reader.fieldnames or ()):
                fix = "make the table again with heal tabulate-comparison"
                raise HealError(f"no column {column!r}", where=str(path), fix=fix)
        return list(map(parse_row, reader))


def parse_row(cells: Mapping[str, str]) -> ComparisonRow:
    """A line of the csv. An empty cell is NaN in a column of floats, None in an optional one."""
    values: dict[str, Any] = {}
    for field in fields(ComparisonRow):
        cell = cells[field.name]
        if field.type == "float":
            values[field.name] = float(cell) if cell else math.nan
        elif field.type == "int":
            values[field.name] = int(cell)
        elif field.type == "int | None":
            values[field.name] = int(cell) if cell else None
        else:
            values[field.name] = cell
    return ComparisonRow(**values)


def choose_method(heal_methods: Sequence[str], rows: Sequence[ComparisonRow]) -> str | None:
    """The first HEAL method in the table; None where it has none. heal_methods: names; empty where unknown."""
    compared = {row.method for row in rows}
    for name in heal_methods or ["heal"]:
        if name in compared:
            return name
    return None


def get_reference(rows: Sequence[ComparisonRow]) -> str:
    """The method that the others are compared with."""
    for row in rows:
        if row.verdict == REFERENCE:
            return row.method
    raise HealError("no reference method in the table", fix="make the table again with heal tabulate-comparison")


def build_question(reference: str, method: str | None) -> str:
    """The question that the page answers."""
    name = "" if method == "heal" else f" ({method or 'not in this run'})"
    other = reference
    if reference == "rs_matched":
        other = f"more samples at the same teacher cost do ({reference})"
    return f"Does HEAL{name} teach a student more than {other}?"


def build_sentences(rows: Sequence[ComparisonRow], method: str | None) -> list[str]:
    """The primary contrast; then the method's other differences, those of other methods, and what they rest on."""
    reference = get_reference(rows)
    means = collect_means(rows, reference)
    own: list[ComparisonRow] = []
    others: list[ComparisonRow] = []
    sentences = []
    if method is None:
        sentences.append(f"The table has no HEAL method; its reference is {reference}.")
    for row in rows:
        if row.family == PRIMARY:
            difference = describe_difference(row, reference, means)
            sentences.append(f"{REPLIES[row.verdict]} on {describe_benchmark(row)}: {difference}")
        elif row.family:
            (own if row.method == method else others).append(row)
    if not any(row.family == PRIMARY for row in rows):
        sentences.append("The run has no primary contrast: every difference is adjusted.")
    sentences += describe_elsewhere(own, reference, means)
    sentences += describe_others(others, reference, means)
    return [*sentences, *describe_basis(rows)]


def collect_means(rows: Sequence[ComparisonRow], method: str) -> dict[tuple[str, str, str], float]:
    """(teacher, student, benchmark) → mean of one method."""
    means = {}
    for row in rows:
        if row.method == method:
            means[row.teacher, row.student, row.benchmark] = row.mean
    return means


def describe_benchmark(row: ComparisonRow) -> str:
    """A benchmark with its number of questions, teacher and student."""
    questions = f"{row.n_questions} questions"
    if row.benchmark.endswith(UNSOLVED):
        questions += " that the teacher never answers correctly"
    return f"{row.benchmark} ({questions}; teacher {row.teacher}, student {row.student})"


def describe_difference(row: ComparisonRow, reference: str, means: Mapping[tuple[str, str, str], float]) -> str:
    """A method's mean and the reference's, their difference on these and on new questions, its p, the power."""
    mean = means[row.teacher, row.student, row.benchmark]
    text = f"{row.method} {format_number(row.mean, 3)}, {reference} {format_number(mean, 3)}"
    if row.why_not:
        return f"{text}, not compared: {row.why_not}."
    text += f", difference {format_difference(row.diff, row.diff_low, row.diff_high)}"
    if row.family == PRIMARY:
        text += f", p {format_p(row.p)}, not adjusted"
    else:
        text += f", adjusted p {format_p(row.p_bh)}"
    text += f"; on new questions {format_bounds(row.new_low, row.new_high)}, {row.new_verdict}"
    return f"{text}. This design finds a true difference of {format_number(row.detectable, 3)} with 80 % power."


def format_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else format_number(p, 3)


def describe_elsewhere(
    rows: Sequence[ComparisonRow], reference: str, means: Mapping[tuple[str, str, str], float]
) -> list[str]:
    """Where else the method differs from the reference, and where it does not."""
    sentences = list_differences(rows, reference, means)
    benchmarks: dict[str, dict[str, None]] = {UNDECIDED: {}, CANNOT_SAY: {}}
    for row in rows:
        if row.verdict in benchmarks:
            reason = f" ({row.why_not})" if row.why_not else ""
            benchmarks[row.verdict][row.benchmark + reason] = None
    method = rows[0].method if rows else ""
    if undecided := ", ".join(benchmarks[UNDECIDED]):
        sentences.append(f"{method} is not distinguishable from {reference} on {undecided}.")
    if untested := ", ".join(benchmarks[CANNOT_SAY]):
        sentences.append(f"{method} cannot be compared with {reference} on {untested}.")
    return sentences


def list_differences(
    rows: Sequence[ComparisonRow], reference: str, means: Mapping[tuple[str, str, str], float]
) -> list[str]:
    """One sentence per row that is higher or lower than the reference, the higher ones of a method first."""
    sentences = []
    for row in sorted(rows, key=lambda row: row.verdict == "lower"):
        if row.verdict in ("higher", "lower"):
            difference = describe_difference(row, reference, means)
            place = describe_benchmark(row)
            sentences.append(f"{row.method} is {row.verdict} than {reference} on {place}: {difference}")
    return sentences


def describe_others(
    rows: Sequence[ComparisonRow], reference: str, means: Mapping[tuple[str, str, str], float]
) -> list[str]:
    """Which other methods differ from the reference, or that none does."""
    differences = list_differences(rows, reference, means)
    if differences or not rows:
        return differences
    if all(row.verdict == CANNOT_SAY for row in rows):
        return [f"No other method can be compared with {reference} on any benchmark."]
    return [f"No other method is distinguishable from {reference} on any benchmark."]


def describe_basis(rows: Sequence[ComparisonRow]) -> list[str]:
    """The number of seeds behind the differences, and the sources of variance in their intervals."""
    compared = [row for row in rows if row.family]
    if not compared:
        return []
    seeds = min(row.n_seeds for row in compared)
    teacher_seeds = min(row.n_teacher_seeds for row in compared)
    replicates = seeds if teacher_seeds == 1 else teacher_seeds
    limit = "" if replicates >= SEEDS_TO_RANK else f": enough to display, not to rank (at least {SEEDS_TO_RANK})"
    basis = (
        f"{format_count(seeds, 'training seed')} per method and {format_count(teacher_seeds, 'teacher sampling seed')}"
    )
    sentences = [f"Basis: {basis}{limit}."]
    for covers in sorted({row.diff_covers for row in compared} - {""}):
        sentences.append(f"Intervals of the differences cover: {covers}.")
    return [" ".join(sentences)]


def format_count(count: int, noun: str) -> str:
    """3 training seeds; 1 training seed."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def describe_premises(premises: Mapping[tuple[str, int], Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """(where the comparison is not a test of HEAL, where it is one). premises: (teacher, teacher seed) → premise.json.

    What is absent belongs before the answer, and so does a ceiling that is none. Older runs have no `ceiling`.
    """
    absent: list[str] = []
    present: list[str] = []
    for (teacher, teacher_seed), premise in premises.items():
        owner = f"teacher {teacher}, teacher seed {teacher_seed}"
        if premise.get("ceiling", {}).get("of_sampling"):
            absent.append(f"{describe_ceiling(premise)} ({owner}).")
        if not premise["holds"]:
            reasons = "; ".join(premise.get("reasons") or ["no reason given"])
            absent.append(f"Premise absent for {owner} ({reasons}): not a test of HEAL.")
            continue
        facts = []
        if "unsolved" in premise:
            facts.append(f"{premise['unsolved']} of {premise['problems']} training problems unsolved")
        if premise.get("margin") is not None:
            points = 100 * premise["margin"]
            facts.append(f"the hint raises the success rate by {points:.0f} percentage points over resampling")
        present.append(f"Premise present for {owner}" + (f": {'; '.join(facts)}." if facts else "."))
    if not premises:
        present.append("Whether HEAL's premises hold is not recorded here (no premise.json).")
    return absent, present


def list_best_methods(rows: Sequence[ComparisonRow], method: str | None) -> list[list[str]]:
    """Columns BEST_HEADER, one line per teacher, student and benchmark: best mean, and the method's difference."""
    lines = []
    for (teacher, student, benchmark), group in group_by_student(rows).items():
        trained = [row for row in group if row.method not in (TEACHER, UNTRAINED)]
        highest = max(row.mean for row in trained)
        best = [row.method for row in trained if row.mean == highest]
        cells = ["", "", ""]
        for row in trained:
            if row.method == method:
                interval = format_difference(row.diff, row.diff_low, row.diff_high)
                cells = [interval, row.verdict, format_number(row.detectable, 3)]
        name = f"{', '.join(best)} ({format_number(highest, 3)})"
        lines.append([teacher, student, benchmark, str(trained[0].n_questions), name, *cells])
    return lines
