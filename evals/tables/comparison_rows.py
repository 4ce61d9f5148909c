"""Rows of a comparison: accuracy of every method on every benchmark and stratum, difference to the reference, verdict.

Reads nothing but a run's answers, writes nothing. A row has the same numbers in every table, because they rest on its
family (`choose_family`) and not on the table that shows it. The primary contrast is not adjusted; all others are
(Benjamini-Hochberg), and the intervals next to their verdicts are the adjusted ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from evals import stats
from evals.pooled_model import Contrast
from evals.results import TEACHER, UNTRAINED, Run
from evals.tables.contrasts import MethodGroup, describe_difference_coverage, estimate_mean
from evals.tables.render import list_columns
from heal.errors import HealError

REFERENCE = "reference"
"""Verdict of the method that the others are compared with."""
CANNOT_SAY = "cannot say"
UNDECIDED = "not distinguishable"
HIGHER, LOWER = "higher", "lower"
PRIMARY = "primary"
"""Family of the primary contrast."""
LEVEL = 0.95
"""Confidence level of the primary contrast's interval."""
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class ComparisonRow:
    """One model on one benchmark or stratum. NaN and None: cannot be said, or does not apply."""

    teacher: str
    student: str
    """Empty for the teacher itself."""
    method: str
    benchmark: str
    mean: float
    """Share of right answers."""
    ci_low: float
    ci_high: float
    n_seeds: int
    """Training seeds per teacher sampling seed; 0 where no student was trained."""
    n_teacher_seeds: int
    n_questions: int
    truncated: float = math.nan
    """Share of answers that hit the token limit; they are wrong."""
    family: str = ""
    """primary, or the rows that this one is adjusted with; empty where nothing is compared."""
    level: float = math.nan
    """Confidence level of the difference's intervals: the adjusted one, but for the primary contrast."""
    diff: float = math.nan
    """Mean minus the reference method's."""
    diff_low: float = math.nan
    diff_high: float = math.nan
    """Of the verdict: on these questions."""
    verdict: str = ""
    """higher | lower | not distinguishable | cannot say | reference; empty where no student was trained."""
    new_low: float = math.nan
    new_high: float = math.nan
    """Of the new verdict: on new questions of the same kind."""
    new_verdict: str = ""
    why_not: str = ""
    """Why nothing can be said; empty where something can."""
    p: float = math.nan
    """Unadjusted, on these questions."""
    p_bh: float = math.nan
    """p adjusted over the family (Benjamini-Hochberg); NaN for the primary contrast."""
    detectable: float = math.nan
    """Smallest true difference whose interval excludes 0 with 80 % power, at this row's level."""
    teacher_tokens_generated: int | None = None
    teacher_tokens_prefilled: int | None = None
    training_tokens: int | None = None
    ci_covers: str = ""
    """Sources of variance in ci_low … ci_high."""
    diff_covers: str = ""
    """Sources of variance in diff_low … diff_high; new_low … new_high add the choice of questions."""


COLUMNS = list_columns(ComparisonRow)


def build_comparison(run: Run, reference: str) -> list[ComparisonRow]:
    """The rows of benchmarks and their unsolved strata, without tokens. Raises HealError as `build_rows` does."""
    return select_rows(run, build_rows(run, reference), run.list_benchmarks)


def build_strata(run: Run, reference: str) -> list[ComparisonRow]:
    """The rows of all strata by the teacher's pass rate, without tokens. Raises HealError as `build_rows` does."""
    return select_rows(run, build_rows(run, reference), run.list_strata)


def select_rows(
    run: Run, rows: Iterable[ComparisonRow], list_benchmarks: Callable[[str], Sequence[str]]
) -> list[ComparisonRow]:
    """The rows of these benchmarks of each teacher, and of the methods that the comparison shows, in their order."""
    shown = {TEACHER, UNTRAINED, *run.methods}
    selected = []
    for teacher in run.teachers:
        benchmarks = list_benchmarks(teacher)
        for row in rows:
            if row.teacher == teacher and row.benchmark in benchmarks and row.method in shown:
                selected.append(row)
    return selected


