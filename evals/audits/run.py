"""Audit a teacher's traces against a step checker: GEAR and PURE themselves, not only the students they produce.

Reads problems/train.parquet of a run and samples, grades, guided samples, repairs and scores of one teacher seed; the
steps of the problems have to be checkable (heal/worlds). Writes --out (csv: one quantity per row), the same as md, its
notes as OUT_notes.json, and premises_TEACHER.csv in the same folder: which premises hold by the traces alone.

The first variant is the run's own GEAR: the premises, the entropy audit and, where gold answers are wrong, the audit of
the filters are read from it. Quantities and premises without data are empty ("cannot say"), never zero.

    heal audit --config config/config.yaml --comparison main --teacher default --teacher-seed 0 --out audits_default.csv
    heal audit --run-folder results/mini --variants default --variants random --teacher default --out audits_default.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from evals.audits import gear as gear_audit
from evals.audits import pure as pure_audit
from evals.audits import wrong_gold as gold_audit
from evals.audits.checker_truth import Truth
from evals.audits.estimates import Estimate, Quantities, collect_column, compute_ratio
from evals.audits.premises import check_premises
from evals.audits.render import build_notes, render_audits
from evals.tables.hardware import list_trace_notes
from evals.tables.notes import get_notes_path, write_notes
from evals.tables.render import format_frame_csv, list_columns
from heal import records
from heal.command import Command, Section
from heal.config.experiment import Gear, Pure
from heal.errors import HealError
from heal.method.steps import split_text
from heal.provenance import record_run
from heal.records import Row, Usage
from heal.run_layout import TRACES
from heal.trace_files import DEFAULT_VARIANT, GRADES, GUIDED, REPAIRS, SAMPLES, SCORES
from heal.worlds import registry as worlds

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""


class Audit(Command):
    comparison: str | None = None
    """Name of the comparison in the config: main, ablations, or one under `comparisons`."""
    run_folder: Annotated[str, Section("comparisons.{comparison}.run")]
    """The run's folder, results/<run>."""
    variants: Annotated[list[str], Section("comparisons.{comparison}.variants")] = [DEFAULT_VARIANT]
    """GEAR variants by name, the run's own first (once per variant)."""
    teacher: str
    """Name of the teacher in the config."""
    teacher_seed: int = 0
    """Index of the teacher sampling seed, from 0."""
    gear: Annotated[Gear, Section(f"gear_variants.{DEFAULT_VARIANT}")] = Gear()
    """The run's own GEAR."""
    pure: Annotated[Pure, Section("pure")] = Pure()
    """The run's own PURE."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run."""
    out: Path
    """The csv to write."""

    def run(self) -> None:
        with record_run(self.out, "audit", VERSION, {"options": self.describe_options()}):
            traces = read_traces(Path(self.run_folder), self.teacher, self.teacher_seed, self.variants)
            audits = build_audits(traces, self.pure, self.seed)
            if traces.has_wrong_gold:
                gold_rows = build_wrong_gold_audit(traces, self.gear, self.pure, self.seed)
                audits = pd.concat([audits, gold_rows], ignore_index=True)
            title = f"Audits of teacher {self.teacher}, teacher seed {self.teacher_seed}"
            notes = build_notes(worlds.find_world_of_problems(traces.problems), traces.has_wrong_gold)
            folder = Path(self.run_folder, TRACES.format(teacher=self.teacher, teacher_seed=self.teacher_seed))
            notes += list_trace_notes(folder, self.teacher)
            premises = check_premises(audits)
            records.write_text(self.out, format_frame_csv(audits))
            records.write_text(self.out.with_suffix(".md"), render_audits(title, audits, premises, notes))
            write_notes(get_notes_path(self.out), notes)
            records.write_text(self.out.with_name(f"premises_{self.teacher}.csv"), format_frame_csv(premises))


