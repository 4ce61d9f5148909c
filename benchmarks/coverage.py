"""Measure coverage, false positives and power of the tables' intervals, on simulated tables with known truth.

benchmarks/simulated_tables.py says how answers are simulated. The intervals come from the tables' own functions
(evals.tables.contrasts, evals.pooled_model). The spread of training seeds is measured on committed answers
(`measure_seed_sd`); that of teacher seeds is assumed, as no committed run has several.
Writes --out (csv), one row per design, check and estimand, and the same name with .md to read. `nominal` is the
expected value of `share` (for false discoveries: an upper bound); it is empty where an interval is read as more than it
says. `cannot_say`: share of tables without an interval.

    python -m benchmarks.coverage --out results/reference/coverage.csv      # about 5 minutes of one core

Checks, of the contrast of the method under test and the reference:

* claim, claim of all methods: `diff_low` … `diff_high` of the primary contrast, of all methods on average.
* new questions: `new_low` … `new_high`.
* paired t: over the same replicates, its variance from these two methods alone (the usual procedure).
* t over seed pairs: takes all (teacher seed, training seed) pairs for independent. Never used.
* display: `ci_low` … `ci_high`, the crossed bootstrap of one method's mean.
* false positives, power: p below 0.05 where the two methods are equal, and where they differ by `difference`.
* false discoveries: mean share of wrong ones among a table's verdicts after Benjamini-Hochberg.

Array suffixes: M methods, N simulated tables, T teacher seeds, S training seeds, R replicates, Q questions.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from benchmarks.simulated_tables import (
    CHUNK,
    Design,
    Floats,
    compute_expected_score,
    compute_truths,
    measure_seed_sd,
    simulate_in_chunks,
    simulate_tables,
)
from evals import stats
from evals.pooled_model import Contrast, fit_pooled_model
from evals.tables.comparison_rows import FALSE_DISCOVERY_RATE, LEVEL
from evals.tables.contrasts import estimate_mean, get_replicates
from heal.errors import exit_with_errors
from heal.provenance import record_run
from heal.records import write_text
from tools.docs.markdown import build_table

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

N_BENCHMARKS = 4
"""Of a table in which p-values are adjusted."""
OUTCOMES = Path("results/reference/mini_baselines/tables/ablations_outcomes.parquet")
BENCHMARK = "mini_hard"
EFFECTS = (0.2, 0.4, 0.6, 0.8, 1.2)
"""True differences of the power curve, in logits."""


@dataclass(frozen=True)
class CheckRow:
    """What one check found for one design."""

    check: str
    estimand: str
    share: float
    nominal: float = math.nan
    cannot_say: float = math.nan
    half_width: float = math.nan
    """Mean half width of the intervals."""
    difference: float = math.nan
    """True difference in accuracy over all questions."""


SIZES = ["methods", "accuracies", "method_seed", "teacher_seeds", "training_seeds", "questions", "repeats"]
COLUMNS = ["check", "estimand", *SIZES]
COLUMNS += ["accuracy", "difference", "share", "nominal", "cannot_say", "tables", "half_width"]


def measure_coverage(design: Design, n_tables: int, rng: np.random.Generator, bootstraps: int) -> list[CheckRow]:
    """Share of tables whose interval contains the truth."""
    intervals: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for tables in simulate_in_chunks(design, n_tables, rng):
        truths = compute_truths(design, tables)
        for n in range(tables.scores_MNTSQ.shape[1]):
            scores_MTSQ = tables.scores_MNTSQ[:, n]
            contrasts = compare_all(scores_MTSQ)
            checked = {
                "claim": contrasts[0].compute_interval(),
                "new questions": contrasts[0].compute_interval_on_new_questions(),
                "paired t": compute_paired_interval(list(map(get_replicates, scores_MTSQ[:2]))),
            }
            if design.teacher_seeds > 1:
                checked["t over seed pairs"] = compute_paired_interval(scores_MTSQ[:2].reshape(2, -1, design.questions))
            if bootstraps:
                mean = estimate_mean(scores_MTSQ[1], resamples=bootstraps)
                checked["display"] = (mean.low, mean.high)
            for truth in truths:
                means_M = truth.means_MN[:, n]
                for check, (low, high) in checked.items():
                    true = means_M[1] if check == "display" else means_M[1] - means_M[0]
                    intervals.setdefault((check, truth.estimand), []).append((low, high, true))
                for contrast, mean_of_method in zip(contrasts, means_M[1:], strict=True):
                    bounds = (*contrast.compute_interval(), mean_of_method - means_M[0])
                    intervals.setdefault(("claim of all methods", truth.estimand), []).append(bounds)
    rows = []
    for (check, estimand), bounds_of_tables in intervals.items():
        nominal = get_nominal_share(design, check, estimand)
        rows.append(summarize_intervals(check, estimand, nominal, np.array(bounds_of_tables)))
    return rows


def compare_all(scores_MTSQ: Floats) -> list[Contrast]:
    """Every method minus the reference, with the tables' own pooled model."""
    model = fit_pooled_model(np.stack(list(map(get_replicates, scores_MTSQ))))
    return [model.compare(method, 0) for method in range(1, len(scores_MTSQ))]


