"""A few rows in the columns of each data set of a config, written as local files, and the config that reads them.

Every row passes or fails the config's filters on purpose, and one training question is held out as well, so that
filters and decontamination have something to do. A world stays as it is, with few problems.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heal.data.load_problems import collect
from heal.records import Row, hash_content, write_text
from heal.rehearsal.traces import EASY, KINDS, TEST_KINDS, RehearsalProblem

COUNTS = {"train": 6, "dev": 2}
"""Problems per set; PART_COUNT for a part of a mixture, FIRST_TEST_COUNT and TEST_COUNT for the benchmarks."""
PART_COUNT = 4
FIRST_TEST_COUNT = 2
TEST_COUNT = 1
WORLD_COUNTS = {"train": 16, "dev": 4}
QUESTION = "({}) Which number is {}?"
SOLUTION = "The question names the number.\n\nSo it is {}."
OTHER = "another"
FORMS = {"boxed": "So it is $\\boxed{{{}}}$.", "gsm8k": "The question names it: {0}.\n#### {0}"}
MAX_TRIES = 10_000


@dataclass
class DataFile:
    """One local file, shared by the problem sets that read the same data set and split."""

    path: Path
    users: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(name of the problem set, its section of the config)."""


class DataWriter:
    """Replaces the data sets of a config (plain content, as in YAML) by local files. folder: where they are written."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.random = random.Random(seed)
        self.files: dict[tuple[Any, ...], DataFile] = {}
        self.numbers: set[str] = set()
        self.held_out: list[Row] = []
        self.kept_rows = 0

    def replace(self, problems: dict[str, Any]) -> None:
        """Changes the section `problems` in place and writes the files."""
        sets = {"dev": problems["dev"], **problems["test"], "train": problems["train"]}
        for name, dataset in sets.items():
            for part in self.list_parts(dataset):
                if part["source"] == "hub":
                    key = (part["path"], part.get("name"), part["split"])
                    suffix = ".parquet" if len(self.files) % 2 else ".jsonl"
                    stem = "_".join(str(item).replace("/", "_") for item in key if item)
                    self.files.setdefault(key, DataFile(self.folder / (stem + suffix))).users.append((name, part))
        counts = dict.fromkeys(problems["test"], TEST_COUNT) | COUNTS
        counts |= dict.fromkeys(list(problems["test"])[:1], FIRST_TEST_COUNT)
        for name, dataset in sets.items():
            shrink_dataset(name, dataset, counts[name])
        for file in self.files.values():
            self.write_file(file)

    def make_paths_relative(self, root: Path) -> None:
        """Names the files relative to the working copy, where the jobs start."""
        for file in self.files.values():
            for _, part in file.users:
                part["path"] = str(file.path.relative_to(root))

    @staticmethod
    def list_parts(dataset: dict[str, Any]) -> list[dict[str, Any]]:
        return list(dataset["parts"].values()) if dataset["source"] == "mixture" else [dataset]

    def write_file(self, file: DataFile) -> None:
        """The rows for every user of the file; each user's section then names the file."""
        rows: list[Row] = []
        for number, (name, part) in enumerate(sorted(file.users, key=lambda user: user[1].get("skip", 0))):
            if number == 0:
                rows += self.write_dropped_rows(part)
            first, count = part.get("skip", 0), part["n"]
            kinds = KINDS if name in COUNTS else TEST_KINDS
            total = max(user.get("skip", 0) + user["n"] for _, user in file.users)
            for index in range(first, first + count):
                span = (index / total, (index + 1) / total) if part.get("order") == "shuffled" else (0.0, 1.0)
                rows.append(self.write_row(part, kinds[(index - first) % len(kinds)], span))
            if name == "train" and self.held_out and part.get("order") != "shuffled":
                rows.append(self.write_repeated_row(part))
                part["n"] += 1
            if name not in ("train", "dev") and not part["columns"].get("wrong_choices"):
                self.held_out += rows[-1:]
        rows += self.write_missing_rows(file.users[0][1], rows)
        columns: Row = {}
        for row in rows:
            columns |= dict.fromkeys(row)
        rows = [columns | row for row in rows]
        file.path.parent.mkdir(parents=True, exist_ok=True)
        if file.path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist([make_uniform(row) for row in rows]), file.path)
        else:
            write_text(file.path, "".join(json.dumps(row) + "\n" for row in rows))
        for _, part in file.users:
            part |= {"source": "file", "path": str(file.path)}
            for option in ("name", "revision", "split"):
                part.pop(option, None)

    def write_row(self, part: Mapping[str, Any], kind: str, span: tuple[float, float]) -> Row:
        """A row that passes the filters. span: where its question falls in a shuffled order, as shares of all."""
        for _ in range(MAX_TRIES):
            number = str(self.random.randrange(111, 1000))
            question = QUESTION.format(kind, number)
            place = int(hash_content(self.seed, question)[:8], 16) / 16**8
            if number not in self.numbers and "0" not in number and span[0] <= place < span[1]:
                self.numbers.add(number)
                return self.fill_columns(part, question, number)
        raise RuntimeError("no free number is left for the rehearsal's questions")

    def fill_columns(self, part: Mapping[str, Any], question: str, number: str) -> Row:
        """The columns that the config names, and those of its filters."""
        names = part.get("columns") or {"question": "question", "answer": "answer"}
        content = FORMS.get(part.get("answer", "plain"), "{}").format(number)
        row: Row = {names["question"]: question}
        row[names["answer"]] = int(number) if part.get("answer") == "integer" else content
        for distance, column in enumerate(names.get("wrong_choices") or [], 1):
            row[column] = str(int(number) + 7 * distance)
        if names.get("solution"):
            row.setdefault(names["solution"], SOLUTION.format(number))
        if names.get("difficulty"):
            row.setdefault(names["difficulty"], "5")
        for column, values in (part.get("keep") or {}).items():
            self.kept_rows += 1
            row[column] = values[self.kept_rows % len(values)]
        for column, values in (part.get("drop") or {}).items():
            row[column] = type(values[0])(0)
        return row

    def write_dropped_rows(self, part: Mapping[str, Any]) -> list[Row]:
        """One row per value of `drop`, and one that `keep` leaves out."""
        rows = []
        for column, values in (part.get("drop") or {}).items():
            rows += [self.write_row(part, EASY, (0.0, 1.0)) | {column: value} for value in values]
        for column in part.get("keep") or {}:
            rows.append(self.write_row(part, EASY, (0.0, 1.0)) | {column: OTHER})
        return rows

    def write_missing_rows(self, part: Mapping[str, Any], rows: list[Row]) -> list[Row]:
        """One row for each value of `keep` that no row has, as a filter for a value that is not there is an error."""
        missing = []
        for column, values in (part.get("keep") or {}).items():
            for value in values:
                if all(row.get(column) != value for row in rows):
                    missing.append(self.write_row(part, EASY, (0.0, 1.0)) | {column: value})
        return missing

    def write_repeated_row(self, part: Mapping[str, Any]) -> Row:
        """A training row with the question of a held-out problem."""
        question = next(value for value in self.held_out[0].values() if str(value).startswith("("))
        return self.fill_columns(part, question, question.rpartition(" ")[2].rstrip("?"))


