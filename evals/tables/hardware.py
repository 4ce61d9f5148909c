"""What the rows of a run's tables were made on, as notes: processors, GPUs, drivers; warnings where they are mixed.

Reads the provenance of traces, students and evaluations below results/<run>/; writes nothing. Outputs whose provenance
does not say what they were made on are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.results import Run, read_json
from evals.tables.notes import Note, Topic
from heal.hardware import format_hardware
from heal.provenance import SUFFIX

TRACES, TRAINING, EVALUATION = "teacher's traces", "training", "evaluation"
TEACHER_COMMANDS = {"sample base", "sample guided", "sample low-temperature", "sample extra", "repair", "score"}
ENDPOINT = "an endpoint (its hardware is unknown)"
CAUTION = (
    "Differences between these rows may come from it: hardware and software alone have moved benchmark scores by up to "
    "8 percentage points (arXiv 2504.07086)."
)


@dataclass
class Origins:
    """Hardware in words → the rows made on it, of one part of the work (traces, training or evaluation)."""

    rows: dict[str, set[str]] = field(default_factory=dict)

    def add(self, row: str, record: Mapping[str, Any]) -> None:
        """Adds what a provenance record says; nothing where it does not say it."""
        hardware = describe_hardware(record)
        if hardware:
            self.rows.setdefault(hardware, set()).add(row)

    def update(self, other: Origins) -> None:
        """Adds all rows of the other."""
        for hardware, rows in other.rows.items():
            self.rows.setdefault(hardware, set()).update(rows)

    @property
    def is_mixed(self) -> bool:
        return len(self.rows) > 1


def read_record(output: Path) -> dict[str, Any]:
    """The provenance of an output; {} where it has none."""
    file = Path(f"{output}{SUFFIX}")
    return read_json(file) if file.exists() else {}


def describe_hardware(record: Mapping[str, Any]) -> str:
    """What a command ran on, in words; "" where its provenance does not say it."""
    hardware = format_hardware(dict(record))
    model = record.get("options", {}).get("model")
    if hardware and isinstance(model, Mapping) and model.get("endpoint"):
        return ENDPOINT
    return hardware


def list_hardware_notes(run: Run) -> list[Note]:
    """What the rows were made on, and a warning for every student whose compared rows are mixed; [] where unknown."""
    traces = {teacher: collect_traces(list_trace_folders(run, teacher)) for teacher in run.teachers}
    parts = {TRACES: Origins(), TRAINING: Origins(), EVALUATION: Origins()}
    for origins in traces.values():
        parts[TRACES].update(origins)
    warnings = []
    for teacher in run.teachers:
        for student in run.students:
            for part, origins in collect_students(run, teacher, student).items():
                parts[part].update(origins)
                if origins.is_mixed:
                    warnings.append(warn(part, f"teacher {teacher}, student {student}", origins))
    add_other_evaluations(run, parts[EVALUATION])
    for teacher, origins in traces.items():
        if origins.is_mixed:
            warnings.append(warn(TRACES, f"teacher {teacher}", origins))
    return [*describe_parts(parts), *warnings]


def describe_run_hardware(run: Run) -> str:
    """What a run's traces, students and answers were made on, in words; "not recorded" where nothing says it."""
    origins = Origins()
    for teacher in run.teachers:
        origins.update(collect_traces(list_trace_folders(run, teacher)))
        for student in run.students:
            for part in collect_students(run, teacher, student).values():
                origins.update(part)
    add_other_evaluations(run, origins)
    return " | ".join(sorted(origins.rows)) or "not recorded"


def list_trace_notes(folder: Path, teacher: str) -> list[Note]:
    """The same for a table on one teacher's traces alone. folder: of one teacher sampling seed."""
    origins = collect_traces([folder])
    warnings = [warn(TRACES, f"teacher {teacher}", origins)] if origins.is_mixed else []
    return [*describe_parts({TRACES: origins}), *warnings]


def describe_parts(parts: Mapping[str, Origins]) -> list[Note]:
    """One sentence: the hardware of every part; parts on the same hardware together."""
    by_hardware: dict[tuple[str, ...], list[str]] = {}
    for part, origins in parts.items():
        if origins.rows:
            by_hardware.setdefault(tuple(sorted(origins.rows)), []).append(part)
    if not by_hardware:
        return []
    phrases = [f"{join(names)} on {' | '.join(hardware)}" for hardware, names in by_hardware.items()]
    return [Note(Topic.HARDWARE, f"Hardware: {'; '.join(phrases)}.")]


def warn(part: str, whose: str, origins: Origins) -> Note:
    """The warning about one mixed part. whose: teacher and student, in words."""
    places = [f"{', '.join(sorted(rows))} on {hardware}" for hardware, rows in sorted(origins.rows.items())]
    return Note(Topic.MIXED_HARDWARE, f"Hardware is mixed in {part} of {whose}: {'; '.join(places)}. {CAUTION}")


def join(names: Iterable[str]) -> str:
    """training and evaluation; teacher's traces, training and evaluation."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def list_trace_folders(run: Run, teacher: str) -> list[Path]:
    """The folders with a teacher's traces, by teacher sampling seed."""
    return [run.get_traces_folder(teacher, teacher_seed) for teacher_seed in range(run.teacher_seeds)]


def collect_traces(folders: Iterable[Path]) -> Origins:
    """Where a teacher's traces were sampled and scored; rows are commands."""
    origins = Origins()
    for folder in folders:
        for file in sorted(folder.rglob(f"*.parquet{SUFFIX}")):
            record = read_json(file)
            if record.get("command") in TEACHER_COMMANDS:
                origins.add(record["command"], record)
    return origins


def collect_students(run: Run, teacher: str, student: str) -> dict[str, Origins]:
    """Where a student was trained, and where it answered once trained; rows are methods."""
    trained, answered = Origins(), Origins()
    for method in run.methods:
        for teacher_seed, seed in run.list_seeds():
            place = (teacher, teacher_seed, student, method, seed)
            trained.add(method, read_record(run.get_student_folder(*place)))
            answered.add(method, read_record(run.get_student_evals(*place) / "evaluation"))
    return {TRAINING: trained, EVALUATION: answered}


def add_other_evaluations(run: Run, origins: Origins) -> None:
    """Adds where teachers and untrained students answered."""
    for benchmark in run.benchmarks[:1]:  # one job answers all benchmarks
        for teacher in run.teachers:
            answers = run.get_teacher_path(teacher, benchmark)
            origins.add("teacher", read_record(answers.parent.parent / "evaluation"))
        for student in run.students:
            answers = run.get_untrained_path(student, benchmark)
            origins.add("untrained", read_record(answers.parent.parent / "evaluation"))
