"""Reading a run's outcomes: answers → scores [draws, seeds, questions] that pair up, and what each student cost.

Reads answers.parquet, results.json, training.json and the trace files' token counts under results/<run>/; writes
nothing. Tables and figures import it. A file that is missing, an answer that is missing and questions that do not pair
up are errors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heal import records
from heal.errors import HealError
from heal.method.base import Method
from heal.records import Row
from heal.registry import build
from heal.trace_files import files

UNSOLVED = ":unsolved"  # <benchmark>:unsolved = its questions that the teacher never answers correctly
STRATA = {  # <benchmark>:<name> = its questions by the teacher's pass rate over its own repeats
    "unsolved": lambda rate_Q: rate_Q == 0,
    "rarely": lambda rate_Q: (rate_Q > 0) & (rate_Q < 1 / 3),
    "half": lambda rate_Q: (rate_Q >= 1 / 3) & (rate_Q <= 2 / 3),
    "mostly": lambda rate_Q: (rate_Q > 2 / 3) & (rate_Q < 1),
    "always": lambda rate_Q: rate_Q == 1,
}
TEACHER, UNTRAINED = "teacher", "untrained"  # what stands for a method where no student was trained


@dataclass(frozen=True)
class Answers:
    """The graded answers of one model to one benchmark, questions sorted by id; scores 0 or 1, shape [Q, repeats].

    votes_QR: the answer as extracted; None where there is none, or where the reading refuses a right one for its form.
    rows: as graded, without the answers' texts.
    """

    path: Path
    problem_ids: tuple[str, ...]
    gold: tuple[str, ...]
    scores_QR: NDArray[np.float64]
    votes_QR: tuple[tuple[str | None, ...], ...]
    rows: tuple[Row, ...]

    @property
    def scores_Q(self) -> NDArray[np.float64]:
        """Share of right answers over the repeats of each question."""
        return self.scores_QR.mean(axis=1)


def read_answers(path: str | Path, reading: str = "strict") -> Answers:
    """Raises HealError as `answers_of`, and for a missing file."""
    return answers_of(records.read(path, "answers"), path, reading)


def answers_of(rows: Sequence[Row], path: str | Path, reading: str = "strict") -> Answers:
    """path: the file that the rows are of. Raises HealError for no rows, an answer that stands twice or is missing."""
    fix = "run the evaluation of this model again (snakemake does, once the file is deleted)"
    if not rows:
        raise HealError("no answers", where=str(path), fix=fix)
    found: dict[str, dict[int, tuple[float, str | None]]] = {}
    gold: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        repeats = found.setdefault(row["problem_id"], {})
        if row["repeat"] in repeats:
            twice = f"repeat {row['repeat']} of problem {row['problem_id']} stands twice"
            raise HealError(twice, where=f"{path}, row {number}", fix=fix)
        refused = row["flexible"] and not row[reading]
        repeats[row["repeat"]] = (float(row[reading]), None if refused else row["extracted"])
        if gold.setdefault(row["problem_id"], row["gold"]) != row["gold"]:
            differ = f"gold answers of problem {row['problem_id']} differ between its repeats"
            raise HealError(differ, where=f"{path}, row {number}", fix=fix)
    every = sorted({repeat for repeats in found.values() for repeat in repeats})
    for problem_id, repeats in sorted(found.items()):
        if absent := [repeat for repeat in every if repeat not in repeats]:
            raise HealError(f"problem {problem_id} has no answer in repeat {absent[0]}", where=str(path), fix=fix)
    problem_ids = tuple(sorted(found))
    scores_QR = np.array([[found[problem_id][repeat][0] for repeat in every] for problem_id in problem_ids])
    votes_QR = tuple(tuple(found[problem_id][repeat][1] for repeat in every) for problem_id in problem_ids)
    graded = tuple({key: row[key] for key in records.VERDICT_OF_ANSWER} for row in rows)
    return Answers(Path(path), problem_ids, tuple(gold[i] for i in problem_ids), scores_QR, votes_QR, graded)


def check_pairing(first: Answers, other: Answers) -> None:
    """Raises HealError, naming a question, unless both files hold the same questions, gold answers and repeats."""
    fix = "evaluate both models on the same benchmark version"
    where = f"{other.path} against {first.path}"
    if differing := sorted(set(first.problem_ids) ^ set(other.problem_ids)):
        lacks = "lacks" if differing[0] in first.problem_ids else "alone has"
        found = f"questions do not pair up: {len(differing)} differ, it {lacks} problem {differing[0]}"
        raise HealError(found, where=where, fix=fix)
    for problem_id, one, two in zip(first.problem_ids, first.gold, other.gold, strict=True):
        if one != two:
            raise HealError(f"gold answers of problem {problem_id} differ: {one!r}, {two!r}", where=where, fix=fix)
    if first.scores_QR.shape != other.scores_QR.shape:
        repeats = f"{other.scores_QR.shape[1]} repeats against {first.scores_QR.shape[1]}"
        raise HealError(f"answers do not pair up: {repeats}", where=where, fix=fix)


@dataclass(frozen=True)
class Run:
    """The axes of a run's tables, and its files; every answers file is read once and checked against its benchmark."""

    folder: Path
    teachers: Sequence[str]
    students: Sequence[str]
    methods: Sequence[str]
    benchmarks: Sequence[str]
    draws: int
    seeds: int
    reading: str = "strict"

    @cached_property
    def _answers(self) -> dict[Path, Answers]:
        return {}

    def answers(self, path: Path, benchmark: str) -> Answers:
        """Raises HealError as `read_answers` and `check_pairing` do; the first teacher's answers come first."""
        first = self.teacher_path(self.teachers[0], benchmark)
        for file in (first, path):
            if file not in self._answers:
                self._answers[file] = read_answers(file, self.reading)
                check_pairing(self._answers[first], self._answers[file])
        return self._answers[path]

    def preload(self, path: Path, answers: Answers, engine: str) -> None:
        """Takes a file's answers from elsewhere: they are checked against the first teacher's, as if read."""
        self._answers[path], self._engines[path] = answers, engine
        first = self._answers.get(self.teacher_path(self.teachers[0], path.parent.name))
        if first:
            check_pairing(first, answers)

    def teacher_path(self, teacher: str, benchmark: str) -> Path:
        return self.folder / "evals" / teacher / "teacher" / benchmark / "answers.parquet"

    def untrained_path(self, student: str, benchmark: str) -> Path:
        return self.folder / "evals" / "students" / student / benchmark / "answers.parquet"

    def student_folder(self, section: str, teacher: str, draw: int, student: str, method: str) -> Path:
        """section: curricula, students or evals."""
        return self.folder / section / teacher / f"draw{draw}" / student / method

    def student_paths(self, teacher: str, student: str, method: str, benchmark: str) -> list[list[Path]]:
        """The answers files of a method's students: one list per draw, in it one per seed."""
        folders = [self.student_folder("evals", teacher, d, student, method) for d in range(self.draws)]
        return [[f / f"seed{s}" / benchmark / "answers.parquet" for s in range(self.seeds)] for f in folders]

    def cells(self, benchmark: str) -> Iterator[tuple[Row, Path]]:
        """Every answers file of a benchmark, and whose: teachers, untrained students, then each trained student."""
        nobody = {"teacher": "", "student": "", "draw": None, "seed": None, "benchmark": benchmark}
        for teacher in self.teachers:
            yield nobody | {"teacher": teacher, "method": TEACHER}, self.teacher_path(teacher, benchmark)
        for student in self.students:
            yield nobody | {"student": student, "method": UNTRAINED}, self.untrained_path(student, benchmark)
        for teacher, student, method in product(self.teachers, self.students, self.methods):
            whose = nobody | {"teacher": teacher, "student": student, "method": method}
            for draw, paths in enumerate(self.student_paths(teacher, student, method, benchmark)):
                for seed, path in enumerate(paths):
                    yield whose | {"draw": draw, "seed": seed}, path

    def answer_paths(self, benchmark: str) -> list[Path]:
        return [path for _, path in self.cells(benchmark)]

    @cached_property
    def _engines(self) -> dict[Path, str]:
        return {}

    def engine(self, path: Path) -> str:
        """Engine and number format of an answers file, from results.json beside it; "" where that says nothing."""
        if path not in self._engines:
            results = path.with_name("results.json")
            settings = read_json(results).get("settings", {}) if results.exists() else {}
            self._engines[path] = " ".join(settings[key] for key in ("engine", "dtype") if key in settings)
        return self._engines[path]

    def mixed_engines(self, teacher: str, student: str, methods: Sequence[str], benchmark: str) -> bool:
        """Whether the students of these methods answered on different engines: no basis for a claim."""
        name = benchmark.partition(":")[0]
        paths = [self.student_paths(teacher, student, method, name) for method in methods]
        return len({self.engine(path) for draws in paths for seeds in draws for path in seeds}) > 1

    def teacher_scores(self, teacher: str, benchmark: str) -> NDArray[np.float64]:
        """Shape [Q]."""
        name, mask_Q = self.questions(teacher, benchmark)
        return self.answers(self.teacher_path(teacher, name), name).scores_Q[mask_Q]

    def untrained_scores(self, teacher: str, student: str, benchmark: str) -> NDArray[np.float64]:
        """Shape [Q]; the teacher decides which questions are in the stratum."""
        name, mask_Q = self.questions(teacher, benchmark)
        return self.answers(self.untrained_path(student, name), name).scores_Q[mask_Q]

    def scores(self, teacher: str, student: str, method: str, benchmark: str) -> NDArray[np.float64]:
        """Shape [draws, seeds, Q]."""
        name, mask_Q = self.questions(teacher, benchmark)
        files = self.student_paths(teacher, student, method, name)
        return np.array([[self.answers(file, name).scores_Q[mask_Q] for file in row] for row in files])

    def questions(self, teacher: str, benchmark: str) -> tuple[str, NDArray[np.bool_]]:
        """The benchmark's own name and which of its questions are meant, shape [all its questions]."""
        name, _, stratum = benchmark.partition(":")
        rate_Q = self.answers(self.teacher_path(teacher, name), name).scores_Q
        return name, STRATA[stratum](rate_Q) if stratum else np.ones(len(rate_Q), dtype=bool)

    def repeats(self, benchmark: str) -> int:
        return self.answers(self.teacher_path(self.teachers[0], benchmark), benchmark).scores_QR.shape[1]

    def with_strata(self, teacher: str) -> list[str]:
        """The benchmarks, each with more than one repeat followed by its unsolved stratum where that is not empty."""
        unsolved = {name for name in self.strata(teacher) if name.endswith(UNSOLVED)}
        return [name for each in self.benchmarks for name in (each, each + UNSOLVED) if name in {each, *unsolved}]

    def strata(self, teacher: str) -> list[str]:
        """The strata that are not empty, of the benchmarks with more than one repeat: one says too little."""
        named = [f"{name}:{stratum}" for name in self.benchmarks if self.repeats(name) > 1 for stratum in STRATA]
        return [name for name in named if self.questions(teacher, name)[1].any()]

    def check_questions(self, sets: Mapping[str, str]) -> None:
        """sets: benchmark → name of its problems file. Raises HealError where a problem of it was never asked."""
        for name in self.benchmarks:
            if name not in sets:
                continue
            asked = self.answers(self.teacher_path(self.teachers[0], name), name)
            problems = self.folder / "problems" / f"{sets[name]}.parquet"
            expected = {row["problem_id"] for row in records.read(problems, "problems")}
            if absent := sorted(expected - set(asked.problem_ids)):
                found = f"no answer to {len(absent)} of {len(expected)} problems, the first is {absent[0]}"
                raise HealError(found, where=f"{asked.path} against {problems}", fix="run the evaluation again")

    def teacher_tokens(self, teacher: str, method: Method) -> tuple[int, int]:
        """(generated, prefilled and scored) teacher tokens of the files that a method needs, mean over the draws.

        Rejected repairs, hints and scoring are in those files' counts. Raises HealError for a missing file.
        """
        made = [
            self.folder / "traces" / teacher / f"draw{draw}" / file
            for draw in range(self.draws)
            for file in files.of_teacher(method.needs())
        ]
        used = records.add_usage(tokens_of(path) for path in made)
        generated, prefilled = used.get("generated", 0), used.get("prefill", 0) + used.get("scored", 0)
        return round(generated / self.draws), round(prefilled / self.draws)

    def training_tokens(self, teacher: str, student: str, method: str) -> int:
        """Tokens one student is trained on, prompts included: mean over draws and seeds. Raises HealError."""
        counts = []
        for draw in range(self.draws):
            folder = self.student_folder("students", teacher, draw, student, method)
            for seed in range(self.seeds):
                counts.append(read_json(folder / f"seed{seed}" / "training.json")["tokens"]["total"])
        return round(sum(counts) / len(counts))


