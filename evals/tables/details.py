"""What stands beside a comparison's table: strata by the teacher's pass rate, pass@k and maj@k, ranks; the outcomes.

Reads answers.parquet of teacher, untrained student and every method, draw and seed, and results.json beside it.
Writes, named after --out: KIND_strata, KIND_at_k and KIND_ranks (csv, md), and KIND_outcomes.parquet, every verdict
behind these tables, from which evals.check_reference makes the numbers again. No times stand in them.

    python -m evals.tables.details --run results/mini --teachers default --students tiny --methods rs_matched heal \\
        --benchmarks mini_hard mini_hard_sampled --seeds 3 --reference-method rs_matched \\
        --out results/mini/tables/main.csv
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from evals import stats
from evals.results import TEACHER, UNTRAINED, Run, add_axes, run_of
from evals.tables.comparison import (
    FALSE_DISCOVERY_RATE,
    claim,
    display,
    interval_notes,
    is_mini,
    replicates,
    table,
    too_few_to_rank,
)
from evals.tables.render import csv_of, markdown_of, markdown_table, with_interval
from heal import records
from heal.command import command_parser
from heal.errors import exit_with_errors
from heal.provenance import recorded

AT_K = ["teacher", "student", "method", "benchmark", "measure", "k", "mean", "ci_low", "ci_high", "ci_covers"]
AT_K += ["n_seeds", "n_draws", "n_questions", "repeats"]
RANKS = ["teacher", "student", "method", "benchmark", "mean", "rank_best", "rank_worst", "why_not"]
MADE = "tables"  # the key of an outcomes file's metadata that says of which tables they are
MINI = "mini: a model organism: shows the machinery, not that the paper is right."


def sizes(repeats: int) -> list[int]:
    """The k that are shown: powers of two, and all repeats."""
    return sorted({2**i for i in range(repeats.bit_length())} | {repeats})


def per_question(run: Run, path: Path, benchmark: str, measure: str, k: int) -> NDArray[np.float64]:
    """pass@k or maj@k of each question, shape [Q]."""
    answers = run.answers(path, benchmark)
    repeats = answers.scores_QR.shape[1]
    if measure == "pass":
        return np.array([stats.estimate_pass_at_k(repeats, int(right), k) for right in answers.scores_QR.sum(axis=1)])
    pairs = zip(answers.votes_QR, answers.scores_QR, strict=True)
    return np.array([stats.estimate_majority_at_k(votes, scores_R, k) for votes, scores_R in pairs])


def models(run: Run, benchmark: str) -> Iterator[tuple[dict[str, str], list[list[Path]], bool]]:
    """(whose, answers files by draw and seed, whether trained) of every row of a benchmark."""
    for teacher in run.teachers:
        yield {"teacher": teacher, "student": "", "method": TEACHER}, [[run.teacher_path(teacher, benchmark)]], False
        for student in run.students:
            whose = {"teacher": teacher, "student": student}
            yield whose | {"method": UNTRAINED}, [[run.untrained_path(student, benchmark)]], False
            for name in run.methods:
                yield whose | {"method": name}, run.student_paths(teacher, student, name, benchmark), True


def at_k(run: Run) -> pd.DataFrame:
    """pass@k and maj@k of every model on every benchmark with repeats, columns as AT_K."""
    rows = []
    for benchmark in run.benchmarks:
        repeats = run.repeats(benchmark)
        for whose, paths, trained in models(run, benchmark) if repeats > 1 else ():
            for measure in ("pass", "maj"):
                for k in sizes(repeats):
                    found = [[per_question(run, path, benchmark, measure, k) for path in seeds] for seeds in paths]
                    draws, seeds, questions = np.shape(found)
                    shown = display(np.array(found))
                    rows.append(
                        whose
                        | {"benchmark": benchmark, "measure": measure, "k": k, "mean": shown.mean}
                        | {"ci_low": shown.low, "ci_high": shown.high, "ci_covers": shown.covers}
                        | {"n_seeds": seeds if trained else 0, "n_draws": draws if trained else 0}
                        | {"n_questions": questions, "repeats": repeats}
                    )
    return pd.DataFrame(rows, columns=AT_K)


def ranks(run: Run) -> pd.DataFrame:
    """Best and worst rank that the data allow each method, columns as RANKS; empty ranks where there are too few seeds.

    A method is behind another where their paired t says so, p adjusted over all pairs of the table.
    """
    places = [(t, s, b) for t in run.teachers for s in run.students for b in run.with_strata(t)]
    compared = {(place, pair): pair_test(run, place, pair) for place in places for pair in combinations(run.methods, 2)}
    adjusted = stats.compute_adjusted_p([test.p for test in compared.values()])
    certain = {
        key: test.diff for (key, test), p in zip(compared.items(), adjusted, strict=True) if p <= FALSE_DISCOVERY_RATE
    }
    few = too_few_to_rank(run)
    why_not = f"cannot say: {replicates(run)} are too few to rank" if few else ""
    rows = []
    for teacher, student, benchmark in places:
        for name in run.methods:
            here = {pair: diff for (place, pair), diff in certain.items() if place == (teacher, student, benchmark)}
            better = sum(diff < 0 if pair[0] == name else diff > 0 for pair, diff in here.items() if name in pair)
            worse = sum(diff > 0 if pair[0] == name else diff < 0 for pair, diff in here.items() if name in pair)
            mean = float(run.scores(teacher, student, name, benchmark).mean())
            allowed = (np.nan, np.nan) if few else (1 + better, len(run.methods) - worse)
            rows.append([teacher, student, name, benchmark, mean, *allowed, why_not])
    return pd.DataFrame(rows, columns=RANKS)


def pair_test(run: Run, place: tuple[str, str, str], pair: tuple[str, str]) -> stats.TTest:
    """p is NaN where the two were answered on different engines."""
    teacher, student, benchmark = place
    a, b = (claim(run.scores(teacher, student, name, benchmark)) for name in pair)
    test = stats.compute_paired_t(a, b)
    if run.mixed_engines(teacher, student, pair, benchmark):
        return stats.TTest(test.diff, np.nan, np.nan, np.nan, test.dof)
    return test


def numbers(run: Run, reference: str) -> dict[str, pd.DataFrame]:
    """Every table that rests on answers alone, by what follows KIND in its name; the comparison's without its costs."""
    return {
        "": table(run, reference),
        "_strata": table(run, reference, run.strata),
        "_at_k": at_k(run),
        "_ranks": ranks(run),
    }


