"""Problems of one split, checked before anything is spent on them: made here, from a file or the hub, or a mixture.

Reads a data set as its options say; writes one row per problem (schema `problems`). A file (jsonl, parquet, csv) with
the columns of a hub data set takes the same way as the data set itself, so that offline machines lose nothing.

    python -m heal.data.load_problems --options '{"source": "mini", "split": "train", "n": 1000}' --out problems/train.parquet
    python -m heal.data.load_problems --options '{"source": "file", "path": "my.jsonl"}' --out problems/train.parquet
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Sequence
from pathlib import Path

from heal import records
from heal.config.data import Columns, Dataset
from heal.errors import HealError, exit_with_errors
from heal.grading.grader import Grader, check_gold, extract_boxed, gold_from_gsm8k
from heal.pipeline.runner import arguments_parser, read_options
from heal.provenance import recorded
from heal.records import Row, content_id

Found = list[tuple[str, Row | HealError]]  # where a problem stands → the problem, or what is wrong with it

QUESTION, ANSWER = ("question", "problem"), ("answer",)  # the columns' names where `columns` is absent
CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's annotations for a calculator
INTEGER = re.compile(r"-?\d+")
LETTERS = "ABCDEFGHIJ"


def with_instruction(question: str, instruction: str) -> str:
    """What models are asked: the question and, behind a blank line, the form that the answer must have."""
    return f"{question}\n\n{instruction}" if instruction else question


def gold_answer(content: str, form: str) -> str:
    """The gold answer in a column's content (`Dataset.answer`). Raises HealError where there is none of that form."""
    if form == "gsm8k" or (form == "plain" and "####" in content):
        return gold_from_gsm8k(content)
    if form == "boxed":
        gold = extract_boxed(content)
        if gold is None:
            raise HealError(f"no \\boxed{{}} in {content[-60:]!r}", fix="choose another `answer` form or column")
        return gold
    if form == "integer":
        whole = content.removesuffix(".0")  # a csv or parquet column with gaps holds 33.0
        if not INTEGER.fullmatch(whole):
            raise HealError(f"{content!r:.60} is no whole number", fix="choose another `answer` form or column")
        return str(int(whole))
    return content


def lettered(question: str, right: str, wrong: Sequence[str], seed: int) -> tuple[str, str]:
    """Multiple choice: the question with its choices as lines, and the letter of the right one.

    The order depends on the seed and the question alone, not on the columns' order nor on other questions.
    """
    if right in wrong or len(set(wrong)) < len(wrong) or len(wrong) >= len(LETTERS):
        found = f"{len(wrong) + 1} choices, of which some are equal or too many"
        raise HealError(found, fix="give each question different choices, at most ten")
    choices = sorted([right, *wrong])
    random.Random(f"choices {seed} {question}").shuffle(choices)
    lines = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{question}\n\n{lines}\n\nAnswer with the letter of the right choice.", LETTERS[choices.index(right)]


def from_mini(dataset: Dataset, seed: int) -> list[Row]:
    """Puzzles with their worked solutions; a share of the gold answers is replaced by wrong ones if asked."""
    from heal.worlds.mini import puzzles

    rng = random.Random(f"wrong gold {seed} {dataset.split}")
    rows = []
    for puzzle in puzzles.generate(*which(dataset), seed):
        answer = puzzle.answer
        if rng.random() < dataset.wrong_gold_share:
            answer = str((int(answer) + rng.randrange(1, puzzles.MODULUS)) % puzzles.MODULUS)
        rows.append(
            {
                "question": puzzle.question,
                "answer": answer,
                "solution": puzzles.solution(puzzle),
                "source": f"mini/{dataset.split}",
                "difficulty": puzzle.difficulty,
            }
        )
    return rows


def from_gsm_symbolic(dataset: Dataset, seed: int) -> list[Row]:
    """Word problems with their worked solutions. Raises HealError where the package that makes them is absent."""
    from heal.worlds.gsm_symbolic.problems import generate

    return generate(*which(dataset), seed)


def which(dataset: Dataset) -> tuple[str, int]:
    """Split and number of problems; a data set that is made here has both."""
    assert dataset.split and dataset.n
    return dataset.split, dataset.n


MADE_HERE = {"mini": from_mini, "gsm_symbolic": from_gsm_symbolic}


