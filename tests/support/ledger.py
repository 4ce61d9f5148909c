"""A ledger with one output of each part of a run."""

from __future__ import annotations

import pandas as pd


def make_ledger(gpus: float) -> pd.DataFrame:
    outputs = {
        "traces/t/draw0/shards/samples/0.parquet": "heal.pipeline.sample",
        "traces/t/draw0/samples.parquet": "heal.pipeline.merge",
        "traces/t/draw0/shards/repairs/v/0.parquet": "heal.pipeline.repair",
        "traces/t/draw0/extra/uniform.grades.parquet": "heal.pipeline.grade",
        "traces/t/draw0/shards/students/s/ranks/0.parquet": "heal.pipeline.student_pass",
        "students/t/draw0/s/heal/seed0": "heal.training.train",
        "evals/t/teacher/evaluation": "evals.run",
        "students/t/draw0/s/heal/seed0/README.md": "evals.report.model_card",
        "tables/main.csv": "evals.tables.comparison",
        "figures/roc.svg": "evals.figures.study",
    }
    rows = [[stage, output, 10.0 * (i + 1), gpus * 10 * (i + 1)] for i, (output, stage) in enumerate(outputs.items())]
    return pd.DataFrame(rows, columns=["stage", "output", "seconds", "gpu_seconds"])