def shrink_dataset(name: str, dataset: dict[str, Any], most: int) -> None:
    """Sets `n` (at most `most`), and `skip` so that sets of one source still share no problem."""
    if dataset["source"] == "mixture":
        for part in dataset["parts"].values():
            shrink_dataset(name, part, PART_COUNT)
        dataset.pop("n", None)
        return
    if dataset["source"] not in ("file", "hub"):
        most = WORLD_COUNTS.get(name, most)
        dataset["n"] = min(dataset.get("n") or most, most)
        return
    dataset["n"] = min(dataset.get("n") or most, most)
    if dataset.get("skip"):
        dataset["skip"] = COUNTS["dev"]


def make_uniform(row: Row) -> Row:
    """Numbers as text where a column may hold both, as parquet has one type per column."""
    return {column: value if value is None else str(value) for column, value in row.items()}


def list_problems(sets: Mapping[str, Any], instruction: str, seed: int) -> list[RehearsalProblem]:
    """The problems of the rehearsal as the run loads them, each once. sets: name → Dataset."""
    problems: dict[str, RehearsalProblem] = {}
    for dataset in sets.values():
        rows, _ = collect(dataset, seed, instruction)
        for number, row in enumerate(rows):
            kind = find_kind(row["question"], number)
            problems.setdefault(row["question"], RehearsalProblem(row["question"], row["answer"], kind))
    return list(problems.values())


def find_kind(question: str, number: int) -> str:
    """The kind that the question names; of a world's question, the next in turn."""
    if question.startswith("("):
        word = question[1:].partition(")")[0]
        if word in KINDS:
            return word
    return KINDS[number % len(KINDS)]
