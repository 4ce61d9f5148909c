"""What every method of a comparison took: tokens of teacher and student, seconds and GPU-seconds, from the ledger.

Reads the trace files' token counts, training.json and the provenance beside every output. Writes --out (csv) and the
same as md. Seconds differ between two runs, so unlike the other tables these do not have equal bytes.

    python -m evals.tables.costs --run results/mini --teachers default --students tiny --methods rs_matched heal \\
        --benchmarks mini_hard --seeds 3 --methods-json '{"heal": {"kind": "heal"}, …}' --out tables/main_costs.csv

A method's teacher cost is that of every file it needs, as a mean over draws: what two methods share, as base samples,
stands in both. Training and evaluation are means per student.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evals.results import Run, add_axes, methods_of, run_of, tokens_of
from evals.tables.render import csv_of, markdown_table, whole
from heal import records
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.method.base import Method
from heal.provenance import SUFFIX, ledger, recorded
from heal.trace_files import files

KINDS = {"generated": "generated", "prefill": "prefilled", "scored": "scored"}  # of a trace file's usage → column
PARTS = ("teacher", "training", "evaluation")
COLUMNS = ["teacher", "student", "method", *(f"teacher_tokens_{name}" for name in KINDS.values()), "training_tokens"]
COLUMNS += [f"{part}_{unit}" for part in PARTS for unit in ("seconds", "gpu_seconds")]
NOTES = (
    "Teacher: of every file the method needs, rejected repairs, hints and scoring included, mean per draw. What "
    "methods share, as base samples, stands in each. Training and evaluation: mean per student.",
    "Seconds: of all jobs, one after the other, and of the attempt that finished: a job that was killed counts from "
    "where it went on, its tokens whole. Grading, joining shards and the curriculum are in the teacher's seconds.",
    "A method that asks the untrained student first has that in the teacher's seconds too, its tokens in no column.",
    "GPU-seconds: seconds times the GPUs that the job held; 0 on the CPU, and for a model that is served elsewhere.",
)


class Ledger:
    """Seconds and GPU-seconds by output of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, rows = folder, ledger(folder).to_dict("records")
        self.seconds = {row["output"]: (row["seconds"], row["gpu_seconds"]) for row in rows}

    def of(self, outputs: Iterable[Path]) -> tuple[float, float]:
        """Sums over outputs. Raises HealError for one that has no provenance beside it."""
        found = []
        for output in outputs:
            name = str(output.relative_to(self.folder))
            if name not in self.seconds:
                fix = "delete the output and run snakemake again"
                raise HealError("no such file", where=f"{output}{SUFFIX}", fix=fix)
            found.append(self.seconds[name])
        return sum(one for one, _ in found), sum(gpu for _, gpu in found)


def with_shards(file: Path, traces: Path) -> list[Path]:
    """A trace file and the shards it was joined from, as far as there are any."""
    shards = traces / "shards" / file.relative_to(traces).with_suffix("")
    return [
        file,
        *(path.with_name(path.name.removesuffix(SUFFIX)) for path in sorted(shards.glob(f"*.parquet{SUFFIX}"))),
    ]


def mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(one for one, _ in pairs) / len(pairs), sum(gpu for _, gpu in pairs) / len(pairs)


def row_of(run: Run, spent: Ledger, teacher: str, student: str, name: str, method: Method) -> dict[str, Any]:
    """One method's row. Raises HealError for a missing file."""
    teaching, training, evaluation, usages = [], [], [], []
    for draw in range(run.draws):
        traces = run.folder / "traces" / teacher / f"draw{draw}"
        usages += [tokens_of(traces / file) for file in files.of_teacher(method.needs())]
        made = [traces / file.format(student=student) for file in sorted(set(method.needs()))]
        curriculum = run.student_folder("curricula", teacher, draw, student, name) / "curriculum.jsonl"
        teaching.append(spent.of([*(path for file in made for path in with_shards(file, traces)), curriculum]))
        for seed in range(run.seeds):
            training.append(spent.of([run.student_folder("students", teacher, draw, student, name) / f"seed{seed}"]))
            answered = run.student_folder("evals", teacher, draw, student, name) / f"seed{seed}" / "evaluation"
            evaluation.append(spent.of([answered]))
    used = records.add_usage(usages)
    seconds = {
        f"{part}_{unit}": value
        for part, pairs in zip(PARTS, (teaching, training, evaluation), strict=True)
        for unit, value in zip(("seconds", "gpu_seconds"), mean(pairs), strict=True)
    }
    tokens = {f"teacher_tokens_{column}": round(used.get(kind, 0) / run.draws) for kind, column in KINDS.items()}
    whose = {"teacher": teacher, "student": student, "method": name}
    return whose | tokens | {"training_tokens": run.training_tokens(teacher, student, name)} | seconds


def table(run: Run, methods: Mapping[str, Method]) -> pd.DataFrame:
    """One row per teacher, student and method, columns as COLUMNS."""
    spent = Ledger(run.folder)
    rows = [row_of(run, spent, t, s, *method) for t in run.teachers for s in run.students for method in methods.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(frame: pd.DataFrame) -> str:
    parts = ["# Costs\n"]
    shown = COLUMNS[2:]
    for (teacher, student), here in frame.groupby(["teacher", "student"], sort=False):
        rows = [[row["method"], *(whole(row[column], " ") for column in shown[1:])] for row in here.to_dict("records")]
        header = [column.replace("_", " ").replace("gpu seconds", "GPU-seconds") for column in shown]
        parts.append(f"**teacher {teacher}, student {student}**\n\n{markdown_table(header, rows, lambda i: i == 0)}")
    return "\n".join([*parts, "".join(f"* {note}\n" for note in NOTES)])


def main() -> None:
    parser = command_parser(__doc__)
    add_axes(parser)
    parser.add_argument("--methods-json", required=True, help="name → kind and complete options, as JSON")
    parser.add_argument("--out", required=True, help="the csv; the md is written beside it")
    arguments = parser.parse_args()
    run, out = run_of(arguments), Path(arguments.out)
    with recorded(out, "evals.tables.costs", options=vars(arguments)):
        frame = table(run, methods_of(arguments.methods_json, arguments.methods))
        records.write_text(out, csv_of(frame))
        records.write_text(out.with_suffix(".md"), markdown(frame))


if __name__ == "__main__":
    exit_with_errors(main)