@cache
def tokens_of(file: Path) -> dict[str, int]:
    if not file.exists():
        raise HealError("no such file", where=str(file), fix="run the stage that makes it (snakemake does)")
    return records.usage(file)


def read_json(path: str | Path) -> dict:
    """Raises HealError where the file is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HealError("no such file", where=str(path), fix="run the stage that makes it (snakemake does)") from None
    except ValueError as error:
        raise HealError(f"not valid JSON ({error})", where=str(path), fix="delete it and run snakemake again") from None


def add_axes(parser: argparse.ArgumentParser, *, benchmarks: bool = True) -> None:
    """The arguments that say which of a run's files are meant; `benchmarks` where answers are."""
    parser.add_argument("--run", required=True, help="results/<run>")
    for name in ("teachers", "students", "methods"):
        parser.add_argument(f"--{name}", nargs="+", required=True, help="their names in the config")
    parser.add_argument("--benchmarks", nargs="+", required=benchmarks, default=[], help="lm-eval tasks, by name")
    parser.add_argument("--draws", type=int, default=1, help="samplings of each teacher")
    parser.add_argument("--seeds", type=int, required=True, help="training seeds 0 … n−1")
    parser.add_argument("--reading", choices=["strict", "flexible"], default="strict", help="which grade counts")


def run_of(arguments: argparse.Namespace) -> Run:
    """Raises HealError where there is not at least one draw and seed."""
    if arguments.draws < 1 or arguments.seeds < 1:
        raise HealError("no replicate", where="--draws, --seeds", fix="give at least 1")
    axes = (arguments.teachers, arguments.students, arguments.methods, arguments.benchmarks)
    return Run(Path(arguments.run), *axes, arguments.draws, arguments.seeds, arguments.reading)


def methods_of(content: str, names: Sequence[str]) -> dict[str, Method]:
    """The resolved methods of --methods-json (name → kind and options). Raises HealError for a name it lacks."""
    try:
        entries = json.loads(content)
    except json.JSONDecodeError as error:
        raise HealError(f"not valid JSON ({error.msg})", where="--methods-json", fix="give name → options") from None
    if absent := [name for name in names if name not in entries]:
        raise HealError(f"no entry for {absent[0]!r}", where="--methods-json", fix="give every method of --methods")
    return {name: build(entries[name], where="--methods-json", field=name) for name in names}