def read_file(path: str) -> list[Row]:
    """The rows of a jsonl, parquet or csv file, as they are. Raises HealError for another kind of file."""
    suffix = Path(path).suffix
    if suffix == ".jsonl":
        return records.read_jsonl(path)
    if suffix == ".parquet":
        return records.open_table(path).to_pylist()
    if suffix != ".csv":
        raise HealError(f"unknown kind of file {suffix!r}", where=path, fix="give a .jsonl, .parquet or .csv file")
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, strict=True))
    except FileNotFoundError:
        raise HealError("no such file", where=path, fix="give an existing file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise HealError(f"not a readable csv file ({error})", where=path, fix="save it again as UTF-8 csv") from None


def read_hub(dataset: Dataset) -> list[Row]:
    """The rows of a hub data set at its commit, as they are. Raises HealError that says which file does instead."""
    import datasets

    try:
        # The library runs no code of a data set (scripts are refused since 4.0), and reads no pickle.
        rows = datasets.load_dataset(dataset.path, dataset.name, split=dataset.split, revision=dataset.revision)
    except Exception as error:  # no network, no such commit, no access, no such split: they share no base class
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        found = f"cannot be loaded from the hub ({first:.300})"
        raise HealError(found, where=place(dataset), fix=local(dataset)) from error
    return rows.to_list()


def place(dataset: Dataset) -> str:
    """Where a data set's rows stand, for messages."""
    if dataset.source == "hub":
        return f"{'/'.join(filter(None, [dataset.path, dataset.name, dataset.split]))} at {str(dataset.revision)[:8]}"
    return f"{dataset.source}/{dataset.split}" if dataset.source in MADE_HERE else dataset.path or ""


def local(dataset: Dataset) -> str:
    """How a machine without network gets this data set."""
    return (
        "check path, name, split and revision, and (gated data sets) that you asked for access and are logged in; "
        f"without a network, fetch it elsewhere with `hf download {dataset.path} --repo-type dataset "
        f"--revision {dataset.revision} --local-dir DIR` and set source: file, path: the jsonl, parquet or csv file of "
        f"the split {dataset.split!r} in DIR, without name, revision and split; columns and the rest stay as they are"
    )


def chosen(rows: list[Row], dataset: Dataset, where: str) -> list[tuple[int, Row]]:
    """(row number from 1, row) of the rows that `keep` and `drop` let through.

    Raises HealError for a column or a value that no row has: a filter that filters nothing is a mistake.
    """
    for option, filters in (("keep", dataset.keep), ("drop", dataset.drop)):
        for column, values in filters.items():
            present = sorted({str(row[column]) for row in rows if column in row})
            if not present:
                names = ", ".join(dict.fromkeys(name for row in rows for name in row))
                raise HealError(f"no column {column!r}", where=f"{where}, {option}", fix=f"the columns are {names}")
            if absent := [value for value in values if str(value) not in present]:
                found = f"no row has {absent[0]!r} in column {column!r}"
                fix = f"its values are {', '.join(present[:20])}{' …' if len(present) > 20 else ''}"
                raise HealError(found, where=f"{where}, {option}", fix=fix)

    def passes(row: Row) -> bool:
        value = {column: str(row.get(column)) for column in {*dataset.keep, *dataset.drop}}
        kept = all(value[column] in map(str, values) for column, values in dataset.keep.items())
        return kept and not any(value[column] in map(str, values) for column, values in dataset.drop.items())

    return [(number, row) for number, row in enumerate(rows, 1) if passes(row)]


def text_of(row: Row, columns: Sequence[str], field: str, where: str) -> str:
    """The first non-empty of these columns. Raises HealError where all are empty or absent."""
    value = next((row[name] for name in columns if row.get(name) not in (None, "")), None)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        fix = f"give a non-empty {' or '.join(map(repr, columns))} (found: {', '.join(map(str, row))})"
        raise HealError(f"no {field}", where=f"{where}, field {field}", fix=fix)
    return str(value).strip()


def from_row(row: Row, dataset: Dataset, where: str, source: str, seed: int) -> Row:
    """One problem. Raises HealError with row and field for a missing question or an answer of another form."""
    names = dataset.columns
    question = text_of(row, [names.question] if names else QUESTION, "question", where)
    content = text_of(row, [names.answer] if names else ANSWER, "answer", where)
    try:
        answer = gold_answer(content, dataset.answer)
        if names and names.wrong_choices:
            wrong = [text_of(row, [name], name, where) for name in names.wrong_choices]
            question, answer = lettered(question, answer, wrong, seed)
    except HealError as error:
        if error.where:
            raise
        raise HealError(error.problem, where=f"{where}, field answer", fix=error.fix) from None
    solution = worked_solution(row, names, content)
    level = row.get(names.difficulty) if names and names.difficulty else row.get("difficulty") or row.get("level")
    return {
        "question": question,
        "answer": answer,
        "solution": solution,
        "source": str((None if names else row.get("source")) or source),
        "difficulty": str(level or "unknown"),
    }


def worked_solution(row: Row, names: Columns | None, content: str) -> str | None:
    """The worked solution, of its own column or before GSM8K's ####, there with steps at blank lines; or None."""
    column = names.solution if names else "solution"
    if column and (given := row.get(column)):
        return str(given)
    if "####" in content:
        return CALCULATOR.sub("", content.rpartition("####")[0]).strip().replace("\n", "\n\n")
    return None


def found_rows(dataset: Dataset, seed: int, grader: Grader, left_out: list[Row]) -> Found:
    """Every problem of a data set with its place, before order, `skip` and `n`; a faulty one with what is wrong."""
    if dataset.source == "mixture":
        return [pair for part in dataset.parts.values() for pair in usable(part, seed, grader, left_out)]
    where = place(dataset)
    if make := MADE_HERE.get(dataset.source):
        return [(f"{where}, row {number}", row) for number, row in enumerate(make(dataset, seed), 1)]
    path = str(dataset.path)
    rows = read_hub(dataset) if dataset.source == "hub" else read_file(path)
    if not rows:
        raise HealError("no rows", where=where, fix="give a file with at least one problem")
    source = path if dataset.source == "hub" else Path(path).stem
    found: Found = []
    for number, row in chosen(rows, dataset, where):
        try:
            found.append((f"{where}, row {number}", from_row(row, dataset, f"{where}, row {number}", source, seed)))
        except HealError as error:
            found.append((f"{where}, row {number}", error))
    return found


def usable(dataset: Dataset, seed: int, grader: Grader, left_out: list[Row]) -> list[tuple[str, Row]]:
    """The problems of a data set with their places: its rows in order, checked, `skip` passed over, at most `n`.

    A faulty row (no question, no gold answer that can be checked, a question that stood before) is an error or, as
    `unusable` says, told in `left_out`.
    """
    found = found_rows(dataset, seed, grader, left_out)
    if dataset.order == "shuffled":
        found.sort(key=lambda pair: "" if isinstance(pair[1], HealError) else content_id(seed, pair[1]["question"]))
    taken: list[tuple[str, Row]] = []
    seen: dict[str, str] = {}

    def checked(where: str, row: Row | HealError) -> Row:
        if isinstance(row, HealError):
            raise row
        if row["question"] in seen:
            first = seen[row["question"]]
            told = first.rpartition(", ")[2] if first.rpartition(", ")[0] == where.rpartition(", ")[0] else first
            fix = "remove one of them, or set unusable: leave_out"
            raise HealError(f"the same question as in {told}", where=f"{where}, field question", fix=fix)
        check_gold(row["answer"], grader, where=f"{where}, field answer")
        seen[row["question"]] = where
        return row

    wanted = None if dataset.source in MADE_HERE or dataset.n is None else dataset.skip + dataset.n
    for where, row in found:
        if len(taken) == wanted:
            break
        try:
            taken.append((where, checked(where, row)))
        except HealError as error:
            if dataset.unusable == "refuse":
                raise
            left_out.append({"where": where, "reason": error.problem})
    if not taken[dataset.skip :]:
        where = place(dataset) or "the mixture"
        fix = "loosen keep, drop or skip, or give another file"
        raise HealError(f"no problem is left of {len(found)} rows", where=where, fix=fix)
    return taken[dataset.skip :]


def collect(dataset: Dataset, seed: int, instruction: str = "") -> tuple[list[Row], list[Row]]:
    """(the problems, what was left out and why). A problem's id is a hash of its question and the instruction."""
    left_out: list[Row] = []
    with Grader() as grader:
        rows = [row for _, row in usable(dataset, seed, grader, left_out)]
    for row in rows:
        row["question"] = with_instruction(row["question"], instruction)
        row["problem_id"] = content_id("problem", row["question"])
    return rows, left_out


def load(dataset: Dataset, seed: int) -> list[Row]:
    return collect(dataset, seed)[0]


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--instruction", default="", help="put behind every question after a blank line")
    arguments = parser.parse_args()
    dataset = read_options(Dataset, arguments.options)
    with recorded(
        arguments.out, "heal.data.load_problems", options=dataset.model_dump(), seeds=[arguments.seed]
    ) as facts:
        facts["instruction"] = arguments.instruction
        rows, facts["left_out"] = collect(dataset, arguments.seed, arguments.instruction)
        records.write(arguments.out, "problems", rows)


if __name__ == "__main__":
    exit_with_errors(main)
