"""Measure whether the tables' intervals cover what they say, on simulated tables of realistic size with known truth.

Each answer is sampled from a logit that adds crossed effects: question, method × question, teacher seed (shared, and
per method), training seed (shared, and per method), training seed × question; repeats of one question are binomial.
The intervals come from the tables' own functions (evals.tables.comparison, evals.stats). Writes --out (csv), one row
per design, check and estimand. `nominal` is the expected value of `share` (for false discoveries: an upper bound); it
is empty where an interval is read as more than it says, to measure the error. `cannot_say`: share of tables without an
interval.

    python benchmarks/coverage.py --out results/reference/coverage.csv      # about 2 minutes of one core

Checks. claim: the paired t of `diff_low` … `diff_high`, over training seeds where there is one teacher seed, and then
about this teacher seed's traces; over the means of teacher seeds where there are several. Always about these questions.
t over seed pairs: over all (teacher seed, training seed) pairs; the tables do not use it, because the training seeds of
one teacher seed share its effect. display: `ci_low` … `ci_high`, the crossed bootstrap of one method's mean. false
positives: unadjusted p below 0.05 where methods are equal. false discoveries: mean share of wrong ones among a table's
verdicts after Benjamini-Hochberg.

Array suffixes: M methods, N simulated tables, T teacher seeds, S training seeds, Q questions.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from evals import stats
from evals.tables.comparison import FALSE_DISCOVERY_RATE, estimate_mean, get_replicates
from heal.errors import exit_with_errors
from heal.provenance import record_run
from heal.records import write_text

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

Floats = NDArray[np.float64]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
CHUNK = 100
"""Tables that are in memory at once."""
N_COMPARED, N_BENCHMARKS = 3, 4
"""Of a table in which p-values are adjusted: methods that are compared with the reference, benchmarks."""
LEVEL = 0.95


@dataclass(frozen=True)
class Design:
    """Sizes of a table, and the standard deviations of its effects in logits (ours)."""

    teacher_seeds: int
    training_seeds: int
    questions: int
    repeats: int = 1
    base: float = -1.0
    """Logit of the reference on the average question."""
    effect: float = 0.4
    """Added to the logit by the compared method."""
    question: float = 1.5
    method_question: float = 0.5
    teacher_seed: float = 0.2
    method_teacher_seed: float = 0.2
    seed: float = 0.15
    method_seed: float = 0.25
    seed_question: float = 0.7

    @property
    def equal(self) -> Design:
        """The design with equal methods: no difference on average, on any question, or in any teacher seed."""
        method_teacher_seed = self.method_teacher_seed if self.teacher_seeds > 1 else 0.0
        return replace(self, effect=0.0, method_question=0.0, method_teacher_seed=method_teacher_seed)

    @property
    def replicate_sd(self) -> float:
        """Of everything that varies with the training seed."""
        return float(np.sqrt(self.seed**2 + self.method_seed**2 + self.seed_question**2))

    @property
    def teacher_seed_sd(self) -> float:
        """Of everything that varies with the teacher seed alone."""
        return float(np.hypot(self.teacher_seed, self.method_teacher_seed))

    @property
    def question_sd(self) -> float:
        """Of everything that varies with the question alone."""
        return float(np.hypot(self.question, self.method_question))


@dataclass(frozen=True)
class SimulatedTables:
    """Scores of several methods in N tables, and the logits that do not vary with training seeds."""

    scores_MNTSQ: Floats
    logits_MNQ: Floats
    """Of each question, over all teacher seeds."""
    effects_MNT: Floats
    """Added by each teacher seed."""
    base_M: Floats
    """Of the average question."""


@dataclass(frozen=True)
class Truth:
    """True mean of every method, shape [M, N], and which mean it is."""

    estimand: str
    means_MN: Floats


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


COLUMNS = ["check", "estimand", "teacher_seeds", "training_seeds", "questions", "repeats", "accuracy"]
COLUMNS += ["share", "nominal", "cannot_say", "tables", "half_width"]


def simulate_tables(design: Design, n_tables: int, rng: np.random.Generator, methods: int = 2) -> SimulatedTables:
    """Tables of a reference, the first method, and of others that are all better by the design's effect."""
    base_M = np.array([design.base] + [design.base + design.effect] * (methods - 1))
    sizes_NT = (n_tables, design.teacher_seeds)
    sizes_NTS = (*sizes_NT, design.training_seeds)
    logits_MNQ = (
        base_M[:, None, None]
        + rng.normal(0, design.question, (1, n_tables, design.questions))
        + rng.normal(0, design.method_question, (methods, n_tables, design.questions))
    )
    shared = rng.normal(0, design.teacher_seed, (1, *sizes_NT))
    effects_MNT = shared + rng.normal(0, design.method_teacher_seed, (methods, *sizes_NT))
    shared = rng.normal(0, design.seed, (1, *sizes_NTS))
    effects_MNTS = shared + rng.normal(0, design.method_seed, (methods, *sizes_NTS))
    logits_MNTSQ = (
        logits_MNQ[:, :, None, None]
        + effects_MNT[..., None, None]
        + effects_MNTS[..., None]
        + rng.normal(0, design.seed_question, (methods, *sizes_NTS, design.questions))
    )
    scores_MNTSQ = rng.binomial(design.repeats, expit(logits_MNTSQ)) / design.repeats
    return SimulatedTables(scores_MNTSQ, logits_MNQ, effects_MNT, base_M)