def csv_text(suffix: str, frame: pd.DataFrame) -> str:
    """As the tables are stored."""
    return csv_of(frame, counts=("rank_best", "rank_worst") if suffix == "_ranks" else ())


def outcomes(run: Run, kind: str, reference: str) -> pa.Table:
    """Every verdict of the comparison's models, and in the metadata of which tables."""
    rows = [
        whose | {"engine": run.engine(path)} | row
        for benchmark in run.benchmarks
        for whose, path in run.cells(benchmark)
        for row in sorted(run.answers(path, benchmark).rows, key=lambda row: (row["problem_id"], row["repeat"]))
    ]
    axes = {name: list(getattr(run, name)) for name in ("teachers", "students", "methods", "benchmarks")}
    made = {"kind": kind, "reference": reference, "draws": run.draws, "seeds": run.seeds, "reading": run.reading}
    made_json = json.dumps(axes | made, sort_keys=True)
    return pa.Table.from_pylist(rows, schema=records.schema("outcomes")).replace_schema_metadata({MADE: made_json})


def at_k_markdown(frame: pd.DataFrame, notes: Sequence[str]) -> str:
    """A table per teacher, student and benchmark: a row per model, a column per measure."""
    parts = ["# pass@k and maj@k\n"]
    trained = frame[frame["student"] != ""]
    for teacher, student, benchmark in trained[["teacher", "student", "benchmark"]].drop_duplicates().to_numpy():
        here = frame[(frame["teacher"] == teacher) & (frame["benchmark"] == benchmark)]
        here = here[here["student"].isin(["", student])]
        measures = list(here[["measure", "k"]].drop_duplicates().itertuples(index=False, name=None))
        rows = []
        for method, cells in here.groupby("method", sort=False):
            shown = cells.set_index(["measure", "k"])[["mean", "ci_low", "ci_high"]]
            rows.append([str(method), *(with_interval(*shown.loc[measure]) for measure in measures)])
        header = ["method", *(f"{measure}@{k}" for measure, k in measures)]
        first = here.iloc[0]
        heading = f"{benchmark}: {first['n_questions']} questions, {first['repeats']} repeats"
        heading += f"; teacher {teacher}, student {student}"
        parts.append(f"**{heading}**\n\n{markdown_table(header, rows, lambda i: i == 0)}")
    if not len(frame):
        parts.append("No benchmark of this run has repeats.\n")
    return "\n".join([*parts, "".join(f"* {note}\n" for note in notes)])


