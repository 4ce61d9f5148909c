"""Do the tables' intervals cover what they say? Simulated tables whose truth is known, at the sizes of real ones.

Every answer is drawn from a logit that adds up crossed effects: question, method × question, teacher draw (shared, and
per method), training seed (shared, and per method), seed × question; repeats of one question are binomial. The
intervals come from the tables' own functions (evals.tables.comparison, evals.stats). Writes --out (csv), one row per design,
check and estimand. `nominal` is what `share` should be (for false discoveries: at most); it is empty where an interval
is read as more than it says, to show what that would cost. `cannot_say`: share of tables without an interval.

    python benchmarks/coverage.py --out results/reference/coverage.csv      # about 2 minutes of one core

claim: the paired t of `diff_low` … `diff_high`: over training seeds where there is one teacher draw, and then about
this draw's traces; over the means of draws where there are several. Always about these questions. t over draw-seed
pairs: what is not used, as the seeds of one draw share its luck. display: `ci_low` … `ci_high`, the crossed bootstrap
of one method's mean. false positives: unadjusted p below 0.05 where methods are equal. false discoveries: mean share of
wrong ones among a table's verdicts after Benjamini-Hochberg.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from evals import stats
from evals.tables.comparison import FALSE_DISCOVERY_RATE, claim, display
from heal.command import command_parser
from heal.errors import exit_with_errors
from heal.provenance import recorded
from heal.records import write_text

COLUMNS = ["check", "estimand", "draws", "seeds", "questions", "repeats", "accuracy", "share", "nominal", "cannot_say"]
COLUMNS += ["tables", "half_width"]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
CHUNK = 100  # tables that are held in memory at once
COMPARED, BENCHMARKS = 3, 4  # of a table in which p-values are adjusted: methods beside the reference, benchmarks


@dataclass(frozen=True)
class Design:
    """Sizes of a table, and the standard deviations of its effects in logits (ours)."""

    draws: int
    seeds: int
    questions: int
    repeats: int = 1
    base: float = -1.0  # logit of the reference on the average question
    effect: float = 0.4  # of the compared method
    question: float = 1.5
    method_question: float = 0.5
    draw: float = 0.2
    method_draw: float = 0.2
    seed: float = 0.15
    method_seed: float = 0.25
    seed_question: float = 0.7

    @property
    def equal(self) -> Design:
        """The same where the methods do not differ: not on average, on no question, and in no draw of the teacher."""
        several = {"method_draw": self.method_draw} if self.draws > 1 else {"method_draw": 0.0}
        return replace(self, effect=0.0, method_question=0.0, **several)

    @property
    def replicate_sd(self) -> float:
        """Of everything that another training seed draws anew."""
        return float(np.sqrt(self.seed**2 + self.method_seed**2 + self.seed_question**2))

    @property
    def draw_sd(self) -> float:
        return float(np.hypot(self.draw, self.method_draw))


@dataclass(frozen=True)
class Simulated:
    """Scores of n methods in T tables, shape [methods, T, draws, seeds, Q], and the logits that do not vary with seeds.

    questions_MTQ: of each question over all draws; drawn_MTD: what a draw adds; base_M: of the average question.
    """

    scores_MTDSQ: NDArray[np.float64]
    questions_MTQ: NDArray[np.float64]
    drawn_MTD: NDArray[np.float64]
    base_M: NDArray[np.float64]


def simulate(design: Design, tables: int, rng: np.random.Generator, methods: int = 2) -> Simulated:
    """Tables of a reference, the first method, and of others that are all better by the design's effect."""
    d = design
    base_M = np.array([d.base] + [d.base + d.effect] * (methods - 1))
    shape = (tables, d.draws, d.seeds)
    questions_MTQ = (
        base_M[:, None, None]
        + rng.normal(0, d.question, (1, tables, d.questions))
        + rng.normal(0, d.method_question, (methods, tables, d.questions))
    )
    drawn_MTD = rng.normal(0, d.draw, (1, *shape[:2])) + rng.normal(0, d.method_draw, (methods, *shape[:2]))
    seeds_MTDS = rng.normal(0, d.seed, (1, *shape)) + rng.normal(0, d.method_seed, (methods, *shape))
    logits = (
        questions_MTQ[:, :, None, None]
        + drawn_MTD[..., None, None]
        + seeds_MTDS[..., None]
        + rng.normal(0, d.seed_question, (methods, *shape, d.questions))
    )
    scores = rng.binomial(d.repeats, expit(logits)) / d.repeats
    return Simulated(scores, questions_MTQ, drawn_MTD, base_M)


