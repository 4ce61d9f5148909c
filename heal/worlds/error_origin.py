"""Where the first error of a repair comes from: the kept part, or the continuation. For the audits and the viewer."""

from __future__ import annotations

from typing import Literal

ErrorOrigin = Literal["valid", "inherited", "fresh"]


def classify_error(first_wrong: int | None, kept_steps: int) -> ErrorOrigin:
    """valid: no wrong step; inherited: the kept part has the first wrong step; fresh: the continuation has it.

    first_wrong: first wrong step of the whole repaired trace, from 1; None where every step is valid.
    """
    if first_wrong is None:
        return "valid"
    return "inherited" if first_wrong <= kept_steps else "fresh"
