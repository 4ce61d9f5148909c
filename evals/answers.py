"""Graded answers of one model to one benchmark: answers.parquet → scores and votes [questions, repeats] that pair up.

Reads answers.parquet; writes nothing. Duplicate answers, missing answers and questions that do not pair up are errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heal import records
from heal.errors import HealError
from heal.records import Row
from heal.schemas import VERDICT_OF_ANSWER

Reading = Literal["strict", "flexible"]
"""Which grade of an answer counts: strict wants the form that the prompt asks for, flexible any right answer."""

CUT_OFF = {"truncated", "no_room"}
"""Reasons of answers that hit the token limit."""
EVALUATE_AGAIN = "run the evaluation of this model again (snakemake does, once the file is deleted)"


@dataclass(frozen=True)
class Answers:
    """The graded answers of one model to one benchmark, questions sorted by id."""

    path: Path
    problem_ids: tuple[str, ...]
    gold: tuple[str, ...]
    scores_QR: NDArray[np.float64]
    """0 or 1, shape [questions, repeats]."""
    truncated_Q: NDArray[np.float64]
    """Share of each question's repeats that hit the token limit; such an answer counts as wrong."""
    votes_QR: tuple[tuple[str | None, ...], ...]
    """The answers as extracted; None where nothing was, or where the reading rejects a right answer for its form."""
    rows: tuple[Row, ...]
    """The rows as graded, without the answers' texts."""

    @property
    def scores_Q(self) -> NDArray[np.float64]:
        """Share of right answers over the repeats of each question."""
        return self.scores_QR.mean(axis=1)


def read_answers(path: str | Path, reading: Reading = "strict") -> Answers:
    """Raises HealError for a missing file, and as `build_answers` does."""
    return build_answers(records.read(path, "answers"), path, reading)


def build_answers(rows: Sequence[Row], path: str | Path, reading: Reading = "strict") -> Answers:
    """path: the file that holds the rows. Raises HealError for no rows, and for a duplicate or missing answer."""
    rows_by_problem = group_answers(rows, path)
    repeats = sorted(set().union(*rows_by_problem.values()))
    problem_ids = tuple(sorted(rows_by_problem))
    gold, scores_QR, votes_QR, truncated_Q = [], [], [], []
    for problem_id in problem_ids:
        scores_R, votes_R = [], []
        for repeat in repeats:
            row = rows_by_problem[problem_id].get(repeat)
            if row is None:
                problem = f"problem {problem_id} has no answer in repeat {repeat}"
                raise HealError(problem, where=str(path), fix=EVALUATE_AGAIN)
            scores_R.append(float(row[reading]))
            votes_R.append(get_vote(row, reading))
        gold.append(next(iter(rows_by_problem[problem_id].values()))["gold"])
        scores_QR.append(scores_R)
        votes_QR.append(tuple(votes_R))
        truncated_Q.append(np.mean([row["reason"] in CUT_OFF for row in rows_by_problem[problem_id].values()]))
    return Answers(
        path=Path(path),
        problem_ids=problem_ids,
        gold=tuple(gold),
        scores_QR=np.array(scores_QR),
        truncated_Q=np.array(truncated_Q),
        votes_QR=tuple(votes_QR),
        rows=tuple(map(drop_text, rows)),
    )


def group_answers(rows: Sequence[Row], path: str | Path) -> dict[str, dict[int, Row]]:
    """Problem id → repeat → row. Raises HealError for no rows, a duplicate answer, and gold answers that differ."""
    if not rows:
        raise HealError("no answers", where=str(path), fix=EVALUATE_AGAIN)
    rows_by_problem: dict[str, dict[int, Row]] = {}
    for number, row in enumerate(rows, 1):
        repeats = rows_by_problem.setdefault(row["problem_id"], {})
        if row["repeat"] in repeats:
            problem = f"duplicate answer: repeat {row['repeat']} of problem {row['problem_id']}"
            raise HealError(problem, where=f"{path}, row {number}", fix=EVALUATE_AGAIN)
        repeats[row["repeat"]] = row
        if next(iter(repeats.values()))["gold"] != row["gold"]:
            problem = f"gold answers of problem {row['problem_id']} differ between its repeats"
            raise HealError(problem, where=f"{path}, row {number}", fix=EVALUATE_AGAIN)
    return rows_by_problem


def get_vote(row: Mapping[str, str | None], reading: Reading) -> str | None:
    """The extracted answer; None where the reading rejects a right answer for its form."""
    return None if row["flexible"] and not row[reading] else row["extracted"]


def drop_text(row: Row) -> Row:
    """The columns of an answer that its verdict rests on."""
    return {column: row[column] for column in VERDICT_OF_ANSWER}


def check_pairing(first: Answers, other: Answers) -> None:
    """Raises HealError, naming a question, unless both files hold the same questions, gold answers and repeats."""
    fix = "evaluate both models on the same benchmark version"
    where = f"{other.path} against {first.path}"
    differing = sorted(set(first.problem_ids) ^ set(other.problem_ids))
    if differing:
        which = "lacks" if differing[0] in first.problem_ids else "alone has"
        problem = f"questions do not pair up: {len(differing)} differ; the first file {which} problem {differing[0]}"
        raise HealError(problem, where=where, fix=fix)
    for problem_id, one, two in zip(first.problem_ids, first.gold, other.gold, strict=True):
        if one != two:
            raise HealError(f"gold answers of problem {problem_id} differ: {one!r}, {two!r}", where=where, fix=fix)
    if first.scores_QR.shape != other.scores_QR.shape:
        repeats = f"{other.scores_QR.shape[1]} repeats against {first.scores_QR.shape[1]}"
        raise HealError(f"answers do not pair up: {repeats}", where=where, fix=fix)