def build_rows(run: Run, reference: str) -> list[ComparisonRow]:
    """Every row on every benchmark and stratum: of the comparison's methods, and of main methods that it leaves out.

    Raises HealError for missing answers, answers that do not pair up, and a reference that is not among the methods.
    """
    check_names(run, reference)
    tested: list[TestedRow] = []
    for teacher in run.teachers:
        benchmarks = list(dict.fromkeys([*run.list_benchmarks(teacher), *run.list_strata(teacher)]))
        for benchmark in benchmarks:
            scores_Q = run.get_teacher_scores(teacher, benchmark)
            tested.append((build_untrained_row(run, teacher, "", TEACHER, benchmark, scores_Q), None))
        for student in run.students:
            for benchmark in benchmarks:
                tested += build_student_rows(run, teacher, student, reference, benchmark)
    return judge_rows(tested)


def put_primary_first(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    return sorted(rows, key=lambda row: row.family != PRIMARY)


def check_names(run: Run, reference: str) -> None:
    """Raises HealError for an unknown reference, and a method with the name of a row that the table has anyway."""
    if reference not in run.methods:
        fix = f"give one of {', '.join(run.methods)}"
        raise HealError(f"no method {reference!r}", where="reference", fix=fix)
    for name in (TEACHER, UNTRAINED):
        if name in run.methods:
            raise HealError(f"the name {name!r} is taken by a row of the table", where="methods", fix="rename it")


TestedRow = tuple[ComparisonRow, Contrast | None]
"""A row, and its difference to the reference where there is one to show."""


def build_student_rows(run: Run, teacher: str, student: str, reference: str, benchmark: str) -> list[TestedRow]:
    """The untrained student's and every method's rows, each with the variance pooled over `list_pooled_methods`."""
    untrained_Q = run.get_untrained_scores(teacher, student, benchmark)
    tested: list[TestedRow] = [(build_untrained_row(run, teacher, student, UNTRAINED, benchmark, untrained_Q), None)]
    groups: dict[tuple[str, ...], MethodGroup] = {}
    for method in run.tested_methods:
        scores_TSQ = run.get_student_scores(teacher, student, method, benchmark)
        row = build_row(run, teacher, student, method, benchmark, scores_TSQ)
        if method == reference:
            tested.append((replace(row, verdict=REFERENCE), None))
            continue
        pooled = tuple(list_pooled_methods(run, method))
        group = groups.setdefault(pooled, MethodGroup(run, teacher, student, benchmark, pooled))
        contrast, why_not = group.compare(method, reference)
        row = replace(row, family=choose_family(run, row), why_not=why_not, verdict=CANNOT_SAY, new_verdict=CANNOT_SAY)
        tested.append((row, contrast))
    return tested


def list_pooled_methods(run: Run, method: str) -> list[str]:
    """The methods that a method's variance is pooled over: the same whichever table shows it.

    Those of the main comparison, and the method itself; all of the table where it has no rows of the main comparison.
    """
    return list(dict.fromkeys([*run.main_methods, method])) if run.main_methods else list(run.methods)


def choose_family(run: Run, row: ComparisonRow) -> str:
    """The rows that a row is adjusted with: the same whichever table shows it.

    main: the methods of the main comparison; any further method is a family of its own; table: all methods of a table
    without rows of the main comparison. Strata that a comparison's own table does not show are families of their own.
    The primary contrast is alone.
    """
    names = (row.teacher, row.student, row.method, row.benchmark)
    primary = run.primary
    if primary and names == (primary.teacher, primary.student, primary.method, primary.benchmark):
        return PRIMARY
    scope = row.method if run.main_methods else "table"
    if row.method in run.main_methods:
        scope = "main"
    return scope if row.benchmark in run.list_benchmarks(row.teacher) else f"{scope} strata"


def build_untrained_row(
    run: Run, teacher: str, student: str, method: str, benchmark: str, scores_Q: NDArray[np.float64]
) -> ComparisonRow:
    """The row of a teacher, or of a student before training."""
    row = build_row(run, teacher, student, method, benchmark, scores_Q[None, None])
    return replace(row, n_seeds=0, n_teacher_seeds=0)


def build_row(
    run: Run, teacher: str, student: str, method: str, benchmark: str, scores_TSQ: NDArray[np.float64]
) -> ComparisonRow:
    """A row with mean and interval, without a difference."""
    interval = estimate_mean(scores_TSQ)
    n_teacher_seeds, n_seeds, n_questions = scores_TSQ.shape
    return ComparisonRow(
        teacher=teacher,
        student=student,
        method=method,
        benchmark=benchmark,
        mean=interval.mean,
        ci_low=interval.low,
        ci_high=interval.high,
        n_seeds=n_seeds,
        n_teacher_seeds=n_teacher_seeds,
        n_questions=n_questions,
        truncated=run.compute_truncated_share(teacher, student, method, benchmark),
        ci_covers=interval.covers,
    )


def judge_rows(tested: Sequence[TestedRow]) -> list[ComparisonRow]:
    """The rows with p, intervals and verdicts, each adjusted over its family."""
    p_values: dict[str, list[float]] = {}
    for row, contrast in tested:
        if contrast:
            p_values.setdefault(row.family, []).append(contrast.p)
    levels = {family: stats.compute_adjusted_level(p, FALSE_DISCOVERY_RATE) for family, p in p_values.items()}
    adjusted = {family: iter(stats.compute_adjusted_p(p)) for family, p in p_values.items()}
    rows = []
    for row, contrast in tested:
        if contrast and row.family == PRIMARY:
            row = judge_row(row, contrast, LEVEL)
        elif contrast:
            row = judge_row(row, contrast, levels[row.family], p_bh=float(next(adjusted[row.family])))
        rows.append(row)
    return rows


def judge_row(row: ComparisonRow, contrast: Contrast, level: float, p_bh: float = math.nan) -> ComparisonRow:
    """The row with its difference; each verdict follows from the interval that is shown with it."""
    low, high = contrast.compute_interval(level)
    new_low, new_high = contrast.compute_interval_on_new_questions(level)
    return replace(
        row,
        level=level,
        diff=contrast.diff,
        diff_low=low,
        diff_high=high,
        verdict=choose_verdict(low, high),
        new_low=new_low,
        new_high=new_high,
        new_verdict=choose_verdict(new_low, new_high),
        p=contrast.p,
        p_bh=p_bh,
        detectable=contrast.compute_detectable(level),
        diff_covers=describe_difference_coverage(row.n_teacher_seeds),
    )


def choose_verdict(low: float, high: float) -> str:
    """higher | lower | not distinguishable: by the interval of a difference."""
    if low > 0:
        return HIGHER
    return LOWER if high < 0 else UNDECIDED


class ModelRow(Protocol):
    """A row about one model on one benchmark."""

    @property
    def teacher(self) -> str: ...

    @property
    def student(self) -> str: ...

    @property
    def benchmark(self) -> str: ...


RowT = TypeVar("RowT", bound=ModelRow)


def group_by_student(rows: Sequence[RowT]) -> dict[tuple[str, str, str], list[RowT]]:
    """(teacher, student, benchmark) → the student's rows, after those of the teacher itself."""
    groups: dict[tuple[str, str, str], list[RowT]] = {}
    teacher_rows: dict[tuple[str, str], list[RowT]] = {}
    for row in rows:
        if row.student:
            of_teacher = teacher_rows.get((row.teacher, row.benchmark), [])
            groups.setdefault((row.teacher, row.student, row.benchmark), list(of_teacher)).append(row)
        else:
            teacher_rows.setdefault((row.teacher, row.benchmark), []).append(row)
    return groups
