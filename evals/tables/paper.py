"""What is known of the paper beside this run: every published number, ours, its interval and a verdict.

Reads evals/paper.yaml, the experiment, the run's answers, premise.json and train problems; writes --out (csv), and md.

    python -m evals.tables.paper --run results/paper --experiment '{"run": "paper", …the whole config as JSON}' \\
        --out results/paper/tables/paper.csv

A setting agrees or differs. A result gets a verdict only where it can be compared: the same models and benchmarks,
HEAL's premise present, several teacher draws (all students of one draw share its luck), and an interval that tells the
paper's number from no difference at all. Everything else is "cannot say", with the reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pydantic

from evals import stats
from evals.results import UNTRAINED, Run
from evals.tables.comparison import broken_premises, claim, is_mini
from evals.tables.render import csv_of, markdown_table, with_interval
from heal import records, registry
from heal.command import command_parser
from heal.config import experiment as config
from heal.config.options import OptionGroup, read_yaml, validate
from heal.errors import HealError, exit_with_errors
from heal.method.base import Method
from heal.pipeline.runner import parsed
from heal.provenance import recorded

FILE = Path(__file__).parents[1] / "paper.yaml"
COLUMNS = ["item", "unit", "paper", "teacher", "student", "ours", "low", "high", "covers", "verdict", "why"]
COLUMNS += ["status", "confidence", "source"]
AGREES, DIFFERS, CANNOT_SAY = "agrees", "differs", "cannot say"
CLOSE = 1e-3  # relative: a third is written as 0.333333
SIGNS = {"positive": 1, "negative": -1}


class Ours(OptionGroup):
    option: str = ""
    """A field of the config, its groups joined by dots; `heal.…` is one of the method heal."""
    matches: str = ""
    """For teachers and students: what the path of one of them must match."""
    count: bool = False
    """For a list: its length is compared."""
    unless: str = ""
    """A field that puts `option` out of effect where it is set."""
    difference: str = ""
    """The method whose accuracy is compared, averaged over the benchmarks."""
    to: str = ""
    """With which method's; `untrained` is the student before training."""
    benchmarks: list[str] = []
    """The problems asked; every benchmark of the run that asks one of them counts."""
    student: str = ""
    """What the path of the student must match."""
    unsolved: list[str] = []
    """The problems of which the share is taken that the teacher never solves."""
    repeats: int = 1
    """In so many repeats."""


class Number(OptionGroup):
    item: str
    """What it is."""
    paper: float | int | str
    """The published value, or the sign of a difference."""
    unit: str
    """Of both values."""
    status: Literal["abstract", "reported"]
    """Where it stands: a key of `sources`."""
    confidence: Literal["high", "medium", "low"]
    """How sure it is that the paper says so."""
    rounding: float = 0.0
    """What the published value may be off by."""
    ours: Ours | None = None
    """Where ours is found; nothing is compared where absent."""
    needs: list[str] = []
    """Items that must agree, or nothing can be said."""
    why: str = ""
    """Why nothing is compared."""


class Paper(OptionGroup):
    sources: dict[str, str]
    """Status → the text it was read in."""
    numbers: list[Number]
    """Every published number."""

    @pydantic.model_validator(mode="after")
    def consistent(self) -> Paper:
        items = [number.item for number in self.numbers]
        for number in self.numbers:
            if items.count(number.item) > 1:
                raise ValueError(f"{number.item!r} stands twice")
            if number.status not in self.sources:
                raise ValueError(f"{number.item}: no source for status {number.status!r}")
            if unknown := set(number.needs) - set(items):
                raise ValueError(f"{number.item}: needs {min(unknown)!r}, which is no item")
            if number.ours is None and not number.why:
                raise ValueError(f"{number.item}: says neither where ours is found nor why nothing is compared")
        return self


@dataclass(frozen=True)
class Found:
    """Our side of a number, and what follows from it."""

    verdict: str
    why: str = ""
    ours: Any = ""
    interval: stats.Interval | stats.TTest | None = None
    covers: str = ""
    teacher: str = ""
    student: str = ""


@dataclass(frozen=True)
class Setting:
    """What a comparison with the paper rests on. hopeless: why no result of this run can be compared, or nothing."""

    run: Run
    experiment: config.Experiment
    methods: Mapping[str, Method]
    asked: Mapping[str, str]  # benchmark → problems
    hopeless: str


def setting_value(setting: Setting, field: str) -> Any:
    """A field of the config, or of the method heal's options. Raises HealError where there is none."""
    group, _, rest = field.partition(".")
    start: Any = setting.experiment.model_dump()
    if group == "heal":
        if "heal" not in setting.methods:
            return None
        start, field = setting.methods["heal"].options.model_dump(), rest
    try:
        return reduce(lambda value, key: value[key], field.split("."), start)
    except (KeyError, TypeError):
        raise HealError(f"no field {field!r} in the config", where=str(FILE), fix="mend `option` there") from None