@dataclass(frozen=True)
class AuditRow:
    """A row of the csv: one quantity of one audit and GEAR variant. covers: the unit that the interval is over."""

    audit: str
    variant: str
    quantity: str
    value: float
    low: float
    high: float
    n: int
    covers: str


COLUMNS = list_columns(AuditRow)


@dataclass(frozen=True)
class Variant:
    """One GEAR variant: its repairs, their cost in tokens, and their scores where the run has them."""

    name: str
    repairs: list[Row]
    usage: Usage
    scores: list[Row] | None


@dataclass(frozen=True)
class TeacherTraces:
    """The rows of one teacher seed that audits read."""

    problems: Sequence[Row]
    samples: Sequence[Row]
    grades: Sequence[Row]
    guided: Sequence[Row]
    guided_usage: Usage
    variants: Sequence[Variant]
    has_wrong_gold: bool = False
    """Whether some gold answers are known to be wrong; only then are there grades."""


def read_traces(run: Path, teacher: str, teacher_seed: int, variants: Sequence[str]) -> TeacherTraces:
    """Raises HealError for a missing file, and for scores that belong to other repairs."""
    folder = run / TRACES.format(teacher=teacher, teacher_seed=teacher_seed)
    problems = records.read(run / "problems" / "train.parquet", "problems")
    has_wrong_gold = bool(gold_audit.find_wrong_gold(problems))
    return TeacherTraces(
        problems=problems,
        samples=records.read(folder / SAMPLES.path, SAMPLES.schema),
        grades=records.read(folder / GRADES.path, GRADES.schema) if has_wrong_gold else [],
        guided=records.read(folder / GUIDED.path, GUIDED.schema),
        guided_usage=records.read_usage(folder / GUIDED.path),
        variants=[read_variant(folder, name) for name in variants],
        has_wrong_gold=has_wrong_gold,
    )


def read_variant(folder: Path, name: str) -> Variant:
    """Raises HealError where the repairs are missing, or the scores are not of these repairs."""
    repairs_path = folder / REPAIRS.of(variant=name).path
    scores_path = folder / SCORES.of(variant=name).path
    repairs = records.read(repairs_path, REPAIRS.schema)
    scores = records.read(scores_path, SCORES.schema) if scores_path.exists() else None
    known = set(collect_column(repairs, "trace_id"))
    for number, score in enumerate(scores or [], 1):
        if score["origin"] == "repair" and score["trace_id"] not in known:
            fix = "score these repairs again (snakemake does, once the file is deleted)"
            raise HealError("a score without its repair", where=f"{scores_path}, row {number}", fix=fix)
    return Variant(name, repairs, records.read_usage(repairs_path), scores)


def build_audits(traces: TeacherTraces, options: Pure, seed: int) -> pd.DataFrame:
    """Every quantity as a row, columns COLUMNS. Raises HealError for problems without a step checker."""
    truth = Truth(traces.problems)
    samples = {row["trace_id"]: row for row in traces.samples}
    gold = {row["problem_id"]: row["answer"] for row in traces.problems}
    rows: list[AuditRow] = []
    for variant in traces.variants:
        repairs = variant.repairs
        rows += build_rows("cut", variant.name, gear_audit.measure_cuts(repairs, samples, truth))
        rows += build_rows("repairs", variant.name, gear_audit.measure_repairs(repairs, variant.usage, truth))
        if variant.scores is not None:
            scores = pure_audit.select_scores(variant.scores, "repair")
            separation = pure_audit.measure_separation(scores, repairs, truth, options, gold, seed)
            rows += build_rows("pure", variant.name, separation)
            rules = pure_audit.measure_rules(variant.scores, repairs, truth, options, seed)
            rows += build_rows("pure rules", variant.name, rules)
    own = traces.variants[0]
    treated = set(collect_column(own.repairs, "problem_id"))
    rows += build_rows("entropy", own.name, gear_audit.measure_entropy(own.repairs, samples, truth))
    guided = gear_audit.measure_guided(traces.guided, treated, truth, traces.guided_usage)
    rows += build_rows("guided", "guided", guided)
    rows += build_rows("start or mid-trace", own.name, compare_hint_places(traces.guided, own.repairs, truth))
    return build_frame(rows)


