"""Remove training problems that a held-out problem also asks, and list them with the words that gave them away.

`heal decontaminate` reads the training problems and every held-out split (dev and the benchmarks); writes the remaining
problems, and leaves a file with these rows as it is. `heal check-decontamination` reads that file too; writes a report:
how many were removed for which split, and for each the matching words. Only questions are compared: answers are too
short to tell, and solutions of held-out problems are never trained on.

Everything is sampled from the remaining problems. So a benchmark that is added later removes none by itself: the
workflow keeps train.parquet with the splits that it was made with (`choose_held_out`), and the check compares it with
all of them. Where the added one overlaps, the check fails and says how to go on.

The measure is that of Brown et al. 2020 (arXiv 2005.14165, appendix C): 13 equal words in a row, without case and
punctuation; words that occur in more than 10 training problems are stock phrases ("where m and n are relatively prime
positive integers. Find …") and do not count. Ours: equal questions count too, which finds short ones. Rewordings, and
other numbers in the same text, are not found: the count is a lower bound, as for all n-gram measures.

    heal decontaminate --config CONFIG --problems problems/unfiltered/train.parquet --held-out problems/dev.parquet \\
        --held-out problems/aime24.parquet --out problems/train.parquet
    heal check-decontamination --config CONFIG --problems problems/unfiltered/train.parquet \\
        --train problems/train.parquet --held-out problems/dev.parquet --held-out problems/aime24.parquet \\
        --out problems/decontamination.json
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from heal import records
from heal.command import Command, Section
from heal.config.data import Decontamination
from heal.errors import HealError
from heal.outcome import Outcome, record_outcome
from heal.provenance import SUFFIX, record_run
from heal.records import Row

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""
WORD = re.compile(r"[^\W_]+")

NGram = tuple[str, ...]


class DecontaminationCommand(Command):
    """What both commands read."""

    problems: Path
    """The training problems, before any is removed."""
    held_out: list[Path]
    """A problems file of a held-out split, which is named after the file (once per file)."""
    decontamination: Annotated[Decontamination, Section("problems.decontamination")] = Decontamination()
    """What counts as overlap."""
    instruction: Annotated[str, Section("problems.instruction")] = ""
    """Text after every question, which is not compared."""

    def compare(self) -> tuple[list[Row], dict[str, Any]]:
        """(the remaining training problems, the report)."""
        held_out = {path.stem: records.read(path, "problems") for path in self.held_out}
        train = records.read(self.problems, "problems")
        return decontaminate(train, held_out, self.decontamination, self.instruction)


class Decontaminate(DecontaminationCommand):
    """Write the training problems that no held-out problem asks; a file that has these rows already stays as it is.

    heal decontaminate --config CONFIG --problems problems/unfiltered/train.parquet --held-out problems/dev.parquet \\
        --out problems/train.parquet
    """

    out: Path
    """The parquet file to write: the remaining problems."""

    def run(self) -> None:
        with record_run(self.out, "decontaminate", VERSION, {"options": self.describe_options()}) as facts:
            remaining, report = self.compare()
            facts |= record_outcome(Outcome(len(remaining), reasons={"removed": report["removed"]}))
            if not remaining:
                splits = ", ".join(split for split, count in report["removed_for"].items() if count)
                fix = f"give other training problems than those of {splits}, or raise problems.decontamination.n"
                raise HealError("every training problem is also held out", where=str(self.problems), fix=fix)
            print(format_note(report))
            if self.out.exists() and list_ids(self.out) == [row["problem_id"] for row in remaining]:
                print(f"{self.out}: unchanged, as no row changes")
            else:
                records.write(self.out, "problems", remaining)


class CheckDecontamination(DecontaminationCommand):
    """Write the report of what was removed for which split. Fails where the training problems are not what remains.

    heal check-decontamination --config CONFIG --problems problems/unfiltered/train.parquet \\
        --train problems/train.parquet --held-out problems/dev.parquet --out problems/decontamination.json
    """

    train: Path
    """The training problems that samples are made from."""
    out: Path
    """The json file to write: counts, and the removed problems."""

    def run(self) -> None:
        with record_run(self.out, "check-decontamination", VERSION, {"options": self.describe_options()}):
            remaining, report = self.compare()
            check_train(self.train, remaining, report)
            records.write_json(self.out, report)
            print(f"{format_note(report)} {self.train} has no held-out problem.")


def list_ids(path: Path) -> list[str]:
    """The ids of a file's problems, in its order."""
    return [row["problem_id"] for row in records.read(path, "problems")]


def check_train(train: Path, remaining: Sequence[Row], report: Mapping[str, Any]) -> None:
    """Raises HealError where the file's problems are not those that remain. report: of what was removed."""
    before, after = list_ids(train), [row["problem_id"] for row in remaining]
    if before == after:
        return
    splits: Counter[str] = Counter()
    for problem in report["problems"]:
        if problem["problem_id"] in set(before):
            splits.update(hit["split"] for hit in problem["hits"])
    overlaps = ", ".join(f"{split} {count}" for split, count in sorted(splits.items()))
    problem = f"{len(set(before) - set(after))} of {len(before)} training problems are also held out ({overlaps})"
    if not overlaps:
        problem = f"{len(before)} training problems, where {len(after)} of the unfiltered ones remain"
    undo = f"leave {' and '.join(sorted(splits))} out of problems.test" if splits else "restore the problem sets"
    again = "run again with --config allow_resampling=true: what follows from train.parquet is then made again, and the"
    raise HealError(
        f"{problem}, and the run's samples were made with them",
        where=str(train),
        fix=f"{undo}; or {again} samples that exist are kept aside",
    )