def expected(logits: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """Mean of the logistic function of logit + normal noise of that sd, by Gauss-Hermite quadrature."""
    return sum(weight * expit(logits + sd * node) for node, weight in zip(NODES, WEIGHTS, strict=True))


def truths(design: Design, drawn: Simulated) -> dict[str, NDArray[np.float64]]:
    """Estimand → true mean of every method, shape [methods, T]."""
    d, over_draws = design, float(np.hypot(design.replicate_sd, design.draw_sd))
    question_sd = float(np.hypot(d.question, d.method_question))
    everything = expected(drawn.base_M, float(np.hypot(over_draws, question_sd)))
    found = {
        "these questions, all draws": expected(drawn.questions_MTQ, over_draws).mean(axis=-1),
        "all questions, all draws": np.repeat(everything[:, None], drawn.questions_MTQ.shape[1], axis=1),
    }
    if d.draws == 1:
        here = drawn.drawn_MTD[..., 0]
        found["these questions, this draw"] = expected(drawn.questions_MTQ + here[..., None], d.replicate_sd).mean(-1)
        average = drawn.base_M[:, None] + here
        found["all questions, this draw"] = expected(average, float(np.hypot(d.replicate_sd, question_sd)))
    return found


def chunks(design: Design, tables: int, rng: np.random.Generator, methods: int = 2) -> Iterator[Simulated]:
    for start in range(0, tables, CHUNK):
        yield simulate(design, min(CHUNK, tables - start), rng, methods)


def coverage(design: Design, tables: int, rng: np.random.Generator, bootstraps: int) -> list[dict[str, object]]:
    """Rows of the claim's and the display's interval: the share of tables whose interval holds the truth."""
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for drawn in chunks(design, tables, rng):
        true = truths(design, drawn)
        for t in range(drawn.scores_MTDSQ.shape[1]):
            b_DSQ, a_DSQ = drawn.scores_MTDSQ[:, t]
            test = stats.compute_paired_t(claim(a_DSQ), claim(b_DSQ))
            shown = display(a_DSQ, draws=bootstraps)
            pairs = stats.compute_paired_t(*(scores.reshape(-1, design.questions) for scores in (a_DSQ, b_DSQ)))
            for estimand, mean_MT in true.items():
                difference = mean_MT[1, t] - mean_MT[0, t]
                found.setdefault(("claim", estimand), []).append((test.low, test.high, difference))
                if design.draws > 1:
                    found.setdefault(("t over draw-seed pairs", estimand), []).append(
                        (pairs.low, pairs.high, difference)
                    )
                if estimand.startswith("all questions"):
                    found.setdefault(("display", estimand), []).append((shown.low, shown.high, mean_MT[1, t]))
    rows = []
    for (check, estimand), intervals in found.items():
        low_T, high_T, truth_T = np.array(intervals).T
        known_T = ~np.isnan(low_T)
        inside = (low_T <= truth_T) & (truth_T <= high_T)
        rows.append(
            {"check": check, "estimand": estimand, "share": inside[known_T].mean() if known_T.any() else np.nan}
            | {
                "nominal": nominal(design, check, estimand),
                "cannot_say": 1 - known_T.mean(),
                "half_width": (high_T - low_T)[known_T].mean() / 2,
            }
        )
    return rows


def nominal(design: Design, check: str, estimand: str) -> float:
    """0.95 where an interval says that it covers the estimand; NaN where that is more than it says."""
    draws = "this draw" if design.draws == 1 else "all draws"
    questions = {"claim": "these questions", "display": "all questions"}.get(check)
    return 0.95 if estimand == f"{questions}, {draws}" else np.nan


def false_positives(design: Design, tables: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Equal methods: how often the unadjusted p of a comparison is below 0.05."""
    p_T = []
    for drawn in chunks(design.equal, tables, rng):
        for t in range(drawn.scores_MTDSQ.shape[1]):
            b_DSQ, a_DSQ = drawn.scores_MTDSQ[:, t]
            p_T.append(stats.compute_paired_t(claim(a_DSQ), claim(b_DSQ)).p)
    known = ~np.isnan(p_T)
    share = (np.array(p_T)[known] < 0.05).mean()
    row = {"check": "false positives", "estimand": "equal methods", "share": share, "nominal": 0.05}
    return [row | {"cannot_say": 1 - known.mean()}]


def false_discoveries(design: Design, tables: int, rng: np.random.Generator, real: int) -> list[dict[str, object]]:
    """Tables of COMPARED methods × BENCHMARKS against one reference, of which `real` benchmarks have a difference."""
    shares, parts = [], [(design.equal, False)] * (BENCHMARKS - real) + [(design, True)] * real
    for start in range(0, tables, CHUNK):
        count = min(CHUNK, tables - start)
        benchmarks = [(simulate(part, count, rng, COMPARED + 1).scores_MTDSQ, is_real) for part, is_real in parts]
        for t in range(count):
            tests = [
                (stats.compute_paired_t(claim(scores[m, t]), claim(scores[0, t])).p, is_real)
                for scores, is_real in benchmarks
                for m in range(1, COMPARED + 1)
            ]
            p, is_real = np.array(tests).T
            called = stats.compute_adjusted_p(p) <= FALSE_DISCOVERY_RATE
            shares.append((called & ~is_real.astype(bool)).sum() / max(called.sum(), 1))
    name = f"{real} of {BENCHMARKS} benchmarks differ"
    bound = FALSE_DISCOVERY_RATE * (BENCHMARKS - real) / BENCHMARKS
    return [{"check": "false discoveries", "estimand": name, "share": float(np.mean(shares)), "nominal": bound}]


def designs() -> list[Design]:
    sizes = product((1, 3), (3, 5, 10), (40, 150, 300))
    found = [Design(draws, seeds, questions) for draws, seeds, questions in sizes]
    found += [Design(1, seeds, 150, repeats=4) for seeds in (3, 5)]  # as mini_hard_sampled
    found += [Design(1, seeds, 40, base=-4.0) for seeds in (3, 5)]  # few right answers at all, as mini_unseen
    return found + [Design(3, 5, 30, repeats=16)]  # as AIME


def table(chosen: list[Design], tables: int, seed: int, bootstraps: int) -> pd.DataFrame:
    """Every design with every check; each design has random numbers of its own."""
    rows = []
    for number, design in enumerate(chosen):
        rng = np.random.default_rng([seed, number])
        found = coverage(design, tables, rng, bootstraps) + false_positives(design, tables, rng)
        if design.questions == 150 and design.repeats == 1:
            found += [row for real in (0, 2) for row in false_discoveries(design, tables, rng, real)]
        accuracy = float(expected(np.array(design.base), np.hypot(design.replicate_sd, design.question)))
        place = {"draws": design.draws, "seeds": design.seeds, "questions": design.questions}
        rows += [place | {"repeats": design.repeats, "accuracy": accuracy, "tables": tables} | row for row in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--out", required=True, help="the csv")
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per design")
    parser.add_argument("--bootstraps", type=int, default=400, help="resamples per display interval (tables take 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    arguments = parser.parse_args()
    with recorded(arguments.out, "benchmarks.coverage", options=vars(arguments), seeds=[arguments.seed]):
        frame = table(designs(), arguments.tables, arguments.seed, arguments.bootstraps)
        write_text(arguments.out, frame.round(4).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    exit_with_errors(main)
