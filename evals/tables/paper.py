"""Tabulate the paper's numbers next to this run's: every published number, ours, its interval and a verdict.

Reads evals/paper.yaml, the run's config, its answers, premise.json and training problems. Writes --out (csv) and the
same name with .md.

    heal tabulate-paper --config config/paper.yaml --out results/paper/tables/paper.csv

A setting agrees or differs. A result gets a verdict only where it can be compared: the same models and benchmarks,
HEAL's premise present, several teacher sampling seeds (all students of one teacher seed share its samples), and an
interval that tells the paper's number from no difference. Everything else is "cannot say", with the reason.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals import stats
from evals.pooled_model import fit_pooled_model
from evals.results import UNTRAINED, Run, open_run
from evals.tables.comparison_rows import CANNOT_SAY
from evals.tables.contrasts import describe_difference_coverage, get_replicates
from evals.tables.hardware import list_hardware_notes
from evals.tables.notes import Note, Topic
from evals.tables.paper_numbers import FILE, OurValue, Paper, PublishedNumber, read_paper
from evals.tables.render import TextTable, format_interval, format_markdown, format_rows_csv, list_columns
from evals.tables.run_notes import list_broken_premises
from heal import records
from heal.command import CONFIG_VARIABLE, Command
from heal.config.options import changed_options
from heal.config.run_config import RunConfig, read_run_config
from heal.errors import HealError
from heal.provenance import record_run
from heal.registry import list_benchmarks

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""

AGREES, DIFFERS = "agrees", "differs"
TOLERANCE = 1e-3
"""Relative: a third is written as 0.333333."""
SIGNS = {"positive": 1, "negative": -1}


@dataclass(frozen=True)
class PaperRow:
    """One published number, and ours; of results one row per teacher and student."""

    item: str
    unit: str
    paper: str
    teacher: str
    student: str
    ours: str
    low: float
    high: float
    """95 % interval of ours; NaN where there is none."""
    covers: str
    """Sources of variance in the interval."""
    verdict: str
    """agrees | differs | cannot say."""
    why: str
    status: str
    confidence: str
    source: str


@dataclass(frozen=True)
class Finding:
    """Our side of a number, and what follows from it."""

    verdict: str
    why: str = ""
    ours: Any = ""
    interval: stats.Interval | None = None
    covers: str = ""
    teacher: str = ""
    student: str = ""


@dataclass(frozen=True)
class OurRun:
    """The run that is compared with the paper."""

    run: Run
    run_config: RunConfig
    problem_sets: Mapping[str, str]
    """Benchmark → the problems that it asks."""
    incomparable: str
    """Why no result of the run can be compared; empty where results can."""


class TabulatePaper(Command):
    out: Path
    """The csv to write; the md is written next to it."""

    @classmethod
    def changed_options(cls, run_config: RunConfig, **flags: Any) -> dict[str, Any]:
        """The whole config: paper.yaml may compare any of its fields."""
        return {"experiment": changed_options(run_config.experiment)}

    def run(self) -> None:
        path = self.config or os.environ.get(CONFIG_VARIABLE)
        if not path:
            raise HealError("no config", where="heal tabulate-paper", fix="give --config FILE")
        run_config = read_run_config(path)
        options = {"experiment": run_config.experiment.model_dump(mode="json")}
        with record_run(self.out, "tabulate-paper", VERSION, {"options": options}):
            paper = read_paper()
            ours = open_our_run(run_config)
            rows = build_paper_rows(paper, ours)
            records.write_text(self.out, format_rows_csv(rows, list_columns(PaperRow)))
            records.write_text(self.out.with_suffix(".md"), format_paper(rows, list_paper_notes(ours.run, paper)))


def open_our_run(run_config: RunConfig) -> OurRun:
    """Raises HealError for a missing premise.json."""
    run = open_run(run_config.get_comparison("main"))
    premises = list_broken_premises(run)
    incomparable = f"premise absent: {premises[0]}" if premises else ""
    if run.world is not None and run.world.note:
        incomparable = f"the {run.world.name} world is no test of the paper"
    return OurRun(run, run_config, list_benchmarks(), incomparable)


def build_paper_rows(paper: Paper, ours: OurRun) -> list[PaperRow]:
    """One row per number, and of results one per teacher and student."""
    rows = []
    verdicts: dict[str, str] = {}
    for number in paper.numbers:
        findings = list(compare_number(number, ours, verdicts))
        verdicts[number.item] = findings[0].verdict
        for finding in findings:
            rows.append(build_paper_row(number, finding, paper.sources[number.status]))
    return rows


def build_paper_row(number: PublishedNumber, finding: Finding, source: str) -> PaperRow:
    return PaperRow(
        item=number.item,
        unit=number.unit,
        paper=format_value(number.paper),
        teacher=finding.teacher,
        student=finding.student,
        ours=format_value(finding.ours),
        low=finding.interval.low if finding.interval else math.nan,
        high=finding.interval.high if finding.interval else math.nan,
        covers=finding.covers,
        verdict=finding.verdict,
        why=finding.why,
        status=number.status,
        confidence=number.confidence,
        source=source,
    )


def compare_number(number: PublishedNumber, ours: OurRun, verdicts: Mapping[str, str]) -> Iterator[Finding]:
    """The findings on one number; several only for a result. verdicts: of the items before it."""
    if number.ours is None:
        yield Finding(CANNOT_SAY, number.why)
    elif number.ours.option:
        yield compare_setting(number, number.ours, ours)
    else:
        yield from compare_result(number, number.ours, ours, verdicts)


def compare_setting(number: PublishedNumber, our_value: OurValue, ours: OurRun) -> Finding:
    """Whether our option is the paper's value."""
    value = get_option(ours, our_value.option)
    if value is None:
        return Finding(CANNOT_SAY, "this run has no method named heal, or no such value")
    if our_value.matches:
        paths = [model["path"] for model in value.values()]
        matching = list(filter(re.compile(our_value.matches).search, paths))
        return Finding(AGREES if matching else DIFFERS, number.why, ours=", ".join(paths))
    if our_value.unless:
        override = get_option(ours, our_value.unless)
        if override is not None:
            name = our_value.unless.rpartition(".")[2]
            return Finding(DIFFERS, f"{our_value.unless} decides instead", f"{name} {override}")
    if our_value.count:
        value = len(value)
    if isinstance(value, str) or isinstance(number.paper, str):
        equal = value == number.paper
    else:
        equal = math.isclose(value, number.paper, rel_tol=TOLERANCE)
    return Finding(AGREES if equal else DIFFERS, number.why, ours=value)