def choose_held_out(
    folder: Path, splits: Sequence[str], options: Decontamination, instruction: str, *, may_change: bool
) -> list[str]:
    """The held-out splits to make train.parquet with: those that it was made with, and others only if a row changes.

    folder: of the problem files. splits: all that the config holds out. may_change: whether train.parquet may change;
    else no split is added to one that exists.
    """
    train, unfiltered = folder / "train.parquet", folder / "unfiltered/train.parquet"
    provenance = Path(f"{train}{SUFFIX}")
    if not (train.exists() and provenance.exists()):
        return list(splits)
    record = json.loads(provenance.read_text(encoding="utf-8"))
    files = {split: folder / f"{split}.parquet" for split in splits}
    known = []
    for split in [Path(path).stem for path in record["options"].get("held_out", [])]:
        if split in splits or (folder / f"{split}.parquet").exists():
            known.append(split)
            files[split] = folder / f"{split}.parquet"
    every = [*known, *[split for split in splits if split not in known]]
    if every == known or not may_change or not all(path.exists() for path in [unfiltered, *files.values()]):
        return known
    held_out = {split: records.read(files[split], "problems") for split in every}
    remaining, _ = decontaminate(records.read(unfiltered, "problems"), held_out, options, instruction)
    return known if [row["problem_id"] for row in remaining] == list_ids(train) else every


def decontaminate(
    train: Sequence[Row], held_out: Mapping[str, Sequence[Row]], options: Decontamination, instruction: str = ""
) -> tuple[list[Row], dict[str, Any]]:
    """(the remaining training problems, the report). The order of rows and splits does not change what remains.

    held_out: split → its problems. instruction: the text after every question, which is no part of it.
    """
    texts = [split_question(row, instruction) for row in train]
    index = Index(options.n, find_stock_phrases(texts, options.n, options.common))
    for split, rows in held_out.items():
        for row in sorted(rows, key=lambda row: row["problem_id"]):
            index.add(split_question(row, instruction), split, row["problem_id"])
    remaining, removed = [], []
    removed_for: Counter[str] = Counter()
    for row, text in zip(train, texts, strict=True):
        hits = index.find_hits(text)
        if not hits:
            remaining.append(row)
            continue
        removed.append({"problem_id": row["problem_id"], "source": row["source"], "hits": hits})
        removed_for.update(hit["split"] for hit in hits)
    splits = sorted(held_out)
    report = {
        "n": options.n,
        "common": options.common,
        "stock_phrases": len(index.stock),
        "training_problems": len(train),
        "held_out_problems": {split: len(held_out[split]) for split in splits},
        "removed": len(removed),
        "removed_for": {split: removed_for[split] for split in splits},
        "problems": sorted(removed, key=lambda problem: problem["problem_id"]),
    }
    return remaining, report


def split_question(row: Row, instruction: str) -> NGram:
    """The words of a problem's question, without the instruction."""
    return split_words(row["question"].removesuffix(instruction))


def split_words(text: str) -> NGram:
    """Runs of letters and digits in lower case: punctuation, LaTeX's signs and spacing do not distinguish questions."""
    return tuple(WORD.findall(text.lower()))


def list_ngrams(text: NGram, n: int) -> list[NGram]:
    """Every n words in a row, in their order; [] for a shorter text."""
    return [text[start : start + n] for start in range(len(text) - n + 1)]


def find_stock_phrases(texts: Iterable[NGram], n: int, common: int) -> set[NGram]:
    """The n-grams that occur in more than `common` of the texts."""
    counts: Counter[NGram] = Counter()
    for text in texts:
        counts.update(set(list_ngrams(text, n)))
    return {ngram for ngram, count in counts.items() if count > common}


class Index:
    """Whole questions and n-grams of the held-out problems → split → one problem that has them."""

    def __init__(self, n: int, stock: set[NGram]) -> None:
        self.n = n
        self.stock = stock
        self.questions: dict[NGram, dict[str, str]] = {}
        self.ngrams: dict[NGram, dict[str, str]] = {}

    def add(self, text: NGram, split: str, problem_id: str) -> None:
        """Adds a held-out problem; of several with the same words in one split the first counts."""
        if text:
            self.questions.setdefault(text, {}).setdefault(split, problem_id)
        for ngram in list_ngrams(text, self.n):
            if ngram not in self.stock:
                self.ngrams.setdefault(ngram, {}).setdefault(split, problem_id)

    def find_hits(self, text: NGram) -> list[dict[str, str]]:
        """For each split, one problem that has the whole question, or else the first n-gram; sorted by split."""
        hits: dict[str, dict[str, str]] = {}
        for split, problem_id in self.questions.get(text, {}).items():
            hits[split] = {"split": split, "problem_id": problem_id, "match": "question"}
        for ngram in list_ngrams(text, self.n):
            for split, problem_id in self.ngrams.get(ngram, {}).items():
                hits.setdefault(split, {"split": split, "problem_id": problem_id, "match": " ".join(ngram)})
        return [hits[split] for split in sorted(hits)]


def format_note(report: Mapping[str, Any]) -> str:
    """The sentence under a table."""
    for_splits = ", ".join(f"{split} {count}" for split, count in report["removed_for"].items() if count)
    return (
        f"Decontamination: {report['removed']} of {report['training_problems']} training problems removed, which share "
        f"{report['n']} words in a row or the whole question with a held-out problem"
        + (f" ({for_splits})." if for_splits else ".")
    )
