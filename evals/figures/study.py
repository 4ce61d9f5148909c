"""The figures of a study: accuracy against teacher tokens, cuts by detector, PURE's ROC beside its rivals', and doses.

Reads a comparison's table and exposures, every student's training.json, the audits, repairs and scores of a run; writes
--out (svg), the same as png, and the numbers behind it as csv. Nothing is estimated a second time: means, intervals and
tokens are the table's, and what the cuts are worth is the audits'.

    python -m evals.figures.study cost --table tables/ablations.csv --more-samples rejection_sampling rs_matched \\
        --out figures/ablations/cost.svg
    python -m evals.figures.study cuts --teachers default confident --audits audits_default.csv audits_confident.csv \\
        --methods-json '{"entropy_surge-bcb6cdc7": "heal"}' --out figures/ablations/cuts.svg
    python -m evals.figures.study roc --run results/mini --teachers default --variant entropy_surge-bcb6cdc7 \\
        --out figures/ablations/roc.svg
    python -m evals.figures.study doses --run results/mini --teachers default --students tiny --methods heal \\
        --seeds 3 --table tables/ablations.csv --exposures tables/ablations_exposures.csv \\
        --out figures/ablations/doses.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from evals.audits.checker_truth import Truth
from evals.audits.combine_teacher_seeds import read_audits
from evals.figures import style
from evals.figures.mechanism import cuts_figure, cuts_numbers, roc_figure, roc_numbers
from evals.figures.outcomes import cost_figure, cost_numbers, dose_figure, dose_numbers
from evals.figures.style import plt
from evals.results import add_axes, run_of
from heal import records
from heal.command import command_parser
from heal.config.experiment import Pure
from heal.errors import HealError, exit_with_errors
from heal.pipeline.runner import read_options
from heal.provenance import recorded

SUMMARIES = {"cost": "accuracy against teacher tokens", "cuts": "what each detector's cuts are worth"}
SUMMARIES |= {"roc": "PURE's ROC beside its rivals'", "doses": "accuracy against doses"}


def make_cuts(given: argparse.Namespace) -> tuple[plt.Figure, pd.DataFrame]:
    """Raises HealError where teachers and audits do not pair up."""
    if len(given.teachers) != len(given.audits):
        found = f"{len(given.teachers)} teachers, {len(given.audits)} files"
        raise HealError(found, where="--audits", fix="give one audits csv per teacher, in the same order")
    audits = {teacher: read_audits(Path(path)) for teacher, path in zip(given.teachers, given.audits, strict=True)}
    try:
        methods = json.loads(given.methods_json)
    except json.JSONDecodeError as error:
        raise HealError(f"not valid JSON ({error.msg})", where="--methods-json", fix="give variant → method") from None
    numbers = cuts_numbers(audits, methods)
    return cuts_figure(numbers), numbers


def make_roc(given: argparse.Namespace) -> tuple[plt.Figure, pd.DataFrame]:
    run, options = Path(given.run), read_options(Pure, given.pure, "--pure")
    problems = records.read(run / "problems" / "train.parquet", "problems")
    truth, gold = Truth(problems), {row["problem_id"]: row["answer"] for row in problems}
    parts = []
    for teacher in given.teachers:
        draws = []
        for draw in range(given.draws):
            traces, file = run / "traces" / teacher / f"draw{draw}", f"{given.variant}.parquet"
            repairs = records.read(traces / "repairs" / file, "repairs")
            draws.append((records.read(traces / "scores" / file, "scores"), repairs))
        parts.append(roc_numbers(draws, truth, options, gold, given.seed).assign(teacher=teacher))
    numbers = pd.concat(parts)[["teacher", *parts[0].columns.drop("teacher")]]
    return roc_figure(numbers), numbers


def make(given: argparse.Namespace) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure that was asked for, with its numbers."""
    if given.figure == "cuts":
        return make_cuts(given)
    if given.figure == "roc":
        return make_roc(given)
    table = pd.read_csv(given.table, dtype={"student": str}, keep_default_na=False, na_values=[""])
    if given.figure == "cost":
        numbers = cost_numbers(table)
        return cost_figure(numbers, given.more_samples), numbers
    numbers = dose_numbers(run_of(given), table, pd.read_csv(given.exposures))
    return dose_figure(numbers), numbers


def main() -> None:
    parser = command_parser(__doc__)
    figures = parser.add_subparsers(dest="figure", required=True)
    one = {name: figures.add_parser(name, help=summary, description=summary) for name, summary in SUMMARIES.items()}
    for name in ("cost", "doses"):
        one[name].add_argument("--table", required=True, help="the comparison's csv")
    one["cost"].add_argument(
        "--more-samples", nargs="*", default=[], help="methods that differ in the number of samples only: joined"
    )
    add_axes(one["doses"], benchmarks=False)
    one["doses"].add_argument("--exposures", required=True, help="the comparison's exposures csv")
    one["cuts"].add_argument("--audits", nargs="+", required=True, help="audits csv of each teacher")
    one["cuts"].add_argument("--methods-json", default="{}", help="GEAR variant → the method that uses it, as JSON")
    one["roc"].add_argument("--run", required=True, help="results/<run>")
    one["roc"].add_argument("--draws", type=int, default=1, help="samplings of each teacher")
    one["roc"].add_argument("--variant", required=True, help="GEAR variant whose repairs are judged")
    one["roc"].add_argument("--pure", default="{}", help="PURE's options as JSON")
    one["roc"].add_argument("--seed", type=int, default=0, help="the run's seed")
    for name in ("cuts", "roc"):
        one[name].add_argument("--teachers", nargs="+", required=True, help="their names in the config")
    for each in one.values():
        each.add_argument("--out", required=True, help="the svg; png and csv are written beside it")
    given = parser.parse_args()
    with recorded(given.out, "evals.figures.study", options=vars(given)), plt.rc_context(style.STYLE):
        figure, numbers = make(given)
        style.save(figure, given.out, numbers)


if __name__ == "__main__":
    exit_with_errors(main)
