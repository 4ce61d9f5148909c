"""Load the problems of one split, and check each before any GPU time: from a world, a file, the hub, or a mixture.

Reads a data set as its section of the config says; writes one row per problem (schema `problems`). A file (jsonl,
json, parquet, csv) with the columns of a hub data set gives the same problems as the data set, also offline.

    heal load-problems --config config/config.yaml --split train --out problems/train.parquet
    heal load-problems --dataset.source mini --dataset.split hard --dataset.n 100 --out hard.parquet
    heal load-problems --dataset.source file --dataset.path my.jsonl --out problems/train.parquet
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from heal import records
from heal.command import Command, Section
from heal.config.data import Dataset
from heal.data.gold_answers import write_number
from heal.data.read_rows import read_rows
from heal.data.rows import parse_row
from heal.errors import HealError
from heal.grading.grader import Grader, check_gold
from heal.outcome import Outcome, record_outcome
from heal.provenance import record_run
from heal.records import Row, hash_content
from heal.worlds.base import add_instruction
from heal.worlds.registry import generate_problems

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""


class LoadProblems(Command):
    split: str = "train"
    """Which problem set of the config: train, dev, or a name under problems.test."""
    dataset: Annotated[Dataset, Section("splits.{split}")]
    """The problem set."""
    instruction: Annotated[str, Section("problems.instruction")] = ""
    """Text after every question and a blank line."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run."""
    out: Path
    """The parquet file to write."""

    def run(self) -> None:
        facts: dict[str, Any] = {"options": self.describe_options(), "seeds": [self.seed]}
        with record_run(self.out, "load-problems", VERSION, facts):
            rows, facts["left_out"] = collect(self.dataset, self.seed, self.instruction)
            records.write(self.out, "problems", rows)
            left_out = {"left_out": len(facts["left_out"])} if facts["left_out"] else {}
            facts |= record_outcome(Outcome(len(rows), reasons=left_out))


@dataclass(frozen=True)
class Candidate:
    """A row of a data set, before it is checked."""

    where: str
    """File or data set, and row number from 1."""
    problem: Row | HealError
    """The problem, or what is wrong with the row."""


def load(dataset: Dataset, seed: int) -> list[Row]:
    """The problems of a data set, without an instruction."""
    return collect(dataset, seed)[0]


def collect(dataset: Dataset, seed: int, instruction: str = "") -> tuple[list[Row], list[Row]]:
    """(the problems, the rows that were left out: where and reason).

    A problem's id is a hash of its question and the instruction.
    """
    left_out: list[Row] = []
    with Grader() as grader:
        usable = select_usable(dataset, seed, grader, left_out)
    rows = []
    for _, row in usable:
        row["question"] = add_instruction(row["question"], instruction)
        row["problem_id"] = hash_content("problem", row["question"])
        rows.append(row)
    return rows, left_out


def select_usable(dataset: Dataset, seed: int, grader: Grader, left_out: list[Row]) -> list[tuple[str, Row]]:
    """(place, problem) of a data set: its rows in order, checked, without the first `skip`, at most `n`.

    A faulty row (no question, no gold answer that can be checked, a question that an earlier row has) raises HealError
    or, as `unusable` says, is added to `left_out`.
    """
    candidates = read_candidates(dataset, seed, grader, left_out)
    if dataset.order == "shuffled":
        candidates.sort(key=lambda candidate: compute_order(candidate, seed))
    limit = None if dataset.n is None else dataset.skip + dataset.n
    usable: list[tuple[str, Row]] = []
    first_places: dict[str, str] = {}
    for candidate in candidates:
        if len(usable) == limit:
            break
        try:
            problem = check_candidate(candidate, first_places, grader)
        except HealError as error:
            if dataset.unusable == "refuse":
                raise
            left_out.append({"where": candidate.where, "reason": error.problem})
        else:
            usable.append((candidate.where, problem))
    if not usable[dataset.skip :]:
        where = describe_place(dataset) or "the mixture"
        fix = "loosen keep, drop or skip, or give another file"
        raise HealError(f"no problem is left of {len(candidates)} rows", where=where, fix=fix)
    return usable[dataset.skip :]


def compute_order(candidate: Candidate, seed: int) -> str:
    """Sort key of a shuffled order, which depends on seed and question alone; faulty rows come first."""
    problem = candidate.problem
    return "" if isinstance(problem, HealError) else hash_content(seed, problem["question"])


def check_candidate(candidate: Candidate, first_places: dict[str, str], grader: Grader) -> Row:
    """The problem. Raises HealError where it is faulty.

    first_places: normalized question → place of the first row with it; the candidate is added.
    """
    problem, where = candidate.problem, candidate.where
    if isinstance(problem, HealError):
        raise problem
    question = normalize_question(problem["question"])
    if question in first_places:
        file, _, row = first_places[question].rpartition(", ")
        first = row if file == where.rpartition(", ")[0] else first_places[question]
        fix = "remove one of them, or set unusable: leave_out"
        raise HealError(f"the same question as in {first}", where=f"{where}, field question", fix=fix)
    check_gold(problem["answer"], grader, where=f"{where}, field answer")
    first_places[question] = where
    return problem