def run_paired_t(scores_2RQ: ArrayLike) -> tuple[float, tuple[float, float]]:
    """(p, interval) of Student's paired t over replicates; NaN where they do not vary. The tables' former procedure."""
    reference_R, method_R = np.asarray(scores_2RQ).mean(axis=2)
    difference_R = method_R - reference_R
    if len(difference_R) < 2 or np.ptp(difference_R) <= stats.ROUNDING:
        return math.nan, (math.nan, math.nan)
    result = scipy_stats.ttest_1samp(difference_R, 0.0)
    interval = result.confidence_interval(LEVEL)
    return float(result.pvalue), (float(interval.low), float(interval.high))


def compute_paired_interval(scores_2RQ: ArrayLike) -> tuple[float, float]:
    return run_paired_t(scores_2RQ)[1]


def summarize_intervals(check: str, estimand: str, nominal: float, bounds: Floats) -> CheckRow:
    """bounds: low, high and truth of each table, shape [N, 3]."""
    low_N, high_N, truth_N = bounds.T
    known_N = ~np.isnan(low_N)
    inside_N = (low_N <= truth_N) & (truth_N <= high_N)
    return CheckRow(
        check=check,
        estimand=estimand,
        share=inside_N[known_N].mean() if known_N.any() else math.nan,
        nominal=nominal,
        cannot_say=1 - known_N.mean(),
        half_width=(high_N - low_N)[known_N].mean() / 2,
    )


def get_nominal_share(design: Design, check: str, estimand: str) -> float:
    """0.95 where an interval says that it covers the estimand; NaN where that is more, or less, than it says."""
    teacher_seeds = "this teacher seed" if design.teacher_seeds == 1 else "all teacher seeds"
    questions = "all questions" if check in ("new questions", "display") else "these questions"
    is_claimed = check != "t over seed pairs" and estimand == f"{questions}, {teacher_seeds}"
    return LEVEL if is_claimed else math.nan


def measure_power(design: Design, n_tables: int, rng: np.random.Generator) -> list[CheckRow]:
    """How often p is below 0.05, of the tables' procedure and of the paired t; with equal methods: false positives."""
    p_values: dict[str, list[float]] = {"": [], ", paired t": []}
    for tables in simulate_in_chunks(design, n_tables, rng):
        for n in range(tables.scores_MNTSQ.shape[1]):
            replicates_MRQ = np.stack(list(map(get_replicates, tables.scores_MNTSQ[:, n])))
            p_values[""].append(fit_pooled_model(replicates_MRQ).compare(1, 0).p)
            p_values[", paired t"].append(run_paired_t(replicates_MRQ[:2])[0])
    sd = np.sqrt(design.replicate_sd**2 + design.teacher_seed_sd**2 + design.question_sd**2)
    reference, method = compute_expected_score(design.base_M[:2], sd)
    is_equal = design.effect == 0
    rows = []
    for suffix, values in p_values.items():
        p_N = np.array(values)
        row = CheckRow(
            check=("false positives" if is_equal else "power") + suffix,
            estimand="equal methods" if is_equal else "different methods",
            share=(p_N < 0.05).mean(),
            nominal=0.05 if is_equal else math.nan,
            cannot_say=np.isnan(p_N).mean(),
            difference=float(method - reference),
        )
        rows.append(row)
    return rows


