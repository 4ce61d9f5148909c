"""Choose the training settings of the mini students on the dev split.

The rule (docs/method.md: anything tuned is tuned on rejection sampling, once): among the settings at which the oracle's
worked solutions teach at least 80 % of the hard dev puzzles, the one at which rejection sampling answers most dev
puzzles. The first half is the mini world's own need. Greedy answers; no test question is used, no HEAL student trained.
Reads the run's problems and curricula; writes one row per setting, method and seed.

    snakemake --cores all results/mini/problems/dev.parquet \\
        results/mini/curricula/default/teacher_seed0/tiny/{rejection_sampling,oracle}/curriculum.jsonl
    python benchmarks/tune_students.py --out results/reference/mini/tuning.csv
    python benchmarks/tune_students.py --out results/reference/mini/tuning.csv --seeds 0 1 2 \\
        --settings 8,600,0.00125,0.95 8,600,0.0015,0.95 8,600,0.002,0.95

Rows that the file already has are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from evals.run import evaluate
from heal import records
from heal.config.experiment import Engine
from heal.config.models import ModelSource, Train
from heal.records import Row
from heal.run_layout import CURRICULUM
from heal.training.train import train

RUN = Path("results/mini")
BASE = "heal/worlds/mini/models/student"
METHODS = ("rejection_sampling", "oracle")
EXPOSURES = 4800
LEARNING_RATES = {8: (0.00125, 0.0015, 0.002), 16: (0.002, 0.003)}
"""Batch size → learning rates of the default grid."""
DECAY_RATIOS = (0.1, 0.5, 0.95)


@dataclass(frozen=True)
class Trial:
    """One student to train; the key of a row."""

    batch_size: int
    max_steps: int
    learning_rate: float
    decay_ratio: float
    method: str
    seed: int


def list_default_settings() -> list[str]:
    """batch size, optimizer steps, learning rate and decay ratio of the default grid, as --settings takes them."""
    settings = []
    for batch_size, rates in LEARNING_RATES.items():
        for rate in rates:
            settings += [f"{batch_size},{EXPOSURES // batch_size},{rate},{ratio}" for ratio in DECAY_RATIOS]
    return settings


def list_trials(settings: Sequence[str], seeds: Sequence[int]) -> list[Trial]:
    """Every setting with every method and training seed."""
    trials = []
    for setting in settings:
        batch_size, max_steps, rate, ratio = setting.split(",")
        for method in METHODS:
            for seed in seeds:
                trials.append(Trial(int(batch_size), int(max_steps), float(rate), float(ratio), method, seed))
    return trials


def measure(trial: Trial) -> Row:
    """Trains one student: shares of correct greedy answers to easy, hard and all dev puzzles, and training seconds."""
    options = Train(
        max_steps=trial.max_steps,
        batch_size=trial.batch_size,
        learning_rate=trial.learning_rate,
        decay_ratio=trial.decay_ratio,
        max_length=256,
    )
    names = {"teacher": "default", "teacher_seed": 0, "student": "tiny", "method": trial.method}
    curriculum = RUN / CURRICULUM.format(**names) / "curriculum.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "student"
        began = time.monotonic()
        train(curriculum, ModelSource(path=BASE), options, "mixed", trial.seed, out)
        seconds = time.monotonic() - began
        model, engine = ModelSource(path=str(out / "model")), Engine(max_num_seqs=128)
        answers = evaluate(model, str(RUN / "problems"), ["mini_dev"], engine, 0)["mini_dev"].answers
    correct: dict[str, list[bool]] = {"easy": [], "hard": []}
    difficulty = {}
    for problem in records.read(RUN / "problems/dev.parquet", "problems"):
        difficulty[problem["problem_id"]] = problem["difficulty"]
    for answer in answers:
        correct[difficulty[answer["problem_id"]]].append(answer["strict"])
    correct["all"] = correct["easy"] + correct["hard"]
    shares = {name: round(statistics.mean(verdicts), 4) for name, verdicts in correct.items()}
    return asdict(trial) | shares | {"train_s": round(seconds, 1)}


def read_rows(path: Path) -> list[Row]:
    """Rows that are already measured, as text."""
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[-1], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the csv; its settings are not measured again")
    parser.add_argument("--settings", nargs="+", help="batch size,optimizer steps,learning rate,decay ratio")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="training seeds")
    parser.add_argument("--jobs", type=int, default=2, help="students trained at once")
    arguments = parser.parse_args()
    rows = read_rows(arguments.out)
    measured = {tuple(row[field.name] for field in fields(Trial)) for row in rows}
    trials = []
    for trial in list_trials(arguments.settings or list_default_settings(), arguments.seeds):
        if tuple(map(str, astuple(trial))) not in measured:
            trials.append(trial)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for number, row in enumerate(pool.imap(measure, trials), 1):
            rows.append(row)
            print(f"{number}/{len(trials)}", *row.values(), flush=True)
            write_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
