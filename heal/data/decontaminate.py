"""Training problems that a held-out problem also asks are removed, and listed with what gave them away.

Reads the training problems and every held-out split (dev and the benchmarks); writes the problems that are left and a
report: how many were removed for which split, and for each the words that hit. Questions only are compared: answers
are too short to tell, and solutions of held-out problems are never trained on.

The measure is that of Brown et al. 2020 (arXiv 2005.14165, appendix C): 13 equal words in a row, case and punctuation
aside; words that stand in more than 10 training problems are stock phrases ("where m and n are relatively prime
positive integers. Find …") and do not count. Beside it (ours) equal questions, which also finds the short ones.
Rewordings and other numbers in the same text are not found: a lower bound, as all n-gram measures are.

    python -m heal.data.decontaminate --problems problems/unfiltered/train.parquet --options '{"n": 13}' \\
        --held-out problems/dev.parquet problems/aime24.parquet --out problems/train.parquet \\
        --report problems/decontamination.json
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from heal import records
from heal.config.data import Decontamination
from heal.errors import HealError, exit_with_errors
from heal.pipeline.runner import arguments_parser, read_options
from heal.provenance import recorded
from heal.records import Row

WORD = re.compile(r"[^\W_]+")

NGram = tuple[str, ...]


def words(text: str) -> NGram:
    """Letters and digits in a row, lower case: punctuation, LaTeX's signs and spacing do not tell questions apart."""
    return tuple(WORD.findall(text.lower()))


def ngrams(text: NGram, n: int) -> list[NGram]:
    """Every n words in a row, in their order; [] for a shorter text."""
    return [text[start : start + n] for start in range(len(text) - n + 1)]


def stock_phrases(texts: Iterable[NGram], n: int, common: int) -> set[NGram]:
    """The n-grams that stand in more than `common` of the texts."""
    counts = Counter(ngram for text in texts for ngram in set(ngrams(text, n)))
    return {ngram for ngram, count in counts.items() if count > common}


class Index:
    """Whole questions and n-grams of the held-out problems → split → one problem that has them."""

    def __init__(self, n: int, stock: set[NGram]) -> None:
        self.n, self.stock = n, stock
        self.whole: dict[NGram, dict[str, str]] = {}
        self.parts: dict[NGram, dict[str, str]] = {}

    def add(self, text: NGram, split: str, problem_id: str) -> None:
        if text:
            self.whole.setdefault(text, {}).setdefault(split, problem_id)
        for ngram in ngrams(text, self.n):
            if ngram not in self.stock:
                self.parts.setdefault(ngram, {}).setdefault(split, problem_id)

    def hits(self, text: NGram) -> list[dict[str, str]]:
        """For each split, one problem that has the whole question, or else the first n-gram; sorted by split."""
        found = {split: (problem_id, "question") for split, problem_id in self.whole.get(text, {}).items()}
        for ngram in ngrams(text, self.n):
            for split, problem_id in self.parts.get(ngram, {}).items():
                found.setdefault(split, (problem_id, " ".join(ngram)))
        return [{"split": split, "problem_id": i, "match": match} for split, (i, match) in sorted(found.items())]


def decontaminate(
    train: Sequence[Row], held_out: Mapping[str, Sequence[Row]], options: Decontamination, instruction: str = ""
) -> tuple[list[Row], dict[str, Any]]:
    """(the training problems that are left, the report). Neither the order of rows nor of splits changes who stays.

    `instruction`: the text behind every question, which is no part of it.
    """

    def bare(row: Row) -> NGram:
        return words(row["question"].removesuffix(instruction))

    texts = [bare(row) for row in train]
    stock = stock_phrases(texts, options.n, options.common)
    index = Index(options.n, stock)
    for split, rows in held_out.items():
        for row in sorted(rows, key=lambda row: row["problem_id"]):
            index.add(bare(row), split, row["problem_id"])
    left, removed = [], []
    for row, text in zip(train, texts, strict=True):
        if hits := index.hits(text):
            removed.append({"problem_id": row["problem_id"], "source": row["source"], "hits": hits})
        else:
            left.append(row)
    by_split = Counter(hit["split"] for problem in removed for hit in problem["hits"])
    report = {
        "n": options.n,
        "common": options.common,
        "stock_phrases": len(stock),
        "training_problems": len(train),
        "held_out_problems": {split: len(rows) for split, rows in sorted(held_out.items())},
        "removed": len(removed),
        "removed_for": {split: by_split[split] for split in sorted(held_out)},
        "problems": sorted(removed, key=lambda problem: problem["problem_id"]),
    }
    return left, report


def note(report: Mapping[str, Any]) -> str:
    """The sentence under a table."""
    for_splits = ", ".join(f"{split} {count}" for split, count in report["removed_for"].items() if count)
    return (
        f"Decontamination: {report['removed']} of {report['training_problems']} training problems removed, which share "
        f"{report['n']} words in a row or the whole question with a held-out problem"
        + (f" ({for_splits})." if for_splits else ".")
    )


def main() -> None:
    parser = arguments_parser(__doc__, "problems", "report")
    parser.add_argument("--held-out", nargs="+", required=True, help="problem files; a split is called as its file")
    parser.add_argument("--instruction", default="", help="the text behind every question, which is not compared")
    arguments = parser.parse_args()
    options = read_options(Decontamination, arguments.options)
    train = records.read(arguments.problems, "problems")
    held_out = {Path(path).stem: records.read(path, "problems") for path in arguments.held_out}
    with recorded(arguments.out, "heal.data.decontaminate", options=vars(arguments)):
        left, report = decontaminate(train, held_out, options, arguments.instruction)
        records.write_json(arguments.report, report)
        if not left:
            fix = f"see {arguments.report}; give other training problems, or raise problems.decontamination.n"
            raise HealError("every training problem is also held out", where=arguments.problems, fix=fix)
        records.write(arguments.out, "problems", left)
        print(note(report))


if __name__ == "__main__":
    exit_with_errors(main)