def measure_false_discoveries(design: Design, n_tables: int, rng: np.random.Generator, n_real: int) -> CheckRow:
    """Tables on N_BENCHMARKS, of which `n_real` have differences; on the others all methods are equal."""
    shares = []
    for start in range(0, n_tables, CHUNK):
        count = min(CHUNK, n_tables - start)
        benchmarks = []
        for number in range(N_BENCHMARKS):
            is_real = number >= N_BENCHMARKS - n_real
            tables = simulate_tables(design if is_real else replace(design.equal, accuracies="equal"), count, rng)
            benchmarks.append((tables.scores_MNTSQ, is_real))
        for n in range(count):
            shares.append(compute_false_share(benchmarks, n))
    bound = FALSE_DISCOVERY_RATE * (N_BENCHMARKS - n_real) / N_BENCHMARKS
    return CheckRow(
        "false discoveries", f"{n_real} of {N_BENCHMARKS} benchmarks differ", np.mean(shares), nominal=bound
    )


def compute_false_share(benchmarks: Sequence[tuple[Floats, bool]], n: int) -> float:
    """Share of wrong ones among the verdicts of table n. benchmarks: scores_MNTSQ, and whether methods differ."""
    p_values: list[float] = []
    real: list[bool] = []
    for scores_MNTSQ, is_real in benchmarks:
        contrasts = compare_all(scores_MNTSQ[:, n])
        p_values += [contrast.p for contrast in contrasts]
        real += [is_real] * len(contrasts)
    discovered = stats.compute_adjusted_p(p_values) <= FALSE_DISCOVERY_RATE
    return (discovered & ~np.array(real)).sum() / max(discovered.sum(), 1)


def list_designs(seed_sd: float) -> list[Design]:
    """The sizes of this project's tables, and some around them; two with seeds that vary a quarter as much."""
    designs = []
    for teacher_seeds, training_seeds in ((1, 3), (1, 5), (2, 3), (3, 2), (3, 3), (3, 5)):
        designs.append(Design(6, teacher_seeds, training_seeds))
    for teacher_seeds in (1, 3):
        designs.append(Design(6, teacher_seeds, 3, accuracies="alike"))
    designs.append(Design(4, 1, 3))  # the main table alone
    designs.append(Design(4, 3, 3))
    designs.append(Design(14, 1, 3))  # with ablations
    designs.append(Design(14, 3, 3))
    designs.append(Design(6, 3, 3, questions=400))
    designs.append(Design(6, 1, 5, questions=30, repeats=16))  # as AIME
    designs = [replace(design, method_seed=seed_sd) for design in designs]
    for teacher_seeds in (1, 3):
        designs.append(Design(6, teacher_seeds, 3, method_seed=seed_sd / 4))
    return designs


def run_checks(designs: Sequence[Design], n_tables: int, seed: int, bootstraps: int) -> pd.DataFrame:
    """Every design with every check, columns as COLUMNS; each design has random numbers of its own.

    The power curve is measured where there are 6 methods of different accuracy, false discoveries where all are alike.
    """
    records = []
    for number, design in enumerate(designs):
        rng = np.random.default_rng([seed, number])
        rows = measure_coverage(design, n_tables, rng, bootstraps if design.accuracies == "spread" else 0)
        counted = {n_tables: rows + measure_power(design.equal, n_tables, rng)}
        if design.accuracies == "alike":
            n_fewer, alike = n_tables // 4, replace(design, methods=4)
            counted[n_fewer] = [measure_false_discoveries(alike, n_fewer, rng, n_real) for n_real in (0, 2)]
        elif design.methods == 6 and design.questions == 300:
            n_fewer = n_tables // 2
            powers = [measure_power(replace(design, effect=effect), n_fewer, rng) for effect in EFFECTS]
            counted[n_fewer] = [row for rows_of_effect in powers for row in rows_of_effect]
        for count, counted_rows in counted.items():
            for row in counted_rows:
                records.append(asdict(design) | {"accuracy": design.accuracy, "tables": count} | asdict(row))
    return pd.DataFrame(records, columns=COLUMNS)