def normalize_question(question: str) -> str:
    """Equal for questions that differ in blanks, or in how Unicode writes a letter with an accent."""
    return " ".join(unicodedata.normalize("NFC", question).split())


def read_candidates(dataset: Dataset, seed: int, grader: Grader, left_out: list[Row]) -> list[Candidate]:
    """Every row of a data set that its filters select, before order, `skip` and `n`."""
    if dataset.source == "mixture":
        candidates = []
        for part in dataset.parts.values():
            for where, row in select_usable(part, seed, grader, left_out):
                candidates.append(Candidate(where, row))
        return candidates
    place = describe_place(dataset)
    if dataset.from_world:
        rows = generate_problems(dataset, seed)
        return [Candidate(f"{place}, row {number}", row) for number, row in enumerate(rows, 1)]
    return parse_rows(read_hub(dataset) if dataset.source == "hub" else read_rows(str(dataset.path)), dataset, seed)


def parse_rows(rows: Sequence[Row], dataset: Dataset, seed: int) -> list[Candidate]:
    """The rows of a file or a hub data set that its filters select."""
    place = describe_place(dataset)
    if not rows:
        raise HealError("no rows", where=place, fix="give a file with at least one problem")
    check_filters(rows, dataset, place)
    source = str(dataset.path) if dataset.source == "hub" else Path(str(dataset.path)).stem
    candidates = []
    for number, row in enumerate(rows, 1):
        if not passes_filters(row, dataset):
            continue
        where = f"{place}, row {number}"
        problem: Row | HealError
        try:
            problem = parse_row(row, dataset, where, source, seed)
        except HealError as error:
            problem = error
        candidates.append(Candidate(where, problem))
    return candidates


def read_hub(dataset: Dataset) -> list[Row]:
    """The rows of a hub data set at its commit, unchanged. Raises HealError with the way to use a file instead."""
    import datasets

    try:
        # The library runs no code of a data set (scripts are refused since 4.0), and reads no pickle.
        rows = datasets.load_dataset(dataset.path, dataset.name, split=dataset.split, revision=dataset.revision)
    except Exception as error:  # no network, no such commit, no access, no such split: they share no base class
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem = f"cannot be loaded from the hub ({first_line:.300})"
        raise HealError(problem, where=describe_place(dataset), fix=explain_offline(dataset)) from error
    return rows.to_list()


def describe_place(dataset: Dataset) -> str:
    """File, or data set with split and commit, for messages; empty for a mixture."""
    if dataset.source == "hub":
        return f"{'/'.join(filter(None, [dataset.path, dataset.name, dataset.split]))} at {str(dataset.revision)[:8]}"
    return f"{dataset.source}/{dataset.split}" if dataset.from_world else dataset.path or ""


def explain_offline(dataset: Dataset) -> str:
    """How to get a hub data set, on a machine without a network too."""
    return (
        "check path, name, split and revision, and (gated data sets) that you asked for access and are logged in; "
        f"without a network, fetch it elsewhere with `hf download {dataset.path} --repo-type dataset "
        f"--revision {dataset.revision} --local-dir DIR` and set source: file, path: the jsonl, json, parquet or csv "
        f"file of the split {dataset.split!r} in DIR, without name, revision and split; columns and the rest stay as "
        "they are"
    )


def check_filters(rows: Sequence[Row], dataset: Dataset, where: str) -> None:
    """Raises HealError for a column or a value of `keep` or `drop` that no row has: such a filter is a mistake."""
    for option, filters in (("keep", dataset.keep), ("drop", dataset.drop)):
        for column, values in filters.items():
            present = list_values(rows, column)
            if not present:
                fix = f"the columns are {', '.join(list_columns(rows))}"
                raise HealError(f"no column {column!r}", where=f"{where}, {option}", fix=fix)
            for value in values:
                if format_value(value) not in present:
                    problem = f"no row has {value!r} in column {column!r}"
                    fix = f"its values are {', '.join(present[:20])}{' …' if len(present) > 20 else ''}"
                    raise HealError(problem, where=f"{where}, {option}", fix=fix)


def list_values(rows: Iterable[Row], column: str) -> list[str]:
    """The different values of a column as text, sorted."""
    return sorted({format_value(row[column]) for row in rows if column in row})


def format_value(value: object) -> str:
    """A value as a filter compares it: 5.0, which a column of numbers with gaps has, is 5."""
    return write_number(value) if isinstance(value, float) else str(value)


def list_columns(rows: Iterable[Row]) -> list[str]:
    """The columns of the rows, in order of appearance."""
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    return list(columns)


def passes_filters(row: Row, dataset: Dataset) -> bool:
    """Whether `keep` and `drop` select a row."""
    for column, values in dataset.keep.items():
        if format_value(row.get(column)) not in map(format_value, values):
            return False
    return not any(
        format_value(row.get(column)) in map(format_value, values) for column, values in dataset.drop.items()
    )
