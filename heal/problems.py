"""Problems of one split, checked before anything is spent on them: from the mini world, or from a file.

python -m heal.problems --options '{"source": "mini", "split": "train", "n": 1000}' --out problems/train.parquet
python -m heal.problems --options '{"source": "file", "path": "my.jsonl"}' --out problems/train.parquet
"""

from __future__ import annotations

import random
from pathlib import Path

from heal import records
from heal.config import Dataset
from heal.errors import HealError, exit_with_errors
from heal.grading import Grader, check_gold, gold_from_gsm8k
from heal.provenance import recorded
from heal.records import Row, content_id
from heal.stage import arguments_parser, read_options

FIELDS = {"question": ("question", "problem"), "answer": ("answer",)}


def from_mini(dataset: Dataset, seed: int) -> list[Row]:
    """Puzzles with their worked solutions; a share of the gold answers is replaced by wrong ones if asked."""
    from heal.mini import puzzles

    rng = random.Random(f"wrong gold {seed} {dataset.split}")
    rows = []
    for puzzle in puzzles.generate(dataset.split, dataset.n, seed):
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


def from_file(path: str, n: int | None) -> list[Row]:
    """Rows of a jsonl or parquet file; GSM8K's and MATH's own field names are understood.

    Raises HealError with file, row and field for a missing or empty question or answer.
    """
    suffix = Path(path).suffix
    if suffix not in (".jsonl", ".parquet"):
        raise HealError(f"unknown kind of file {suffix!r}", where=path, cure="give a .jsonl or .parquet file")
    content = records.read_jsonl(path) if suffix == ".jsonl" else records.open_table(path).to_pylist()
    if not content:
        raise HealError("no rows", where=path, cure="give a file with at least one problem")
    return [from_row(row, f"{path}, row {number}", Path(path).stem) for number, row in enumerate(content[:n], 1)]


def from_row(row: Row, where: str, source: str) -> Row:
    found = {}
    for field, names in FIELDS.items():
        value = next((row[name] for name in names if row.get(name) not in (None, "")), None)
        if not isinstance(value, str | int | float) or not str(value).strip():
            raise HealError(
                f"no {field}",
                where=f"{where}, field {field}",
                cure=f"give a non-empty {' or '.join(map(repr, names))}",
            )
        found[field] = str(value).strip()
    answer, solution = found["answer"], row.get("solution")
    if "####" in answer:
        answer, solution = gold_from_gsm8k(answer), answer.rpartition("####")[0].strip().replace("\n", "\n\n")
    return {
        "question": found["question"],
        "answer": answer,
        "solution": solution or None,
        "source": str(row.get("source") or source),
        "difficulty": str(row.get("difficulty") or row.get("level") or "unknown"),
    }


def checked(rows: list[Row], where: str) -> list[Row]:
    """Adds the id, a hash of the question. Raises HealError for an unusable gold answer or a repeated question."""
    seen: dict[str, int] = {}
    with Grader() as grader:
        for number, row in enumerate(rows, 1):
            check_gold(row["answer"], grader, where=f"{where}, row {number}, field answer")
            row["problem_id"] = content_id("problem", row["question"])
            if row["problem_id"] in seen:
                raise HealError(
                    f"the same question as in row {seen[row['problem_id']]}",
                    where=f"{where}, row {number}, field question",
                    cure="remove one of them",
                )
            seen[row["problem_id"]] = number
    return rows


def load(dataset: Dataset, seed: int) -> list[Row]:
    if dataset.source == "mini":
        return checked(from_mini(dataset, seed), f"mini/{dataset.split}")
    return checked(from_file(dataset.path, dataset.n), dataset.path)


def main() -> None:
    arguments = arguments_parser(__doc__).parse_args()
    dataset = read_options(Dataset, arguments.options)
    with recorded(arguments.out, "heal.problems", options=dataset.model_dump(), seeds=[arguments.seed]):
        records.write(arguments.out, "problems", load(dataset, arguments.seed))


if __name__ == "__main__":
    exit_with_errors(main)