def get_option(ours: OurRun, field: str) -> Any:
    """A field of the config, or for `heal.…` an option of the method heal (None without one).

    Raises HealError for an unknown field.
    """
    group, _, rest = field.partition(".")
    options: Any = ours.run_config.experiment.model_dump()
    if group == "heal":
        method = ours.run_config.methods.get("heal")
        if method is None:
            return None
        options, field = method.options.model_dump(), rest
        if method.variant:
            options["gear"] = ours.run_config.gear_variants[method.variant].model_dump()
    try:
        return reduce(dict.__getitem__, field.split("."), options)
    except (KeyError, TypeError):
        raise HealError(f"no field {field!r} in the config", where=str(FILE), fix="fix `option` there") from None


def compare_result(
    number: PublishedNumber, our_value: OurValue, ours: OurRun, verdicts: Mapping[str, str]
) -> Iterator[Finding]:
    """One for each teacher and student that the number is about; one alone where nothing can be compared."""
    differing = [f"another {item}" for item in number.needs if verdicts[item] != AGREES]
    if ours.incomparable or differing:
        yield Finding(CANNOT_SAY, ours.incomparable or ", ".join(differing))
        return
    if our_value.unsolved:
        for teacher in ours.run.teachers:
            yield compare_unsolved(number, our_value, ours, teacher)
        return
    students = []
    for name, model in ours.run_config.experiment.students.items():
        if re.search(our_value.student, model.path):
            students.append(name)
    if not students:
        yield Finding(CANNOT_SAY, "other students")
    for teacher, student in product(ours.run.teachers, students):
        yield compare_difference(number, our_value, ours, teacher, student)


def compare_difference(
    number: PublishedNumber, our_value: OurValue, ours: OurRun, teacher: str, student: str
) -> Finding:
    """The difference of two methods over the benchmarks, each benchmark with equal weight."""
    run = ours.run
    methods = [our_value.difference, our_value.to]
    benchmarks = select_benchmarks(ours, our_value.benchmarks)
    trained = [name for name in methods if name != UNTRAINED]
    absent = sorted(set(trained) - set(run.methods))
    if absent:
        return Finding(CANNOT_SAY, f"this run has no method {absent[0]}", teacher=teacher, student=student)
    if not benchmarks:
        why = f"this run asks none of {', '.join(our_value.benchmarks)}"
        return Finding(CANNOT_SAY, why, teacher=teacher, student=student)
    for benchmark in benchmarks:
        if run.has_mixed_engines(teacher, student, trained, benchmark):
            return Finding(CANNOT_SAY, "answered on different engines", teacher=teacher, student=student)
    interval = estimate_difference(run, teacher, student, methods, benchmarks)
    verdict, why = judge_interval(number, interval, is_difference=True)
    if run.teacher_seeds == 1:
        verdict, why = CANNOT_SAY, "one teacher sampling seed, which all students share: raise `teacher_seeds`"
    return Finding(verdict, why, interval.mean, interval, interval.covers, teacher, student)


def select_benchmarks(ours: OurRun, problem_sets: Sequence[str]) -> list[str]:
    """The run's benchmarks that ask one of these problem sets."""
    return [name for name in ours.run.benchmarks if ours.problem_sets[name] in problem_sets]


