"""What the step checker of a world says of traces and repairs (heal/worlds/registry.py), looked up by problem.

Reads nothing, writes nothing; the audits and the figures import it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heal.method.steps import split_text
from heal.records import Row, hash_content
from heal.worlds import registry as worlds
from heal.worlds.error_origin import ErrorOrigin, classify_error


class Truth:
    """Validity of each step of a trace. Raises HealError for problems without a step checker."""

    def __init__(self, problems: Sequence[Row]) -> None:
        self.problems: dict[str, Row] = {}
        self.knows_withheld = True
        """Whether each problem's world says at which steps a withheld fact is needed."""
        for row in problems:
            worlds.check_steps(row, [])
            self.problems[row["problem_id"]] = row
            self.knows_withheld = self.knows_withheld and worlds.find_withheld_steps(row) is not None
        self.first_wrong: dict[tuple[str, str], int | None] = {}

    def find_first_wrong(self, problem_id: str, text: str) -> int | None:
        """The first step of a trace that is not valid, from 1; None where every step is. A text is checked once."""
        key = problem_id, hash_content(text)
        if key not in self.first_wrong:
            self.first_wrong[key] = worlds.find_first_wrong_step(self.problems[problem_id], split_text(text))
        return self.first_wrong[key]

    def check_steps(self, problem_id: str, text: str) -> np.ndarray:
        """Whether each step of a trace is valid, shape [steps]."""
        return np.array(worlds.check_steps(self.problems[problem_id], split_text(text)), dtype=bool)

    def mark_withheld(self, problem_id: str, steps: int) -> np.ndarray:
        """Whether each step needs a withheld fact, for a trace that undoes one operation per step; shape [steps]."""
        withheld = worlds.find_withheld_steps(self.problems[problem_id]) or ()
        return np.isin(np.arange(1, steps + 1), list(withheld))

    def is_valid(self, row: Row) -> bool:
        """Whether every step of a trace is valid."""
        return self.find_first_wrong(row["problem_id"], row["text"]) is None

    def classify_error(self, repair: Row) -> ErrorOrigin:
        """Whether a repair is valid, or where its first error comes from."""
        first_wrong = self.find_first_wrong(repair["problem_id"], repair["text"])
        return classify_error(first_wrong, len(split_text(repair["kept"])))

    def classify_errors(self, repairs: Sequence[Row]) -> np.ndarray:
        """`classify_error` of each repair, shape [repairs]."""
        return np.array([self.classify_error(repair) for repair in repairs], dtype=str)