def compare_setting(number: Number, asked: Ours, setting: Setting) -> Found:
    """Whether our option is the paper's value."""
    value = setting_value(setting, asked.option)
    if value is None:
        return Found(CANNOT_SAY, "this run has no method named heal, or no such value")
    if asked.matches:
        paths = [model["path"] for model in value.values()]
        alike = any(re.search(asked.matches, path) for path in paths)
        return Found(AGREES if alike else DIFFERS, ours=", ".join(paths))
    if asked.unless and (instead := setting_value(setting, asked.unless)) is not None:
        return Found(DIFFERS, f"{asked.unless} decides instead", f"{instead} {asked.unless.rpartition('.')[2]}")
    value = len(value) if asked.count else value
    if isinstance(value, str) or isinstance(number.paper, str):
        alike = value == number.paper
    else:
        alike = math.isclose(value, number.paper, rel_tol=CLOSE)
    return Found(AGREES if alike else DIFFERS, ours=value)


def judge(number: Number, interval: stats.Interval | stats.TTest, difference: bool) -> tuple[str, str]:
    """(verdict, why) of our interval on the paper's number."""
    low, high = interval.low, interval.high
    if math.isnan(low):
        return CANNOT_SAY, "no interval: too few replicates, or no variation between them"
    if isinstance(number.paper, str):
        ends = sorted((SIGNS[number.paper] * low, SIGNS[number.paper] * high))
        if ends[0] <= 0 <= ends[1]:
            return CANNOT_SAY, "the interval holds both signs"
        return (AGREES if ends[0] > 0 else DIFFERS), ""
    if low > number.paper + number.rounding or high < number.paper - number.rounding:
        return DIFFERS, ""
    if difference and low <= 0 <= high:
        return CANNOT_SAY, "the interval holds the paper's number, and no difference as well"
    return AGREES, ""


def compare_difference(number: Number, asked: Ours, setting: Setting, teacher: str, student: str) -> Found:
    """The difference of two methods over the benchmarks, each benchmark counting the same."""
    run = setting.run
    whose: dict[str, Any] = {"teacher": teacher, "student": student}
    benchmarks = [name for name in run.benchmarks if setting.asked[name] in asked.benchmarks]
    absent = [name for name in (asked.difference, asked.to) if name not in (*run.methods, UNTRAINED)]
    if absent:
        return Found(CANNOT_SAY, f"this run has no method {absent[0]}", **whose)
    if not benchmarks:
        return Found(CANNOT_SAY, f"this run asks none of {', '.join(asked.benchmarks)}", **whose)
    compared = [name for name in (asked.difference, asked.to) if name != UNTRAINED]
    if any(run.mixed_engines(teacher, student, compared, name) for name in benchmarks):
        return Found(CANNOT_SAY, "answered on different engines", **whose)

    def means_SB(method: str) -> np.ndarray:
        columns = []
        for name in benchmarks:
            if method == UNTRAINED:
                mean = run.untrained_scores(teacher, student, name).mean()
                columns.append(np.full(run.seeds if run.draws == 1 else run.draws, mean))
            else:
                columns.append(claim(run.scores(teacher, student, method, name)).mean(axis=1))
        return np.stack(columns, axis=1)

    test = stats.compute_paired_t(means_SB(asked.difference), means_SB(asked.to))
    verdict, why = judge(number, test, difference=True)
    covers = "draws, seeds; these questions" if run.draws > 1 else "seeds; these questions, this draw"
    if run.draws == 1:
        verdict, why = CANNOT_SAY, "one draw of the teacher, whose luck all students share: set `draws`"
    return Found(verdict, why, test.diff, test, covers, **whose)


def compare_unsolved(number: Number, asked: Ours, setting: Setting, teacher: str) -> Found:
    """The share of questions that the teacher never solves in so many repeats."""
    run = setting.run
    here = [name for name in run.benchmarks if setting.asked[name] in asked.unsolved]
    if not here:
        return Found(CANNOT_SAY, f"this run asks none of {', '.join(asked.unsolved)}", teacher=teacher)
    scores_QR = run.answers(run.teacher_path(teacher, here[0]), here[0]).scores_QR
    repeats = scores_QR.shape[1]
    if repeats < asked.repeats:
        return Found(CANNOT_SAY, f"{repeats} repeats of {here[0]}, where {asked.repeats} are needed", teacher=teacher)
    unsolved_Q = [1 - stats.estimate_pass_at_k(repeats, int(right), asked.repeats) for right in scores_QR.sum(axis=1)]
    interval = stats.compute_crossed_bootstrap([unsolved_Q])
    verdict, why = judge(number, interval, difference=False)
    return Found(verdict, why, interval.mean, interval, interval.covers, teacher)