def build_wrong_gold_audit(traces: TeacherTraces, gear: Gear, options: Pure, seed: int) -> pd.DataFrame:
    """What each filter passes of problems with a wrong gold answer, next to the others, as rows of `build_audits`."""
    own = traces.variants[0]
    kept_by_rule = {}
    if own.scores:
        kept_by_rule = pure_audit.select_kept_by_rule(own.scores, own.repairs, Truth(traces.problems), options, seed)
    by_gold = gold_audit.measure_wrong_gold(
        traces.problems, traces.grades, traces.guided, own.repairs, kept_by_rule, gear
    )
    rows: list[AuditRow] = []
    for name, quantities in by_gold.items():
        rows += build_rows("wrong gold", name, quantities)
    return build_frame(rows)


def build_rows(audit: str, variant: str, quantities: Quantities) -> list[AuditRow]:
    rows = []
    for name, estimate in quantities.items():
        interval = estimate.interval
        row = AuditRow(
            audit, variant, name, interval.mean, interval.low, interval.high, estimate.n, covers=interval.covers
        )
        rows.append(row)
    return rows


def build_frame(rows: Sequence[AuditRow]) -> pd.DataFrame:
    """Columns COLUMNS."""
    return pd.DataFrame(list(map(asdict, rows)), columns=COLUMNS)


def compare_hint_places(guided: Sequence[Row], repairs: Sequence[Row], truth: Truth) -> Quantities:
    """Valid share of accepted traces by where the hint was given, on problems that have both.

    start: answer-guided. mid: repairs from a cut that keeps at least one step, all of them right (no hint can mend a
    prefix that is already wrong). gap: mid − start; both sides are resampled with the same problems.
    """
    start, mid = [], []
    for row in guided:
        if row["accepted"]:
            start.append(row)
    for row in repairs:
        if row["accepted"] and has_right_prefix(row, truth):
            mid.append(row)
    problem_ids = np.intersect1d(collect_column(start, "problem_id", str), collect_column(mid, "problem_id", str))
    start_valid, start_accepted = count_valid(start, problem_ids, truth)
    mid_valid, mid_accepted = count_valid(mid, problem_ids, truth)
    # One share per problem and place, then their difference: problems, not traces, are what varies.
    gaps = mid_valid / np.maximum(mid_accepted, 1) - start_valid / np.maximum(start_accepted, 1)
    n = len(problem_ids)
    start_share = compute_ratio(start_valid, start_accepted, problem_ids)
    mid_share = compute_ratio(mid_valid, mid_accepted, problem_ids)
    return {
        "valid of accepted, hint at start": Estimate(start_share, int(start_accepted.sum())),
        "valid of accepted, hint at mid": Estimate(mid_share, int(mid_accepted.sum())),
        "gap, mean over problems": Estimate(compute_ratio(gaps, np.ones(n), problem_ids, share=False), n),
    }


def has_right_prefix(repair: Row, truth: Truth) -> bool:
    """Whether the cut keeps at least one step, and every kept step is valid."""
    kept_steps = len(split_text(repair["kept"]))
    first_wrong = truth.find_first_wrong(repair["problem_id"], repair["text"])
    return kept_steps > 0 and (first_wrong is None or first_wrong > kept_steps)


def count_valid(rows: Sequence[Row], problem_ids: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """(valid traces, all traces) of each problem, shape [problem_ids]."""
    index = {problem_id: i for i, problem_id in enumerate(problem_ids)}
    valid, total = np.zeros(len(problem_ids)), np.zeros(len(problem_ids))
    for row in rows:
        i = index.get(row["problem_id"])
        if i is not None:
            valid[i] += truth.is_valid(row)
            total[i] += 1
    return valid, total
