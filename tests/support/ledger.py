"""A ledger with one output of each part of a run."""

from __future__ import annotations

import pandas as pd

WORK = {
    "traces/t/teacher_seed0/shards/samples/0.parquet": "sample base",
    "traces/t/teacher_seed0/samples.parquet": "merge",
    "traces/t/teacher_seed0/shards/repairs/default/0.parquet": "repair",
    "traces/t/teacher_seed0/extra/uniform/default.grades.parquet": "grade",
    "traces/t/teacher_seed0/shards/students/s/ranks/0.parquet": "student-pass ranks",
    "students/t/teacher_seed0/s/heal/seed0": "train",
    "evals/t/teacher/evaluation": "evaluate",
}
"""Output → command that made it, of the parts that do work."""

DESCRIPTIONS = {
    "students/t/teacher_seed0/s/heal/seed0/README.md": "model-card",
    "tables/main.csv": "tabulate-comparison",
    "figures/roc.svg": "plot-roc",
}
"""The same for what describes results."""


def make_ledger(gpus: float) -> pd.DataFrame:
    """WORK, then DESCRIPTIONS; the i-th output took 10·i seconds on this many GPUs."""
    rows = []
    for number, (output, command) in enumerate((WORK | DESCRIPTIONS).items(), 1):
        rows.append([command, output, 10.0 * number, gpus * 10 * number])
    return pd.DataFrame(rows, columns=["command", "output", "seconds", "gpu_seconds"])
