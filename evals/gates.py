"""Whether a run's world can answer the question at all: every gate with what was measured and what it asks for.

Reads one comparison of controls: answers of teachers, untrained and trained students; the audits of the teachers; and
each teacher's REPEATS answers per hard question. Writes --out (csv) and the same table as md. HEAL as it is used is no
row here: a world is chosen with controls only. A gate that fails is a row that says "no", not an error.

    heal gates --comparison main --audits results/mini/tables/main_audits/audits_default.csv \\
        --repeated results/mini/evals/default/repeated --out results/mini/tables/gates.csv
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evals import stats
from evals.answers import Reading, read_answers
from evals.audits.premises import check_premises
from evals.pooled_model import fit_pooled_model
from evals.results import ComparisonCommand, Run
from evals.tables.at_k import compute_at_k
from evals.tables.contrasts import MethodGroup, estimate_mean
from evals.tables.render import (
    TextTable,
    format_interval,
    format_markdown,
    format_number,
    format_rows_csv,
    list_columns,
)
from evals.tables.run_notes import list_world_notes, make_run_note
from heal import records
from heal.provenance import record_run
from heal.trace_files import DEFAULT_VARIANT

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

EASY, HARD, SAMPLED, REPEATED = "mini_easy", "mini_hard", "mini_hard_sampled", "mini_hard_repeated"
"""Benchmarks of the gates: easy and hard puzzles greedily, hard ones at temperature 1, and those REPEATS times."""
REPEATS = 16
PLAIN, REFERENCE, UPPER = "rejection_sampling", "rs_matched", "oracle"
POSITIVE, NEGATIVE = "heal_oracle", "heal_no_hint"
"""Methods of the gates: the baselines, the upper bound, and HEAL with oracle cut and filter and HEAL without a hint."""
FLOOR = 0.05
"""Largest share of hard questions that a model without the withheld facts solves."""
MIN_HARD_QUESTIONS = 300
MIN_TEACHER_SEEDS = 3
SENSITIVITY = 3.0
"""The positive control's gain, in detectable differences, from which on the comparison can see a method work."""


@dataclass(frozen=True)
class Gate:
    """A row of the table. NaN: could not be measured."""

    gate: str
    quantity: str
    teacher: str
    value: float
    low: float
    high: float
    asks: str
    holds: str
    """yes | no | cannot say"""


class Gates(ComparisonCommand):
    audits: list[Path]
    """The combined audits of every teacher (audits_{teacher}.csv), in the order of the config."""
    repeated: list[Path]
    """The folder with every teacher's answers to REPEATED, in the same order."""
    out: Path
    """The csv to write; the md is written next to it."""

    def run(self) -> None:
        with record_run(self.out, "gates", VERSION, {"options": self.describe_options()}):
            run = self.open_run()
            gates = list(list_design_gates(run))
            for teacher, audits, repeated in zip(run.teachers, self.audits, self.repeated, strict=True):
                gates += list_teacher_gates(run, teacher, repeated)
                gates += list_trace_gates(teacher, pd.read_csv(audits))
                for student in run.students:
                    gates += list_student_gates(run, teacher, student)
            records.write_text(self.out, format_rows_csv(gates, list_columns(Gate)))
            records.write_text(self.out.with_suffix(".md"), format_gates(gates, run))


def judge(value: float, at_least: float = -math.inf, at_most: float = math.inf) -> str:
    """yes | no | cannot say."""
    if math.isnan(value):
        return "cannot say"
    return "yes" if at_least <= value <= at_most else "no"


def build_gate(
    gate: str,
    quantity: str,
    interval: stats.Interval | float,
    *,
    teacher: str = "",
    at_least: float = -math.inf,
    at_most: float = math.inf,
) -> Gate:
    """A gate whose quantity, a number or a mean with its interval, has to lie within bounds."""
    if not isinstance(interval, stats.Interval):
        interval = stats.Interval(float(interval), math.nan, math.nan, "")
    bounds = [f"at least {at_least:g}"] * (at_least > -math.inf) + [f"at most {at_most:g}"] * (at_most < math.inf)
    holds = judge(interval.mean, at_least, at_most)
    asks = " and ".join(bounds)
    return Gate(gate, quantity, teacher, interval.mean, interval.low, interval.high, asks, holds)


def list_design_gates(run: Run) -> Iterator[Gate]:
    """The size of the comparison."""
    questions = len(run.get_teacher_scores(run.teachers[0], HARD))
    yield build_gate("size", "hard test questions", questions, at_least=MIN_HARD_QUESTIONS)
    yield build_gate("size", "teacher sampling seeds", run.teacher_seeds, at_least=MIN_TEACHER_SEEDS)


def list_teacher_gates(run: Run, teacher: str, repeated: Path) -> Iterator[Gate]:
    """The ceiling: easy puzzles are solved, hard ones neither by luck, nor greedily, nor by a vote."""
    easy = average(run.get_teacher_scores(teacher, EASY))
    yield build_gate("teacher", "easy, greedily", easy, teacher=teacher, at_least=0.95)
    answers = {
        "hard, greedily": run.get_teacher_scores(teacher, HARD),
        "hard, at temperature 1": run.get_teacher_scores(teacher, SAMPLED),
        f"hard, by the majority of {REPEATS}": compute_majority(repeated, run.reading),
    }
    for quantity, scores_Q in answers.items():
        yield build_gate("teacher", quantity, average(scores_Q), teacher=teacher, at_most=FLOOR)


def compute_majority(repeated: Path, reading: Reading) -> NDArray[np.float64]:
    """Whether the most frequent of a teacher's REPEATS answers is right, shape [Q]."""
    return compute_at_k(read_answers(repeated / REPEATED / "answers.parquet", reading), "maj", REPEATS)