def simulate_in_chunks(
    design: Design, n_tables: int, rng: np.random.Generator, methods: int = 2
) -> Iterator[SimulatedTables]:
    """Tables by the chunk, so that memory stays bounded."""
    for start in range(0, n_tables, CHUNK):
        yield simulate_tables(design, min(CHUNK, n_tables - start), rng, methods)


def compute_expected_score(logits: ArrayLike, sd: float) -> Floats:
    """Mean of the logistic function of logit + normal noise of that sd, by Gauss-Hermite quadrature."""
    logits = np.asarray(logits, dtype=float)
    total = np.zeros_like(logits)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        total += weight * expit(logits + sd * node)
    return total


def compute_truths(design: Design, tables: SimulatedTables) -> list[Truth]:
    """The true means that an interval could be about."""
    sd = float(np.hypot(design.replicate_sd, design.teacher_seed_sd))
    these_questions_MN = compute_expected_score(tables.logits_MNQ, sd).mean(axis=-1)
    all_questions_M = compute_expected_score(tables.base_M, float(np.hypot(sd, design.question_sd)))
    all_questions_MN = np.repeat(all_questions_M[:, None], tables.logits_MNQ.shape[1], axis=1)
    truths = [
        Truth("these questions, all teacher seeds", these_questions_MN),
        Truth("all questions, all teacher seeds", all_questions_MN),
    ]
    if design.teacher_seeds == 1:
        effects_MN = tables.effects_MNT[..., 0]
        logits_MNQ = tables.logits_MNQ + effects_MN[..., None]
        these_questions_MN = compute_expected_score(logits_MNQ, design.replicate_sd).mean(axis=-1)
        sd = float(np.hypot(design.replicate_sd, design.question_sd))
        all_questions_MN = compute_expected_score(tables.base_M[:, None] + effects_MN, sd)
        truths.append(Truth("these questions, this teacher seed", these_questions_MN))
        truths.append(Truth("all questions, this teacher seed", all_questions_MN))
    return truths


def measure_coverage(design: Design, n_tables: int, rng: np.random.Generator, bootstraps: int) -> list[CheckRow]:
    """Share of tables whose interval contains the truth, for the claim's and the display's interval."""
    intervals: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for tables in simulate_in_chunks(design, n_tables, rng):
        truths = compute_truths(design, tables)
        for n in range(tables.scores_MNTSQ.shape[1]):
            b_TSQ, a_TSQ = tables.scores_MNTSQ[:, n]
            claim = stats.compute_paired_t(get_replicates(a_TSQ), get_replicates(b_TSQ))
            display = estimate_mean(a_TSQ, resamples=bootstraps)
            pairs = compute_t_over_pairs(a_TSQ, b_TSQ)
            for truth in truths:
                b_mean, a_mean = truth.means_MN[:, n]
                checked = {"claim": (claim.low, claim.high, a_mean - b_mean)}
                if design.teacher_seeds > 1:
                    checked["t over seed pairs"] = (pairs.low, pairs.high, a_mean - b_mean)
                if truth.estimand.startswith("all questions"):
                    checked["display"] = (display.low, display.high, a_mean)
                for check, interval in checked.items():
                    intervals.setdefault((check, truth.estimand), []).append(interval)
    rows = []
    for (check, estimand), bounds in intervals.items():
        rows.append(summarize_intervals(check, estimand, get_nominal_share(design, check, estimand), np.array(bounds)))
    return rows


def compute_t_over_pairs(a_TSQ: Floats, b_TSQ: Floats) -> stats.TTest:
    """The paired t that takes (teacher seed, training seed) pairs for independent."""
    questions = a_TSQ.shape[-1]
    return stats.compute_paired_t(a_TSQ.reshape(-1, questions), b_TSQ.reshape(-1, questions))


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
    """0.95 where an interval says that it covers the estimand; NaN where that is more than it says."""
    teacher_seeds = "this teacher seed" if design.teacher_seeds == 1 else "all teacher seeds"
    questions = {"claim": "these questions", "display": "all questions"}.get(check)
    return LEVEL if estimand == f"{questions}, {teacher_seeds}" else math.nan


