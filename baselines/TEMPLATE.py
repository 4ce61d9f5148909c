"""One sentence: what the method trains on, and why that might help. Copy this file to baselines/NAME.py.

Authors and year, arXiv number. What the paper does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from heal.config import experiment as config
from heal.config.options import Count, OptionGroup
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples
from heal.trace_files import GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    """A field with the name of a section of the config (gear, pure, pace) starts from that section."""

    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""
    most_problems: Count = 1000
    """Train on the first so many problems (your own options: type, default, one sentence)."""


class Template(Method):
    name = "template"
    paper = "arXiv 0000.00000 (authors, title)"
    summary = "what `heal methods` says of it, in one line"
    differs = "what is not as in the paper, in one line"
    sources: ClassVar = {
        "a constant or rule of the paper": NOT_CHECKED
    }  # or where: "public code: OWNER/REPO at COMMIT, FILE"
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        correct = traces.read_correct()
        chosen = dict(list(correct.items())[: self.options.most_problems])
        return build_examples(chosen, 1, "sample", self.options.pace.max_per_problem)