def average(scores_Q: NDArray[np.float64]) -> stats.Interval:
    """Mean over questions and its interval."""
    return estimate_mean(scores_Q[None, None])


def list_trace_gates(teacher: str, audits: pd.DataFrame) -> Iterator[Gate]:
    """What the audits say: the premises, how valid guided samples and repairs are, how many problems are repaired."""
    for premise in check_premises(audits).itertuples():
        interval = stats.Interval(premise.value, premise.low, premise.high, "")
        quantity = f"{premise.says}: {premise.quantity}"
        yield build_gate(premise.premise, quantity, interval, teacher=teacher, at_least=premise.threshold)
    guided = find_quantity(audits, "start or mid-trace", "valid of accepted, hint at start")
    repaired = find_quantity(audits, "repairs", "valid of accepted")
    yield build_gate("traces", "valid of accepted guided samples", guided, teacher=teacher, at_least=0.5)
    yield build_gate(
        "traces", "valid of accepted: repairs minus guided", repaired.mean - guided.mean, teacher=teacher, at_least=0.2
    )
    yield build_gate("traces", "invalid of accepted repairs", 1 - repaired.mean, teacher=teacher, at_least=0.15)
    for kind in ("inherited", "fresh"):
        share = find_quantity(audits, "repairs", f"{kind} error of accepted")
        yield build_gate("traces", f"{kind} error of accepted repairs", share, teacher=teacher, at_least=0.01)
    solved = find_quantity(audits, "repairs", "treated problems with an accepted repair")
    yield build_gate("traces", "treated problems with an accepted repair", solved, teacher=teacher, at_least=0.6)


def find_quantity(audits: pd.DataFrame, audit: str, quantity: str) -> stats.Interval:
    """A row of the audits, of the run's own GEAR; NaN where there is none."""
    named = (audits["audit"] == audit) & (audits["quantity"] == quantity) & (audits["variant"] == DEFAULT_VARIANT)
    rows = audits[named]
    if not len(rows):
        return stats.Interval(math.nan, math.nan, math.nan, "")
    value, low, high = rows.iloc[0][["value", "low", "high"]]
    return stats.Interval(float(value), float(low), float(high), "")


def list_student_gates(run: Run, teacher: str, student: str) -> Iterator[Gate]:
    """Healthy students, an upper bound that is reached, and a comparison that sees what is there and nothing else."""
    base = run.get_untrained_scores(teacher, student, EASY).mean()
    easy = estimate_mean(run.get_student_scores(teacher, student, PLAIN, EASY))
    share = stats.Interval(easy.mean / base, easy.low / base, easy.high / base, "")
    yield build_gate("student", f"easy, {PLAIN} over untrained", share, teacher=teacher, at_least=0.95)
    untrained = average(run.get_untrained_scores(teacher, student, HARD))
    yield build_gate("student", "hard, untrained", untrained, teacher=teacher, at_most=FLOOR)
    upper = estimate_mean(run.get_student_scores(teacher, student, UPPER, HARD))
    yield build_gate("student", f"hard, {UPPER}", upper, teacher=teacher, at_least=0.8)
    group = MethodGroup(run, teacher, student, HARD, run.methods)
    gains = []
    for method in (POSITIVE, NEGATIVE):
        contrast, _ = group.compare(method, REFERENCE)
        gains.append(contrast)
    positive, negative = gains
    ratio = positive.diff / positive.compute_detectable() if positive else math.nan
    quantity = f"{POSITIVE} minus {REFERENCE} on {HARD}, over the detectable difference"
    yield build_gate("sensitivity", quantity, ratio, teacher=teacher, at_least=SENSITIVITY)
    low = negative.compute_interval()[0] if negative else math.nan
    quantity = f"{NEGATIVE} minus {REFERENCE} on {HARD}: lower bound"
    yield build_gate("sensitivity", quantity, low, teacher=teacher, at_most=0)
    yield compare_halves(run, teacher, student)


def compare_halves(run: Run, teacher: str, student: str) -> Gate:
    """One method against itself with other training seeds: the smallest |difference| that its interval allows is 0."""
    scores_TSQ = run.get_student_scores(teacher, student, PLAIN, HARD)
    half = scores_TSQ.shape[1] // 2
    quantity = f"{PLAIN} with other training seeds: |difference| on {HARD} beyond its interval"
    if not half or len(scores_TSQ) < 2:
        return build_gate("sensitivity", quantity, math.nan, teacher=teacher, at_most=0)
    pair_MRQ = np.stack([scores_TSQ[:, :half].mean(axis=1), scores_TSQ[:, half : 2 * half].mean(axis=1)])
    contrast = fit_pooled_model(pair_MRQ).compare(0, 1)
    low, high = contrast.compute_interval()
    beyond = 0.0 if math.isnan(low) else max(low, -high, 0.0)
    return build_gate("sensitivity", quantity, beyond, teacher=teacher, at_most=0)


def format_gates(gates: Sequence[Gate], run: Run) -> str:
    """The gates as Markdown."""
    header = ["gate", "quantity", "teacher", "value [95 %]", "asks for", "holds"]
    cells = []
    for gate in gates:
        has_interval = not math.isnan(gate.low)
        value = format_interval(gate.value, gate.low, gate.high) if has_interval else format_number(gate.value, 3)
        cells.append([gate.gate, gate.quantity, gate.teacher, value, gate.asks, gate.holds])
    failed = sum(gate.holds != "yes" for gate in gates)
    heading = "All gates hold" if not failed else f"{failed} of {len(gates)} gates do not hold"
    notes = [make_run_note(run), *list_world_notes(run)]
    return format_markdown("Gates of the world", [TextTable(heading, header, cells, frozenset({0, 1, 2, 4, 5}))], notes)