def ranks_markdown(frame: pd.DataFrame, notes: Sequence[str]) -> str:
    parts = ["# Ranks\n"]
    for (teacher, student, benchmark), here in frame.groupby(["teacher", "student", "benchmark"], sort=False):
        rows = [
            [row.method, f"{row.mean:.3f}", row.why_not or f"{row.rank_best:.0f} to {row.rank_worst:.0f}"]
            for row in here.itertuples(index=False)
        ]
        told = markdown_table(["method", "mean", "rank"], rows, lambda i: i != 1)
        parts.append(f"**{benchmark}; teacher {teacher}, student {student}**\n\n{told}")
    return "\n".join([*parts, "".join(f"* {note}\n" for note in notes)])


def markdown(suffix: str, frame: pd.DataFrame, run: Run, reference: str, mini: bool) -> str:
    """A table to read, with what it rests on under it."""
    origin = [f"Run {run.folder.name}; {run.seeds} training seeds per method, {run.draws} teacher draw(s)."]
    last = [MINI] if mini else []
    if suffix == "_strata":
        said = [
            "Strata: questions by the teacher's pass rate over its own repeats of the benchmark: unsolved 0, rarely "
            "below 1/3, half 1/3 to 2/3, mostly above 2/3, always 1. A few repeats place a question roughly: the "
            "teacher's own row says how it was selected, not how good it is there. An empty stratum is left out.",
            *interval_notes(run, reference),
            too_few_to_rank(run),
        ]
        return markdown_of(frame, "Strata by the teacher's pass rate", [*origin, *filter(None, said), *last])
    draw = ", and for trained students the teacher draw" if run.draws > 1 else "; not the draw of the teacher"
    if suffix == "_at_k":
        said = [
            "pass@k: at least one of k answers is right; maj@k: the most frequent of k answers is right. Both are "
            "means over which k of the repeats are drawn (unbiased: Chen et al. 2021), maj@k over random ties too.",
            "An answer that cannot be read casts no vote, nor does a right one that the reading refuses for its form.",
            "95 % interval of a crossed bootstrap (for display); it covers training seeds, questions and answer "
            f"sampling, for teacher and untrained student the last two{draw}.",
        ]
        return at_k_markdown(frame, [*origin, *said, *last])
    said = [
        "rank: the best and the worst that the data allow. A method is behind another where the paired t over "
        f"{replicates(run)} says so, adjusted over all pairs of the table (Benjamini-Hochberg, 0.05); it covers "
        + ("the teacher draw and training seeds" if run.draws > 1 else "training seeds with this draw of the teacher")
        + ", on these questions.",
    ]
    return ranks_markdown(frame, [*origin, *said, *filter(None, [too_few_to_rank(run)]), *last])


def main() -> None:
    parser = command_parser(__doc__)
    add_axes(parser)
    parser.add_argument("--reference-method", required=True, help="the method that the others are compared with")
    parser.add_argument(
        "--out", required=True, help="the comparison's csv, KIND.csv; what is written is named after it"
    )
    arguments = parser.parse_args()
    run, out, reference = run_of(arguments), Path(arguments.out), arguments.reference_method
    with recorded(out.with_name(f"{out.stem}_outcomes.parquet"), "evals.tables.details", options=vars(arguments)):
        mini = is_mini(run.folder / "problems" / "train.parquet")
        made: dict[str, Any] = numbers(run, reference)
        del made[""]  # evals.tables.comparison writes it, with costs
        for suffix, frame in made.items():
            file = out.with_name(f"{out.stem}{suffix}.csv")
            records.write_text(file, csv_text(suffix, frame))
            records.write_text(file.with_suffix(".md"), markdown(suffix, frame, run, reference, mini))
        records.write_table(out.with_name(f"{out.stem}_outcomes.parquet"), outcomes(run, out.stem, reference))


if __name__ == "__main__":
    exit_with_errors(main)
