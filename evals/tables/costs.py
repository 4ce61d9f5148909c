"""Tabulate costs: tokens of teacher and student, seconds and GPU-seconds of every method of a comparison.

Reads the trace files' token counts, training.json and the provenance of every output. Writes --out (csv) and the same
name with .md. Seconds differ between two runs, so unlike the other tables these do not have equal bytes.

    heal tabulate-costs --config config/config.yaml --comparison main --out results/mini/tables/main_costs.csv

A method's teacher cost is that of every file it needs, as a mean over teacher seeds: files that two methods share, such
as base samples, count in both. Training and evaluation are means per student.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.results import ComparisonCommand, Run, build_methods
from evals.tables.hardware import list_hardware_notes
from evals.tables.notes import Note, Topic
from evals.tables.render import TextTable, format_count, format_markdown, format_rows_csv, list_columns
from heal import records
from heal.cost import price_usage
from heal.errors import HealError
from heal.method.base import Method
from heal.provenance import SUFFIX, build_ledger, record_run

VERSION = 3
"""Raise it when the bytes of the output change for the same input."""

NOTES = (
    "Teacher cost: generated tokens, and prefilled and scored ones at the price of cost.read_price: the number that is "
    "equal for HEAL and rs_matched.",
    "Teacher: of every file that the method needs, including rejected repairs, hints and scoring; mean per teacher "
    "sampling seed. Files that methods share, such as base samples, count in each. Training and evaluation: mean per "
    "student.",
    "Seconds: of all jobs, one after the other, and of the attempt that finished: a job that was killed counts from "
    "where it resumed, its tokens in full. The teacher's seconds include grading, joining shards and the curriculum.",
    "A method that asks the untrained student first has that in the teacher's seconds too, its tokens in no column.",
    "GPU-seconds: seconds times the GPUs that the job leased; 0 on the CPU, and for a model that is served elsewhere.",
)


@dataclass(frozen=True)
class CostRow:
    """What one method took for one teacher and student."""

    teacher: str
    student: str
    method: str
    teacher_tokens_generated: int
    teacher_tokens_prefilled: int
    teacher_tokens_scored: int
    teacher_cost: int
    """In generated tokens (heal.cost)."""
    training_tokens: int
    teacher_seconds: float
    teacher_gpu_seconds: float
    training_seconds: float
    training_gpu_seconds: float
    evaluation_seconds: float
    evaluation_gpu_seconds: float


COLUMNS = list_columns(CostRow)


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds of jobs, and the same times the GPUs that each job leased."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.seconds + other.seconds, self.gpu_seconds + other.gpu_seconds)

    def __truediv__(self, count: int) -> Seconds:
        return Seconds(self.seconds / count, self.gpu_seconds / count)


class TabulateCosts(ComparisonCommand):
    out: Path
    """The csv to write; the md is written next to it."""

    def run(self) -> None:
        with record_run(self.out, "tabulate-costs", VERSION, {"options": self.describe_options()}):
            run = self.open_run()
            rows = build_costs(run, build_methods(self.view), self.view.read_price)
            records.write_text(self.out, format_rows_csv(rows, COLUMNS))
            records.write_text(self.out.with_suffix(".md"), format_costs(rows, list_hardware_notes(run)))


class OutputTimes:
    """Seconds of every output of a run, from the provenance next to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, Seconds] = {}
        for row in build_ledger(folder).itertuples():
            self.seconds[row.output] = Seconds(row.seconds, row.gpu_seconds)

    def add_up(self, outputs: Iterable[Path]) -> Seconds:
        """Sum over outputs. Raises HealError for one without provenance."""
        total = Seconds()
        for output in outputs:
            name = str(output.relative_to(self.folder))
            if name not in self.seconds:
                fix = "delete the output and run snakemake again"
                raise HealError("no such file", where=f"{output}{SUFFIX}", fix=fix)
            total += self.seconds[name]
        return total


def build_costs(run: Run, methods: dict[str, Method], read_price: float) -> list[CostRow]:
    """One row per teacher, student and method. Raises HealError for a missing file."""
    times = OutputTimes(run.folder)
    rows = []
    for teacher in run.teachers:
        for student in run.students:
            for name, method in methods.items():
                rows.append(build_cost_row(run, times, teacher, student, name, method, read_price))
    return rows


def build_cost_row(
    run: Run, times: OutputTimes, teacher: str, student: str, name: str, method: Method, read_price: float
) -> CostRow:
    """One method's row. Raises HealError for a missing file."""
    teaching, training, evaluation = Seconds(), Seconds(), Seconds()
    for teacher_seed in range(run.teacher_seeds):
        curriculum = run.get_curriculum_folder(teacher, teacher_seed, student, name) / "curriculum.jsonl"
        teaching += times.add_up([*list_trace_outputs(run, teacher, teacher_seed, student, method), curriculum])
    for teacher_seed, seed in run.list_seeds():
        training += times.add_up([run.get_student_folder(teacher, teacher_seed, student, name, seed)])
        answers = run.get_student_evals(teacher, teacher_seed, student, name, seed)
        evaluation += times.add_up([answers / "evaluation"])
    n_students = len(run.list_seeds())
    teaching, training, evaluation = teaching / run.teacher_seeds, training / n_students, evaluation / n_students
    usage = run.read_teacher_usage(teacher, method)
    return CostRow(
        teacher=teacher,
        student=student,
        method=name,
        teacher_tokens_generated=round(usage.get("generated", 0) / run.teacher_seeds),
        teacher_tokens_prefilled=round(usage.get("prefill", 0) / run.teacher_seeds),
        teacher_tokens_scored=round(usage.get("scored", 0) / run.teacher_seeds),
        teacher_cost=round(price_usage(usage, read_price) / run.teacher_seeds),
        training_tokens=round(run.compute_training_tokens(teacher, student, name)),
        teacher_seconds=teaching.seconds,
        teacher_gpu_seconds=teaching.gpu_seconds,
        training_seconds=training.seconds,
        training_gpu_seconds=training.gpu_seconds,
        evaluation_seconds=evaluation.seconds,
        evaluation_gpu_seconds=evaluation.gpu_seconds,
    )


def list_trace_outputs(run: Run, teacher: str, teacher_seed: int, student: str, method: Method) -> list[Path]:
    """The trace files that a method needs, and the shards they were joined from."""
    folder = run.get_traces_folder(teacher, teacher_seed)
    outputs: list[Path] = []
    for file in method.needs():
        path = folder / file.of(student=student).path
        if path in outputs:
            continue
        outputs.append(path)
        shards = folder / "shards" / path.relative_to(folder).with_suffix("")
        for provenance in sorted(shards.glob(f"*.parquet{SUFFIX}")):
            outputs.append(provenance.with_name(provenance.name.removesuffix(SUFFIX)))
    return outputs


def format_costs(rows: Sequence[CostRow], hardware: Sequence[Note]) -> str:
    """The costs as Markdown: a table per teacher and student. hardware: notes on what they were measured on."""
    columns = COLUMNS[3:]
    header = ["method"]
    for column in columns:
        header.append(column.replace("_", " ").replace("gpu seconds", "GPU-seconds"))
    tables: dict[str, list[list[str]]] = {}
    for row in rows:
        cells = [row.method]
        for column in columns:
            cells.append(format_count(getattr(row, column), " "))
        tables.setdefault(f"teacher {row.teacher}, student {row.student}", []).append(cells)
    text_tables = [TextTable(heading, header, cells) for heading, cells in tables.items()]
    return format_markdown("Costs", text_tables, [*(Note(Topic.COST, text) for text in NOTES), *hardware])
