"""The data part of a config: where problems come from, and how training problems are kept apart from held-out ones.

heal.config.experiment has the rest of the experiment; heal.data.load_problems and heal.data.decontaminate do what is said here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from heal.config.options import Count, Name, OptionGroup, Share


class Columns(OptionGroup):
    question: str
    """Column with the question."""
    answer: str
    """Column with the gold answer, or with the text that ends in it (`answer` of the data set says which)."""
    solution: str | None = None
    """Column with a worked solution, its steps split by blank lines."""
    difficulty: str | None = None
    """Column with how hard a problem is."""
    wrong_choices: list[str] = []
    """For multiple choice: columns with the wrong choices; they and the gold answer become lettered lines (ours)."""


SPLITS_OF = {  # the sources whose problems the suite makes itself, and their splits, of which no two share a problem
    "mini": ("train", "dev", "easy", "hard", "unseen"),
    "gsm_symbolic": ("train", "dev", "seen", "weak", "unseen"),
}
COMMIT = re.compile(r"[0-9a-f]{40}")
COMMON_FIELDS = {"source", "n", "skip", "order", "unusable"}
ROW_FIELDS = {"path", "columns", "answer", "keep", "drop"}
FIELDS_OF = {
    "mini": {"source", "split", "n", "wrong_gold_share"},
    "gsm_symbolic": {"source", "split", "n"},
    "file": COMMON_FIELDS | ROW_FIELDS,
    "hub": COMMON_FIELDS | ROW_FIELDS | {"name", "revision", "split"},
    "mixture": COMMON_FIELDS | {"parts"},
}


class Dataset(OptionGroup):
    source: Literal["mini", "gsm_symbolic", "file", "hub", "mixture"] = "mini"
    """`mini` and `gsm_symbolic` are made here; `file`: jsonl, parquet or csv; `hub`: a data set; `mixture`: `parts`."""
    split: str | None = None
    """For `mini`: train, dev, easy, hard, unseen; `gsm_symbolic`: train, dev, seen, weak, unseen; `hub`: its split."""
    path: str | None = None
    """For `file`: the file; for `hub`: the data set's id, as in `openai/gsm8k`."""
    name: str | None = None
    """For `hub`: the configuration, where the data set has several."""
    revision: str | None = None
    """For `hub`: the commit (40 hex digits) to load, so that a run can be repeated; required."""
    columns: Columns | None = None
    """For `file` and `hub`; absent: question or problem, answer, solution, difficulty or level, source."""
    answer: Literal["plain", "gsm8k", "boxed", "integer"] = "plain"
    """How the gold answer stands in its column: as it is, after `####`, in the last \\boxed{}, or as a whole number."""
    keep: dict[str, list[str | int]] = {}
    """For `file` and `hub`: column → values; only rows with one of these values are taken."""
    drop: dict[str, list[str | int]] = {}
    """For `file` and `hub`: column → values; rows with one of these values are not taken."""
    order: Literal["given", "shuffled"] = "given"
    """`shuffled`: an order drawn from the run's seed and each question, so that the first `n` are a random choice."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Problems to pass over before the first is taken, so that two sets of one source share none."""
    n: Count | None = None
    """How many problems to take, from the first; all where absent."""
    unusable: Literal["refuse", "leave_out"] = "refuse"
    """Rows without a question or a gold answer that can be checked, or asked before: refused, or left out and told."""
    parts: dict[Name, Dataset] = {}
    """For `mixture`: the data sets that are joined, by name, each with its own `n`."""
    wrong_gold_share: Share = 0.0
    """For `mini`: this share of the gold answers is replaced by wrong ones, to see what the filters let through."""

    @pydantic.model_validator(mode="after")
    def complete(self) -> Dataset:
        given = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if stray := sorted(given - FIELDS_OF[self.source]):
            raise ValueError(f"source `{self.source}` has no `{stray[0]}`: remove it")
        if (splits := SPLITS_OF.get(self.source)) and (self.split not in splits or self.n is None):
            raise ValueError(f"source `{self.source}` needs `split` ({', '.join(splits)}) and `n`")
        if self.source == "file" and self.path is None:
            raise ValueError("source `file` needs `path`")
        if self.source == "hub":
            if self.path is None or self.split is None:
                raise ValueError("source `hub` needs `path` and `split`")
            if self.revision is None or not COMMIT.fullmatch(self.revision):
                commits = f"https://huggingface.co/datasets/{self.path}/commits/main"
                raise ValueError(f"source `hub` needs `revision`: the 40 hex digits of a commit listed at {commits}")
        if self.source == "mixture":
            if not self.parts:
                raise ValueError("source `mixture` needs `parts`")
            if odd := [name for name, part in self.parts.items() if part.source in (*SPLITS_OF, "mixture")]:
                raise ValueError(f"parts.{odd[0]}: a part of a mixture is a `file` or from the `hub`")
        return self


class Decontamination(OptionGroup):
    enabled: bool | None = None
    """Whether training problems that overlap with a held-out one are removed; absent: yes, but of those made here."""
    n: Annotated[int, Field(ge=2)] = 13
    """So many equal words in a row are an overlap (Brown et al. 2020, appendix C: 13); equal questions always are."""
    common: Count = 10
    """Words in a row that more training problems than this share are a stock phrase and do not count (there: 10)."""


class Problems(OptionGroup):
    train: Dataset
    """The problems that the teacher is sampled on and students are trained on."""
    dev: Dataset
    """Held out for tuning: anything tuned is tuned here, on rejection sampling, and written down."""
    test: dict[Name, Dataset]
    """The benchmarks' problems by name, held out from training and tuning."""
    instruction: str = ""
    """Put behind every question after a blank line, in training and benchmarks alike: the form of the answer."""
    license: str | None = None
    """On what terms the training problems may be used, for the students' cards."""
    decontamination: Decontamination = Decontamination()
    """Which training problems are held out after all. Those made here are disjoint by construction."""

    @property
    def decontaminated(self) -> bool:
        """Whether the training problems are compared with the held-out ones."""
        chosen = self.decontamination.enabled
        return self.train.source not in SPLITS_OF if chosen is None else chosen


class WarmUpData(OptionGroup):
    templates: Literal["easy", "taught"]
    """The gsm_symbolic templates of the worked examples: the easy ones, or all but the unseen ones."""
    per_template: Count
    """Examples of each template."""
    per_weak_template: Count = 1
    """For `taught`: examples of each weak template, of which the model is to know too little."""
    hinted_share: Share = 0.0
    """Share of the examples of templates that are not weak with a hint, at the start or mid-trace."""