def render_report(frame: pd.DataFrame, seed_sd: float) -> str:
    """The csv's main numbers as Markdown: coverage and false positives by design, and the power curve."""
    labels = ["methods", "accuracies", "seed sd", "teacher seeds", "training seeds", "questions", "repeats"]
    checks = ["claim", "claim of all methods", "new questions", "paired t"]
    claimed = frame[frame["nominal"].notna()]
    coverage_rows, power_rows = [], []
    for size, rows in claimed.groupby(SIZES, sort=False):
        share = rows.drop_duplicates("check").set_index("check")["share"]
        width = rows.drop_duplicates("check").set_index("check")["half_width"]
        cells = [f"{100 * share[check]:.1f}" for check in (*checks, "false positives", "false positives, paired t")]
        coverage_rows.append([*map(format_size, size), *cells, f"{width['claim']:.3f}", f"{width['paired t']:.3f}"])
    power = frame[frame["check"].str.startswith("power")]
    for size, rows in power.groupby(SIZES, sort=False):
        shares = rows.pivot(index="difference", columns="check", values="share")
        for difference, values in shares.iterrows():
            cells = [f"{difference:.3f}", f"{100 * values['power']:.0f}", f"{100 * values['power, paired t']:.0f}"]
            power_rows.append([*map(format_size, size[2:5]), *cells])
    header = [*labels, *checks, "false positives", "false positives, paired t", "half width", "half width, paired t"]
    coverage = build_table(header, coverage_rows)
    curve = build_table([*labels[2:5], "true difference", "power", "power, paired t"], power_rows)
    accuracy = 100 * frame["accuracy"].iloc[0]
    n_tables = frame["tables"].max()
    return (
        "# Coverage, false positives and power of the tables' intervals\n\n"
        f"{n_tables} simulated tables per row (half for power), by `benchmarks/coverage.py`; `coverage.csv` has all "
        f"numbers. The reference answers {accuracy:.0f} % of the questions right. Training seeds move a method's logit "
        f"with a standard deviation of {seed_sd:.2f}, measured on `{OUTCOMES}`, {BENCHMARK}.\n\n"
        "Percent of tables whose 95 % interval contains the truth; percent with p < 0.05 for equal methods; mean half "
        "width. paired t: the variance of the two compared methods alone. accuracies: of the other methods, alike or "
        "spread from 0 to 80 %. seed sd: in logits; where seeds vary little, answer sampling is most of the variance, "
        f"and the intervals of one teacher seed are too wide.\n\n{coverage}\n"
        "Power in percent: how often a true difference in accuracy is found (p < 0.05, not adjusted) with 6 methods "
        f"and 300 questions.\n\n{curve}"
    )


def format_size(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the csv; the md is written next to it")
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables per design")
    parser.add_argument("--bootstraps", type=int, default=100, help="resamples per display interval (tables take 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    arguments = parser.parse_args()
    options = {name: str(value) for name, value in vars(arguments).items()}
    with record_run(arguments.out, "benchmarks/coverage.py", VERSION, {"options": options, "seeds": [arguments.seed]}):
        seed_sd = measure_seed_sd(OUTCOMES, BENCHMARK)
        frame = run_checks(list_designs(seed_sd), arguments.tables, arguments.seed, arguments.bootstraps)
        write_text(arguments.out, frame.round(4).to_csv(index=False, lineterminator="\n"))
        write_text(arguments.out.with_suffix(".md"), render_report(frame, seed_sd))


if __name__ == "__main__":
    exit_with_errors(main)