def measure_false_positives(design: Design, n_tables: int, rng: np.random.Generator) -> CheckRow:
    """Equal methods: how often the unadjusted p of a comparison is below 0.05."""
    p_values = []
    for tables in simulate_in_chunks(design.equal, n_tables, rng):
        for n in range(tables.scores_MNTSQ.shape[1]):
            p_values.append(compute_p(tables.scores_MNTSQ[1, n], tables.scores_MNTSQ[0, n]))
    p_N = np.array(p_values)
    known_N = ~np.isnan(p_N)
    share = (p_N[known_N] < 0.05).mean()
    return CheckRow("false positives", "equal methods", share, nominal=0.05, cannot_say=1 - known_N.mean())


def compute_p(a_TSQ: Floats, b_TSQ: Floats) -> float:
    """Unadjusted p of the tables' paired t."""
    return stats.compute_paired_t(get_replicates(a_TSQ), get_replicates(b_TSQ)).p


def measure_false_discoveries(design: Design, n_tables: int, rng: np.random.Generator, n_real: int) -> CheckRow:
    """Tables of N_COMPARED methods × N_BENCHMARKS against one reference; `n_real` benchmarks have a real difference."""
    shares = []
    for start in range(0, n_tables, CHUNK):
        count = min(CHUNK, n_tables - start)
        benchmarks = []
        for number in range(N_BENCHMARKS):
            is_real = number >= N_BENCHMARKS - n_real
            tables = simulate_tables(design if is_real else design.equal, count, rng, N_COMPARED + 1)
            benchmarks.append((tables.scores_MNTSQ, is_real))
        for n in range(count):
            shares.append(compute_false_share(benchmarks, n))
    bound = FALSE_DISCOVERY_RATE * (N_BENCHMARKS - n_real) / N_BENCHMARKS
    estimand = f"{n_real} of {N_BENCHMARKS} benchmarks differ"
    return CheckRow("false discoveries", estimand, float(np.mean(shares)), nominal=bound)


def compute_false_share(benchmarks: list[tuple[Floats, bool]], n: int) -> float:
    """Share of wrong ones among the verdicts of table n. benchmarks: scores_MNTSQ, and whether methods differ."""
    p_values, real = [], []
    for scores_MNTSQ, is_real in benchmarks:
        for method in range(1, N_COMPARED + 1):
            p_values.append(compute_p(scores_MNTSQ[method, n], scores_MNTSQ[0, n]))
            real.append(is_real)
    discovered = stats.compute_adjusted_p(p_values) <= FALSE_DISCOVERY_RATE
    return (discovered & ~np.array(real)).sum() / max(discovered.sum(), 1)


def list_designs() -> list[Design]:
    """The sizes of this project's tables, and some around them."""
    designs = []
    for teacher_seeds, training_seeds, questions in product((1, 3), (3, 5, 10), (40, 150, 300)):
        designs.append(Design(teacher_seeds, training_seeds, questions))
    for training_seeds in (3, 5):
        designs.append(Design(1, training_seeds, 150, repeats=4))  # as mini_hard_sampled
    for training_seeds in (3, 5):
        designs.append(Design(1, training_seeds, 40, base=-4.0))  # few right answers, as mini_unseen
    designs.append(Design(3, 5, 30, repeats=16))  # as AIME
    return designs


def run_checks(designs: list[Design], n_tables: int, seed: int, bootstraps: int) -> pd.DataFrame:
    """Every design with every check, columns as COLUMNS; each design has random numbers of its own."""
    records = []
    for number, design in enumerate(designs):
        rng = np.random.default_rng([seed, number])
        rows = measure_coverage(design, n_tables, rng, bootstraps)
        rows.append(measure_false_positives(design, n_tables, rng))
        if design.questions == 150 and design.repeats == 1:
            rows += [measure_false_discoveries(design, n_tables, rng, n_real) for n_real in (0, 2)]
        accuracy = float(compute_expected_score(design.base, np.hypot(design.replicate_sd, design.question)))
        for row in rows:
            records.append(asdict(design) | {"accuracy": accuracy, "tables": n_tables} | asdict(row))
    return pd.DataFrame(records, columns=COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the csv")
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per design")
    parser.add_argument("--bootstraps", type=int, default=400, help="resamples per display interval (tables take 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    arguments = parser.parse_args()
    options = {name: str(value) for name, value in vars(arguments).items()}
    with record_run(arguments.out, "benchmarks/coverage.py", VERSION, {"options": options, "seeds": [arguments.seed]}):
        frame = run_checks(list_designs(), arguments.tables, arguments.seed, arguments.bootstraps)
        write_text(arguments.out, frame.round(4).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    exit_with_errors(main)
