"""Compare two checkpoints question by question: McNemar's exact test.

Reads two answers.parquet and the results.json next to them; prints, writes nothing. The result is a claim about these
two checkpoints: another training seed is another checkpoint, so it says nothing about the methods that trained them
(`heal tabulate-comparison` does).

    heal compare-checkpoints \\
        results/mini/evals/default/teacher_seed0/tiny/{heal,rs_matched}/seed0/mini_hard/answers.parquet
"""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import CliPositionalArg

from evals import stats
from evals.answers import Reading, check_pairing, read_answers
from evals.results import read_engine
from heal.command import Command
from heal.errors import HealError


class CompareCheckpoints(Command):
    a: CliPositionalArg[Path]
    """answers.parquet of one checkpoint."""
    b: CliPositionalArg[Path]
    """answers.parquet of the other one, to the same benchmark."""
    repeat: int | None = None
    """Index of the repeat that counts, from 0, where a benchmark has several."""
    reading: Reading = "strict"
    """Which grade of an answer counts."""

    def run(self) -> None:
        print("\n".join(compare_checkpoints(self.a, self.b, self.repeat, self.reading)))


def compare_checkpoints(a: Path, b: Path, repeat: int | None, reading: Reading) -> list[str]:
    """The result, line by line. Raises HealError for answers that do not pair up, and for several repeats."""
    a_answers, b_answers = read_answers(a, reading), read_answers(b, reading)
    check_pairing(a_answers, b_answers)
    column = choose_repeat(repeat, a_answers.scores_QR.shape[1])
    a_Q, b_Q = a_answers.scores_QR[:, column], b_answers.scores_QR[:, column]
    test = stats.compute_mcnemar(a_Q, b_Q)
    n_both = round(float(a_Q @ b_Q))
    n_neither = test.n - n_both - test.only_a - test.only_b
    engines = sorted({read_engine(a), read_engine(b)})
    verdict = f"p = {test.p:.4g} (exact, two-sided; covers the choice of questions)"
    if len(engines) > 1:
        verdict = f"cannot say: answered on different engines ({', '.join(engines)})"
    return [
        f"A: {a}",
        f"B: {b}",
        f"{test.n} questions: both solve {n_both}, only A {test.only_a}, only B {test.only_b}, neither {n_neither}",
        verdict,
        "About these two checkpoints only, not about the methods that trained them.",
    ]


def choose_repeat(repeat: int | None, n_repeats: int) -> int:
    """The repeat to compare. Raises HealError where several are possible and none is given, or for one out of range."""
    if repeat is None and n_repeats > 1:
        problem = f"{n_repeats} repeats, where the test takes one answer per question"
        fix = f"choose one of 0 … {n_repeats - 1}; or compare means with heal tabulate-comparison"
        raise HealError(problem, where="--repeat", fix=fix)
    if not 0 <= (repeat or 0) < n_repeats:
        raise HealError(f"found {repeat}", where="--repeat", fix=f"give one of the repeats 0 … {n_repeats - 1}")
    return repeat or 0
