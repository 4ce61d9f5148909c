"""Mini puzzles whose traces have an error at a known step, and repairs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from evals.audits.checker_truth import Truth
from evals.audits.estimates import Quantities
from heal import cli, records
from heal.records import Row
from heal.worlds.mini import puzzles
from tests.support.run_factory import make_problem, make_repair, make_score, make_trace, make_wrong_steps

ERROR = 3  # the first wrong step of every wrong trace, from 1
N = 24
PUZZLES = puzzles.generate("train", N, seed=1)
PROBLEMS = [make_problem(puzzle) for puzzle in PUZZLES]
TRUTH = Truth(PROBLEMS)
USAGE = {"prefill": 500, "generated": 2000, "scored": 0}


def make_entropies(steps: int, peak: int, rng: np.random.Generator) -> list[float]:
    """Step entropies around 0.3 nats, 2 nats at the peak step (from 1)."""
    values = rng.uniform(0.25, 0.35, steps)
    values[peak - 1] = 2.0
    return values.tolist()


RNG = np.random.default_rng(0)
SAMPLES = [
    make_trace(row, 0, steps := make_wrong_steps(puzzle, ERROR), make_entropies(len(steps), ERROR, RNG))
    for row, puzzle in zip(PROBLEMS, PUZZLES, strict=True)
]
BY_ID = {row["trace_id"]: row for row in SAMPLES}


def make_jump(puzzle: puzzles.Puzzle, kept_steps: list[str]) -> list[str]:
    """Kept steps, then the answer out of nowhere: verifies, but is not valid."""
    return [*kept_steps, f"The start must be {puzzle.answer}.", puzzles.format_answer(puzzle.answer)]


def make_repairs(kept_steps: int, how: str) -> list[Row]:
    """One accepted repair per problem, cut after `kept` steps; how: valid | jump | alternate."""
    rows = []
    for number, (puzzle, source) in enumerate(zip(PUZZLES, SAMPLES, strict=True)):
        before = make_wrong_steps(puzzle, ERROR)[:kept_steps]
        right = before + puzzles.build_worked_steps(puzzle)[kept_steps:]
        mended = how == "valid" or (how == "alternate" and number % 2)
        rows.append(make_repair(source, kept_steps, right if mended else make_jump(puzzle, before)))
    return rows


def get_value(quantities: Quantities, name: str) -> float:
    return quantities[name].interval.mean


def make_scores(rows: list[Row], jumps: float, insights: float) -> list[Row]:
    return [make_score(row, insights if TRUTH.is_valid(row) else jumps) for row in rows]


def make_guided(rows: list[Row]) -> list[Row]:
    keep = ("problem_id", "index", "text", "token_ids", "finish_reason", "extracted", "accepted", "reason")
    own = {"logprobs": [-0.1], "entropies": [0.2]}
    return [{key: row[key] for key in keep} | own | {"trace_id": f"guided {row['trace_id']}"} for row in rows]


def write_traces(folder: Path, start: str, jumps: float, peak: int, order: int = 1) -> Path:
    """A run's traces: valid and jumping mid-trace repairs, guided samples as `start` says, entropy peaks at `peak`."""
    traces, rng = folder / "traces/t/teacher_seed0", np.random.default_rng(5)
    records.write(folder / "problems/train.parquet", "problems", PROBLEMS)
    samples = [row | {"entropies": make_entropies(len(row["entropies"]), peak, rng)} for row in SAMPLES]
    rows = make_repairs(2, "alternate")
    rows += [row | {"trace_id": row["trace_id"] + "2"} for row in make_repairs(2, "valid")]
    mine = {row["trace_id"]: np.array(row["entropies"]) for row in samples}
    rows = [
        row | {"step_entropies": mine[row["source_id"]], "surges": np.diff(mine[row["source_id"]], prepend=0.3)}
        for row in rows
    ]
    records.write(traces / "samples.parquet", "samples", samples[::order], usage=USAGE)
    records.write(traces / "guided.parquet", "guided", make_guided(make_repairs(0, start))[::order], usage=USAGE)
    records.write(traces / "repairs/main.parquet", "repairs", rows[::order], usage=USAGE)
    records.write(traces / "repairs/late.parquet", "repairs", make_repairs(4, "valid")[::order], usage=USAGE)
    records.write(traces / "scores/main.parquet", "scores", make_scores(rows, jumps, 0.5)[::order], usage=USAGE)
    return folder


def run_audits(run: Path) -> dict[str, str]:
    out = run / "tables/audits_t.csv"
    variants = ["--variants", "main", "--variants", "late"]
    cli.main(["audit", "--run-folder", str(run), *variants, "--teacher", "t", "--out", str(out)])
    flags = pd.read_csv(run / "tables/premises_t.csv")
    return dict(zip(flags["premise"], flags["holds"], strict=True))
