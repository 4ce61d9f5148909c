"""Which training settings the mini students get: chosen on the dev split, with rejection sampling.

The rule (docs/method.md: anything tuned is tuned on rejection sampling, once; the first half is the mini world's own
need): among the settings at which the oracle's worked solutions teach at least 80 % of the hard dev puzzles, the one at
which rejection sampling answers most dev puzzles. Greedy answers; no test question is looked at, no HEAL student
trained. Reads the run's problems and curricula; writes one row per setting, method and seed.

    snakemake --cores all results/mini/problems/dev.parquet \\
        results/mini/curricula/default/draw0/tiny/{rejection_sampling,oracle}/curriculum.jsonl
    python benchmarks/tune_students.py --out results/reference/mini/tuning.csv
    python benchmarks/tune_students.py --out results/reference/mini/tuning.csv --seeds 0 1 2 \\
        --settings 8,600,0.001 8,600,0.00125 8,600,0.0015

Rows that the file already has are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

from evals.run import evaluate
from heal import records
from heal.config.experiment import Engine, Model, Train
from heal.training.train import train

RUN = Path("results/mini")
BASE = "heal/worlds/mini/models/student"
KEYS = ("batch", "steps", "learning_rate", "method", "seed")
METHODS = ("rejection_sampling", "oracle")
GRID = [
    f"{batch},{exposures // batch},{rate}"
    for exposures in (3200, 4800)
    for batch, rates in {
        8: (0.001, 0.0015, 0.002, 0.003),
        16: (0.0015, 0.002, 0.003),
        32: (0.002, 0.003, 0.005),
    }.items()
    for rate in rates
]


def measure(task: tuple[int, int, float, str, int]) -> dict[str, object]:
    """One student: shares of right greedy answers on easy, hard and all dev puzzles, and seconds of training."""
    batch, steps, rate, method, seed = task
    options = Train(steps=steps, batch=batch, learning_rate=rate, max_length=256, save_steps=steps)
    curriculum = RUN / f"curricula/default/draw0/tiny/{method}/curriculum.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        train(curriculum, BASE, options, "mixed", seed, Path(folder) / "student")
        seconds = time.monotonic() - began
        model = str(Path(folder) / "student/model")
        engine = Engine(rows=128)
        answers, _ = evaluate(Model(path=model), str(RUN / "problems"), ["mini_dev"], engine, 0)["mini_dev"]
    difficulty = {
        row["problem_id"]: row["difficulty"] for row in records.read(RUN / "problems/dev.parquet", "problems")
    }

    def share(*kinds: str) -> float:
        return round(statistics.mean(row["strict"] for row in answers if difficulty[row["problem_id"]] in kinds), 4)

    found = {"easy": share("easy"), "hard": share("hard"), "all": share("easy", "hard"), "train_s": round(seconds, 1)}
    return {"batch": batch, "steps": steps, "learning_rate": rate, "method": method, "seed": seed, **found}


def measured(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the csv; settings that it has are not measured again")
    parser.add_argument("--settings", nargs="+", default=GRID, help="batch,steps,learning rate")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="training seeds")
    parser.add_argument("--jobs", type=int, default=2, help="students trained at once")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = [*measured(arguments.out)]
    known = {tuple(str(row[key]) for key in KEYS) for row in rows}
    tasks = [
        (int(batch), int(steps), float(rate), method, seed)
        for batch, steps, rate in (setting.split(",") for setting in arguments.settings)
        for method in METHODS
        for seed in arguments.seeds
    ]
    tasks = [task for task in tasks if tuple(map(str, task)) not in known]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for number, row in enumerate(pool.imap(measure, tasks), 1):
            rows.append(row)
            print(f"{number}/{len(tasks)}", *row.values(), flush=True)
            with arguments.out.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, row, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
