"""The data part of a config: where problems come from, and how training problems are kept apart from held-out ones.

heal.config.experiment has the rest. heal.data.load_problems and heal.data.decontaminate do what is configured here;
heal.worlds.registry checks the names and options of worlds, which no class here knows.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from heal.config.options import Count, LocalPath, Name, OptionGroup

COMMIT = re.compile(r"[0-9a-f]{40}")


class Columns(OptionGroup):
    question: str
    """Column with the question."""
    answer: str
    """Column with the gold answer, or with text that contains it (see `answer` of the problem set)."""
    solution: str | None = None
    """Column with a worked solution, its steps split by blank lines."""
    difficulty: str | None = None
    """Column with the difficulty."""
    wrong_choices: list[str] = []
    """For multiple choice: columns with the wrong choices; they and the gold answer become lettered lines (ours)."""


COMMON_FIELDS = {"source", "n", "skip", "order", "unusable"}
ROW_FIELDS = {"path", "columns", "answer", "keep", "drop"}
WORLD_FIELDS = {"source", "split", "n", "options"}
FIELDS_BY_SOURCE = {
    "file": COMMON_FIELDS | ROW_FIELDS,
    "hub": COMMON_FIELDS | ROW_FIELDS | {"name", "revision", "split"},
    "mixture": COMMON_FIELDS | {"parts"},
}
OTHER_SOURCES = tuple(FIELDS_BY_SOURCE)
"""The sources that are no worlds."""


class Dataset(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"wrong_gold_share": "options.wrong_gold_share"}
    source: str
    """A world (`mini`, `gsm_symbolic`, …), a `file` (jsonl, parquet, csv), a data set on the `hub`, or a `mixture`."""
    split: str | None = None
    """A split of the world (`heal show-problems WORLD` lists them), or of the data set on the hub."""
    options: dict[str, Any] = {}
    """For a world: its own options, as in `{wrong_gold_share: 0.02}`."""
    path: LocalPath | None = None
    """For `file`: the file. For `hub`: the data set's id, as in `openai/gsm8k`."""
    name: str | None = None
    """For `hub`: the configuration, where the data set has several."""
    revision: str | None = None
    """For `hub`: the commit (40 hex digits) to load, so that a run can be repeated; required."""
    columns: Columns | None = None
    """For `file` and `hub`; default: question or problem, answer, solution, difficulty or level, source."""
    answer: Literal["plain", "gsm8k", "boxed", "integer"] = "plain"
    """Form of the gold answer in its column: plain, after `####`, in the last \\boxed{}, or a whole number."""
    keep: dict[str, list[str | int]] = {}
    """For `file` and `hub`: column → values. Only rows with one of these values are used."""
    drop: dict[str, list[str | int]] = {}
    """For `file` and `hub`: column → values. Rows with one of these values are not used."""
    order: Literal["given", "shuffled"] = "given"
    """`shuffled`: an order that depends on the run's seed and each question, so that the first `n` are random."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Number of problems before the first that is used, so that two sets of one source share none."""
    n: Count | None = None
    """Number of problems; all by default."""
    unusable: Literal["refuse", "leave_out"] = "refuse"
    """Whether rows without question or checkable gold answer, or with a repeated question, are errors or skipped."""
    parts: dict[Name, Dataset] = {}
    """For `mixture`: the joined problem sets by name, each with its own `n`."""

    @property
    def from_world(self) -> bool:
        """Whether a world generates the problems; they have a step checker then, and splits that share nothing."""
        return self.source not in OTHER_SOURCES

    @pydantic.model_validator(mode="after")
    def check_fields(self) -> Dataset:
        changed = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        stray = sorted(changed - FIELDS_BY_SOURCE.get(self.source, WORLD_FIELDS))
        if self.from_world:
            self.check_world_fields(stray)
        elif stray:
            raise ValueError(f"source `{self.source}` has no `{stray[0]}`: remove it")
        if self.source == "file" and self.path is None:
            raise ValueError("source `file` needs `path`")
        if self.source == "hub":
            self.check_hub_fields()
        if self.source == "mixture":
            self.check_parts()
        return self

    def check_world_fields(self, stray: list[str]) -> None:
        """Raises ValueError for a field that no world has, and where split or number is missing."""
        if stray:
            others = ", ".join(f"`{name}`" for name in OTHER_SOURCES)
            raise ValueError(f"source `{self.source}` has no `{stray[0]}`: remove it, or set source to one of {others}")
        if self.split is None or self.n is None:
            raise ValueError(f"source `{self.source}` needs `split` and `n`")

    def check_hub_fields(self) -> None:
        """Raises ValueError where data set, split or commit is missing."""
        if self.path is None or self.split is None:
            raise ValueError("source `hub` needs `path` and `split`")
        if self.revision is None or not COMMIT.fullmatch(self.revision):
            commits = f"https://huggingface.co/datasets/{self.path}/commits/main"
            raise ValueError(f"source `hub` needs `revision`: the 40 hex digits of a commit listed at {commits}")

    def check_parts(self) -> None:
        """Raises ValueError where a mixture has no parts, or one that is a world or a mixture itself."""
        if not self.parts:
            raise ValueError("source `mixture` needs `parts`")
        for name, part in self.parts.items():
            if part.source not in ("file", "hub"):
                raise ValueError(f"parts.{name}: a part of a mixture is a `file` or from the `hub`")


class Decontamination(OptionGroup):
    enabled: bool | None = None
    """Whether training problems that overlap with a held-out one are removed; default: yes, except for worlds."""
    n: Annotated[int, Field(ge=2)] = 13
    """Equal words in a row that count as overlap (Brown et al. 2020, appendix C: 13); equal questions always do."""
    common: Count = 10
    """Words in a row that occur in more training problems than this are a stock phrase and do not count (there: 10)."""


class Problems(OptionGroup):
    train: Dataset
    """The problems that the teacher is sampled on and students are trained on."""
    dev: Dataset
    """Held out for tuning. Everything tuned is tuned on these, with rejection sampling only."""
    test: dict[Name, Dataset]
    """The benchmarks' problems by name, held out from training and tuning."""
    instruction: str = ""
    """Text after every question and a blank line, in training and benchmarks: the form of the answer."""
    license: str | None = None
    """License of the training problems, for the students' model cards."""
    decontamination: Decontamination = Decontamination()
    """How training problems that are also held out are removed. The splits of a world share no problem."""

    @property
    def decontaminated(self) -> bool:
        """Whether the training problems are compared with the held-out ones."""
        enabled = self.decontamination.enabled
        return not self.train.from_world if enabled is None else enabled


class WarmUpData(OptionGroup):
    world: str
    """The world that builds the worked examples."""
    options: dict[str, Any] = {}
    """Its options for them (`WarmUpOptions`) that differ from the defaults."""