def estimate_difference(
    run: Run, teacher: str, student: str, methods: Sequence[str], benchmarks: Sequence[str]
) -> stats.Interval:
    """First method minus second, over the benchmarks with equal weight; not adjusted, variance pooled over all methods.

    On one benchmark and to the reference, it is the comparison's difference. methods: UNTRAINED may be the second.
    """
    scores_MRQ = collect_scores(run, benchmarks, run.methods, teacher, student)
    model = fit_pooled_model(scores_MRQ)
    first = run.methods.index(methods[0])
    if methods[1] == UNTRAINED:
        untrained = [run.get_untrained_scores(teacher, student, benchmark) for benchmark in benchmarks]
        contrast = model.compare_with_constant(first, np.concatenate(weigh_equally(untrained)))
    else:
        contrast = model.compare(first, run.methods.index(methods[1]))
    covers = describe_difference_coverage(run.teacher_seeds)
    return stats.Interval(contrast.diff, *contrast.compute_interval(), covers)


def collect_scores(
    run: Run, benchmarks: Sequence[str], methods: Sequence[str], teacher: str, student: str
) -> NDArray[np.float64]:
    """Scores [methods, replicates, questions of all benchmarks]; a mean over questions weighs benchmarks equally."""
    scores = []
    for method in methods:
        parts = [get_replicates(run.get_student_scores(teacher, student, method, name)) for name in benchmarks]
        scores.append(np.concatenate(weigh_equally(parts), axis=-1))
    return np.stack(scores)


def weigh_equally(parts: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Scores of several benchmarks, scaled so that the mean over all questions is the mean of the benchmarks' means."""
    n_questions = [part.shape[-1] for part in parts]
    per_benchmark = sum(n_questions) / len(parts)
    return [part * per_benchmark / count for part, count in zip(parts, n_questions, strict=True)]


def compare_unsolved(number: PublishedNumber, our_value: OurValue, ours: OurRun, teacher: str) -> Finding:
    """The share of questions that the teacher never solves in `our_value.repeats` repeats."""
    benchmarks = select_benchmarks(ours, our_value.unsolved)
    if not benchmarks:
        return Finding(CANNOT_SAY, f"this run asks none of {', '.join(our_value.unsolved)}", teacher=teacher)
    path = ours.run.get_teacher_path(teacher, benchmarks[0])
    scores_QR = ours.run.load_answers(path, benchmarks[0]).scores_QR
    repeats = scores_QR.shape[1]
    if repeats < our_value.repeats:
        why = f"{repeats} repeats of {benchmarks[0]}, where {our_value.repeats} are needed"
        return Finding(CANNOT_SAY, why, teacher=teacher)
    unsolved_Q = []
    for right in scores_QR.sum(axis=1):
        unsolved_Q.append(1 - stats.estimate_pass_at_k(repeats, int(right), our_value.repeats))
    interval = stats.compute_crossed_bootstrap([unsolved_Q])
    verdict, why = judge_interval(number, interval, is_difference=False)
    return Finding(verdict, why, interval.mean, interval, interval.covers, teacher)


def judge_interval(number: PublishedNumber, interval: stats.Interval, *, is_difference: bool) -> tuple[str, str]:
    """(verdict, why) of our interval on the paper's number."""
    low, high = interval.low, interval.high
    if math.isnan(low):
        return CANNOT_SAY, "no interval: too few replicates, or no variation between them"
    if isinstance(number.paper, str):
        sign = SIGNS[number.paper]
        if low <= 0 <= high:
            return CANNOT_SAY, "the interval contains both signs"
        return (AGREES if sign * low > 0 else DIFFERS), ""
    if low > number.paper + number.rounding or high < number.paper - number.rounding:
        return DIFFERS, ""
    if is_difference and low <= 0 <= high:
        return CANNOT_SAY, "the interval contains the paper's number, and no difference as well"
    return AGREES, ""


def format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def format_paper(rows: Sequence[PaperRow], notes: Sequence[Note]) -> str:
    """The table as Markdown."""
    header = ["item", "paper", "ours [95 %]", "unit", "verdict", "why", "confidence"]
    cells = []
    for row in rows:
        ours = row.ours if math.isnan(row.low) else format_interval(float(row.ours), row.low, row.high)
        models = ", ".join(filter(None, (row.teacher, row.student)))
        item = f"{row.item} ({models})" if models else row.item
        cells.append([item, row.paper, ours, row.unit, row.verdict, row.why, row.confidence])
    table = TextTable("", header, cells, frozenset(range(len(header))))
    return format_markdown("The paper and this run", [table], notes)


def list_paper_notes(run: Run, paper: Paper) -> list[Note]:
    """The notes under the table."""
    text = f"Run {run.folder.name}. HEAL is re-implemented from a description: only the paper's abstract was available."
    notes = [Note(Topic.RUN, text)]
    for status, source in paper.sources.items():
        notes.append(Note(Topic.PAPER, f"{status}: {source}."))
    text = (
        "confidence: that the paper says so. high: the abstract; medium: an exact value at second hand; low: rounded "
        "or vague."
    )
    notes.append(Note(Topic.PAPER, text))
    text = (
        "Differences: paired t over the means of teacher sampling seeds, benchmarks with equal weight. unsolved: a "
        "bootstrap over questions. `covers` in the csv names the sources of variance that an interval includes."
    )
    return [*notes, Note(Topic.INTERVALS, text), *list_hardware_notes(run)]