def compare_result(number: Number, asked: Ours, setting: Setting, verdicts: Mapping[str, str]) -> Iterator[Found]:
    """One for each teacher and student that the number is about; one alone where nothing can be compared."""
    others = [item for item in number.needs if verdicts[item] != AGREES]
    if setting.hopeless or others:
        yield Found(CANNOT_SAY, setting.hopeless or f"another {', another '.join(others)}")
        return
    students = setting.experiment.students
    meant = [name for name in students if re.search(asked.student, students[name].path)]
    if asked.unsolved:
        yield from (compare_unsolved(number, asked, setting, teacher) for teacher in setting.run.teachers)
    elif not meant:
        yield Found(CANNOT_SAY, "other students")
    else:
        pairs = product(setting.run.teachers, meant)
        yield from (compare_difference(number, asked, setting, *pair) for pair in pairs)


def table(paper: Paper, setting: Setting) -> pd.DataFrame:
    """One row per number, and of results one per teacher and student; columns as COLUMNS."""
    rows: list[dict[str, Any]] = []
    verdicts: dict[str, str] = {}
    for number in paper.numbers:
        if number.ours is None:
            found = [Found(CANNOT_SAY, number.why)]
        elif number.ours.option:
            found = [compare_setting(number, number.ours, setting)]
        else:
            found = list(compare_result(number, number.ours, setting, verdicts))
        verdicts[number.item] = found[0].verdict
        for one in found:
            bounds = (one.interval.low, one.interval.high) if one.interval else (math.nan, math.nan)
            rows.append(
                {"item": number.item, "unit": number.unit, "paper": told(number.paper), "ours": told(one.ours)}
                | {"teacher": one.teacher, "student": one.student, "low": bounds[0], "high": bounds[1]}
                | {"covers": one.covers, "verdict": one.verdict, "why": one.why}
                | {"status": number.status, "confidence": number.confidence, "source": paper.sources[number.status]}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def markdown(frame: pd.DataFrame, notes: Sequence[str]) -> str:
    header = ["item", "paper", "ours [95 %]", "unit", "verdict", "why", "confidence"]
    rows = []
    for row in frame.to_dict("records"):
        known = not math.isnan(row["low"])
        ours = with_interval(float(row["ours"]), row["low"], row["high"]) if known else row["ours"]
        whose = ", ".join(filter(None, (row["teacher"], row["student"])))
        item = f"{row['item']} ({whose})" if whose else row["item"]
        rows.append([item, row["paper"], ours, row["unit"], row["verdict"], row["why"], row["confidence"]])
    return "\n".join(["# The paper and this run\n", markdown_table(header, rows, lambda i: True), ""]) + "".join(
        f"* {note}\n" for note in notes
    )


def notes(run: Run, paper: Paper) -> list[str]:
    return [
        f"Run {run.folder.name}. HEAL is re-implemented from a description: only the paper's abstract was available.",
        *(f"{status}: {source}." for status, source in paper.sources.items()),
        "confidence: that the paper says so. high: the abstract; medium: an exact value at second hand; low: rounded "
        "or vague.",
        "Differences: paired t over the means of teacher draws, benchmarks counting the same; unsolved: a bootstrap "
        "over questions. `covers` in the csv says of which variance an interval is.",
    ]


def setting_of(folder: Path, experiment: config.Experiment) -> Setting:
    """Raises HealError for an experiment whose methods cannot be settled, and a missing premise.json."""
    e = experiment
    axes = (list(e.teachers), list(e.students), list(e.methods), list(e.benchmarks))
    run = Run(folder, *axes, e.teacher_seeds, e.training_seeds)
    premises = broken_premises(run)
    hopeless = f"premise absent: {premises[0]}" if premises else ""
    if is_mini(folder / "problems" / "train.parquet"):
        hopeless = "the mini world is no test of the paper"
    asked = registry.benchmarks()
    return Setting(run, e, registry.resolve(e, where="--experiment"), asked, hopeless)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--run", required=True, help="results/<run>")
    parser.add_argument("--experiment", required=True, help="the whole config as JSON")
    parser.add_argument("--out", required=True, help="the csv; the md is written beside it")
    arguments = parser.parse_args()
    content = parsed(arguments.experiment, "--experiment")
    out, experiment = Path(arguments.out), validate(config.Experiment, content, where="--experiment")
    with recorded(
        out, "evals.tables.paper", options={"run": arguments.run, "experiment": json.loads(arguments.experiment)}
    ):
        paper = validate(Paper, read_yaml(FILE), where=str(FILE))
        setting = setting_of(Path(arguments.run), experiment)
        frame = table(paper, setting)
        records.write_text(out, csv_of(frame))
        records.write_text(out.with_suffix(".md"), markdown(frame, notes(setting.run, paper)))


if __name__ == "__main__":
    exit_with_errors(main)
