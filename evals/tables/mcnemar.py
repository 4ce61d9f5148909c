"""Do two named checkpoints differ? McNemar's exact test on one answer of each to every question.

Reads two answers.parquet and the results.json beside them; prints, writes nothing. It is a claim about these two
checkpoints: another training seed is another checkpoint, so it says nothing about the methods that trained them (for
that: the paired t of evals.tables.comparison).

    python -m evals.tables.mcnemar results/mini/evals/default/draw0/tiny/{heal,rs_matched}/seed0/mini_hard/answers.parquet
"""

from __future__ import annotations

from pathlib import Path

from evals import stats
from evals.results import Run, check_pairing, read_answers
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors


def compare(a: Path, b: Path, repeat: int | None, reading: str) -> list[str]:
    """What there is to say, line by line. Raises HealError where answers do not pair up, or several repeats do."""
    first, second = read_answers(a, reading), read_answers(b, reading)
    check_pairing(first, second)
    repeats = first.scores_QR.shape[1]
    if repeat is None and repeats > 1:
        fix = f"choose one of 0 … {repeats - 1}; or compare means with evals.tables.comparison"
        raise HealError(f"{repeats} repeats, where the test takes one answer per question", where="--repeat", fix=fix)
    if not 0 <= (repeat or 0) < repeats:
        raise HealError(f"found {repeat}", where="--repeat", fix=f"there are the repeats 0 … {repeats - 1}")
    a_Q, b_Q = first.scores_QR[:, repeat or 0], second.scores_QR[:, repeat or 0]
    test = stats.compute_mcnemar(a_Q, b_Q)
    both = round(float((a_Q * b_Q).sum()))
    engines = {Run(a.parent, [], [], [], [], 1, 1).engine(path) for path in (a, b)}
    verdict = f"p = {test.p:.4g} (exact, two-sided; covers the choice of questions)"
    if len(engines) > 1:
        verdict = f"cannot say: answered on different engines ({', '.join(sorted(engines))})"
    return [
        f"A: {a}\nB: {b}",
        f"{test.n} questions: both solve {both}, only A {test.only_a}, only B {test.only_b}, "
        f"neither {test.n - both - test.only_a - test.only_b}",
        verdict,
        "About these two checkpoints only, not about the methods that trained them.",
    ]


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("a", type=Path, help="answers.parquet of the one")
    parser.add_argument("b", type=Path, help="answers.parquet of the other, to the same benchmark")
    parser.add_argument("--repeat", type=int, help="which answer counts, where a benchmark has several")
    parser.add_argument("--reading", choices=["strict", "flexible"], default="strict", help="which grade counts")
    arguments = parser.parse_args()
    print("\n".join(compare(arguments.a, arguments.b, arguments.repeat, arguments.reading)))


if __name__ == "__main__":
    exit_with_errors(main)
