"""A run's files as tables and figures read them: scores [teacher seeds, training seeds, questions] and token counts.

Reads answers.parquet, results.json, training.json and the trace files' token counts below results/<run>/; writes
nothing. A missing file, a missing answer and questions that do not pair up are errors.

Array suffixes: T teacher sampling seeds, S training seeds, Q questions, R repeats of a question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evals.answers import Answers, Reading, check_pairing, read_answers
from heal import records, run_layout
from heal.command import Command, Section
from heal.config.experiment import Primary
from heal.config.run_config import ComparisonView
from heal.errors import HealError
from heal.method.base import Method
from heal.registry import build_method
from heal.worlds.base import World
from heal.worlds.registry import find_world_of_problems

TEACHER, UNTRAINED = "teacher", "untrained"
"""Values of a table's `method` for the teacher itself and for a student before training."""

UNSOLVED = ":unsolved"
"""<benchmark>:unsolved: its questions that the teacher never answers correctly."""

TrainingTokens = Literal["total", "supervised"]
Mask = NDArray[np.bool_]
STRATA: dict[str, Callable[[NDArray[np.float64]], Mask]] = {
    "unsolved": lambda rate_Q: rate_Q == 0,
    "rarely": lambda rate_Q: (rate_Q > 0) & (rate_Q < 1 / 3),
    "half": lambda rate_Q: (rate_Q >= 1 / 3) & (rate_Q <= 2 / 3),
    "mostly": lambda rate_Q: (rate_Q > 2 / 3) & (rate_Q < 1),
    "always": lambda rate_Q: rate_Q == 1,
}
"""<benchmark>:<name>: its questions by the teacher's pass rate over its own repeats."""

RUN_RULE = "run the rule that makes it (snakemake does)"


@dataclass(frozen=True)
class AnswersKey:
    """Whose answers to which benchmark a file holds."""

    teacher: str
    """Empty for an untrained student."""
    student: str
    """Empty for the teacher itself."""
    method: str
    """TEACHER or UNTRAINED where no student was trained."""
    benchmark: str
    teacher_seed: int | None = None
    seed: int | None = None

    def describe(self) -> str:
        """The fields that say something: teacher=default method=teacher benchmark=mini_hard."""
        parts = []
        for name, value in vars(self).items():
            if value not in ("", None):
                parts.append(f"{name}={value}")
        return " ".join(parts)


@dataclass(frozen=True)
class Run:
    """The axes of a comparison, and the run's files; each answers file is read once and checked for pairing."""

    folder: Path
    teachers: Sequence[str]
    students: Sequence[str]
    methods: Sequence[str]
    benchmarks: Sequence[str]
    teacher_seeds: int
    """Number of teacher sampling seeds."""
    training_seeds: int
    """Number of training seeds per teacher seed."""
    reading: Reading = "strict"
    main_methods: Sequence[str] = ()
    """Methods of the main comparison, where this one has rows of it: those have the numbers of the main table."""
    primary: Primary | None = None
    """The one contrast that is tested unadjusted, where it is a row of this comparison."""

    @property
    def tested_methods(self) -> list[str]:
        """The main comparison's methods, which the numbers of its rows rest on, and this one's."""
        return list(dict.fromkeys([*self.main_methods, *self.methods]))

    @cached_property
    def _answers(self) -> dict[Path, Answers]:
        return {}

    @cached_property
    def _engines(self) -> dict[Path, str]:
        return {}

    # Files

    def get_traces_folder(self, teacher: str, teacher_seed: int) -> Path:
        return self.folder / run_layout.TRACES.format(teacher=teacher, teacher_seed=teacher_seed)

    def get_curriculum_folder(self, teacher: str, teacher_seed: int, student: str, method: str) -> Path:
        return self.folder / run_layout.CURRICULUM.format(
            teacher=teacher, teacher_seed=teacher_seed, student=student, method=method
        )

    def get_student_folder(self, teacher: str, teacher_seed: int, student: str, method: str, seed: int) -> Path:
        return self.folder / run_layout.STUDENT.format(
            teacher=teacher, teacher_seed=teacher_seed, student=student, method=method, seed=seed
        )

    def get_student_evals(self, teacher: str, teacher_seed: int, student: str, method: str, seed: int) -> Path:
        return self.folder / run_layout.STUDENT_EVALS.format(
            teacher=teacher, teacher_seed=teacher_seed, student=student, method=method, seed=seed
        )

    def get_teacher_path(self, teacher: str, benchmark: str) -> Path:
        """The teacher's answers to a benchmark."""
        return self.folder / run_layout.TEACHER_EVALS.format(teacher=teacher) / benchmark / "answers.parquet"

    def get_untrained_path(self, student: str, benchmark: str) -> Path:
        """The answers of a student before training."""
        return self.folder / run_layout.UNTRAINED_EVALS.format(student=student) / benchmark / "answers.parquet"

    def list_seeds(self) -> list[tuple[int, int]]:
        """(teacher seed, training seed) of every student of a method, teacher seed by teacher seed."""
        return list(product(range(self.teacher_seeds), range(self.training_seeds)))

    def list_student_paths(self, teacher: str, student: str, method: str, benchmark: str) -> list[Path]:
        """The answers of a method's students, in the order of `list_seeds`."""
        paths = []
        for teacher_seed, seed in self.list_seeds():
            folder = self.get_student_evals(teacher, teacher_seed, student, method, seed)
            paths.append(folder / benchmark / "answers.parquet")
        return paths

    def list_answers(self, benchmark: str) -> Iterator[tuple[AnswersKey, Path]]:
        """Every answers file of a benchmark: of teachers, of untrained students, then of each trained student."""
        for teacher in self.teachers:
            yield AnswersKey(teacher, "", TEACHER, benchmark), self.get_teacher_path(teacher, benchmark)
        for student in self.students:
            yield AnswersKey("", student, UNTRAINED, benchmark), self.get_untrained_path(student, benchmark)
        for teacher, student, method in product(self.teachers, self.students, self.tested_methods):
            paths = self.list_student_paths(teacher, student, method, benchmark)
            for (teacher_seed, seed), path in zip(self.list_seeds(), paths, strict=True):
                yield AnswersKey(teacher, student, method, benchmark, teacher_seed, seed), path

    def read_problems(self, name: str) -> list[records.Row]:
        """The problems of a split. Raises HealError for a missing file."""
        return records.read(self.folder / "problems" / f"{name}.parquet", "problems")

    @cached_property
    def world(self) -> World | None:
        """The world that the training problems are of; None for problems from elsewhere."""
        return find_world_of_problems(self.read_problems("train"))

    # Answers

    def load_answers(self, path: Path, benchmark: str) -> Answers:
        """The answers of a file. Raises HealError as `read_answers` and `check_pairing` do."""
        first = self.get_teacher_path(self.teachers[0], benchmark)
        for file in (first, path):
            if file not in self._answers:
                self._answers[file] = read_answers(file, self.reading)
                check_pairing(self._answers[first], self._answers[file])
        return self._answers[path]

    def preload(self, path: Path, answers: Answers, engine: str) -> None:
        """Sets a file's answers from elsewhere, the first teacher's first. Raises HealError as `check_pairing` does."""
        self._answers[path], self._engines[path] = answers, engine
        first = self._answers.get(self.get_teacher_path(self.teachers[0], path.parent.name))
        if first:
            check_pairing(first, answers)

    def get_engine(self, path: Path) -> str:
        """`read_engine` of an answers file, read once."""
        if path not in self._engines:
            self._engines[path] = read_engine(path)
        return self._engines[path]

    def has_mixed_engines(self, teacher: str, student: str, methods: Iterable[str], benchmark: str) -> bool:
        """Whether the students of these methods answered on different engines: their difference supports no claim."""
        name = benchmark.partition(":")[0]
        engines: set[str] = set()
        for method in methods:
            engines.update(map(self.get_engine, self.list_student_paths(teacher, student, method, name)))
        return len(engines) > 1

    # Scores

    def select_questions(self, teacher: str, benchmark: str) -> tuple[str, Mask]:
        """The benchmark's own name and which of its questions the stratum has, shape [all its questions]."""
        name, _, stratum = benchmark.partition(":")
        rate_Q = self.load_answers(self.get_teacher_path(teacher, name), name).scores_Q
        return name, STRATA[stratum](rate_Q) if stratum else np.ones(len(rate_Q), dtype=bool)

    def get_teacher_scores(self, teacher: str, benchmark: str) -> NDArray[np.float64]:
        """Shape [Q]."""
        name, mask_Q = self.select_questions(teacher, benchmark)
        return self.load_answers(self.get_teacher_path(teacher, name), name).scores_Q[mask_Q]

    def get_untrained_scores(self, teacher: str, student: str, benchmark: str) -> NDArray[np.float64]:
        """Shape [Q]; the teacher decides which questions are in the stratum."""
        name, mask_Q = self.select_questions(teacher, benchmark)
        return self.load_answers(self.get_untrained_path(student, name), name).scores_Q[mask_Q]

    def get_student_scores(self, teacher: str, student: str, method: str, benchmark: str) -> NDArray[np.float64]:
        """Shape [T, S, Q]."""
        name, mask_Q = self.select_questions(teacher, benchmark)
        scores = []
        for path in self.list_student_paths(teacher, student, method, name):
            scores.append(self.load_answers(path, name).scores_Q[mask_Q])
        return np.reshape(scores, (self.teacher_seeds, self.training_seeds, -1))

    def compute_truncated_share(self, teacher: str, student: str, method: str, benchmark: str) -> float:
        """Share of a model's answers that hit the token limit. method: TEACHER and UNTRAINED too."""
        name, mask_Q = self.select_questions(teacher, benchmark)
        if method == TEACHER:
            paths = [self.get_teacher_path(teacher, name)]
        elif method == UNTRAINED:
            paths = [self.get_untrained_path(student, name)]
        else:
            paths = self.list_student_paths(teacher, student, method, name)
        return float(np.mean([self.load_answers(path, name).truncated_Q[mask_Q] for path in paths]))

    def count_repeats(self, benchmark: str) -> int:
        first = self.get_teacher_path(self.teachers[0], benchmark)
        return self.load_answers(first, benchmark).scores_QR.shape[1]

    def list_strata(self, teacher: str) -> list[str]:
        """The strata with questions in them, of the benchmarks with several repeats: one repeat is too few."""
        strata = []
        for benchmark, stratum in product(self.benchmarks, STRATA):
            name = f"{benchmark}:{stratum}"
            if self.count_repeats(benchmark) > 1 and self.select_questions(teacher, name)[1].any():
                strata.append(name)
        return strata

    def list_benchmarks(self, teacher: str) -> list[str]:
        """The benchmarks, each followed by its unsolved stratum where it has one."""
        strata = self.list_strata(teacher)
        names = []
        for benchmark in self.benchmarks:
            names.append(benchmark)
            if benchmark + UNSOLVED in strata:
                names.append(benchmark + UNSOLVED)
        return names

    def check_questions(self, problem_sets: Mapping[str, str]) -> None:
        """Raises HealError where a problem has no answer. problem_sets: benchmark → name of its problems file."""
        for benchmark in self.benchmarks:
            if benchmark not in problem_sets:
                continue
            answers = self.load_answers(self.get_teacher_path(self.teachers[0], benchmark), benchmark)
            problems = self.read_problems(problem_sets[benchmark])
            absent = sorted({row["problem_id"] for row in problems}.difference(answers.problem_ids))
            if absent:
                problem = f"no answer to {len(absent)} of {len(problems)} problems, the first is {absent[0]}"
                raise HealError(problem, where=str(answers.path), fix="run the evaluation again")

    # Tokens

    def read_teacher_usage(self, teacher: str, method: Method) -> records.Usage:
        """Teacher tokens (generated, prefill, scored) of the files that a method needs, summed over teacher seeds.

        Includes rejected repairs, hints and scoring. Raises HealError for a missing file.
        """
        usages = []
        for teacher_seed in range(self.teacher_seeds):
            for file in set(method.needs()):
                if file.made_by == "teacher":
                    usages.append(read_usage(self.get_traces_folder(teacher, teacher_seed) / file.path))
        return records.add_usage(usages)

    def count_teacher_tokens(self, teacher: str, method: Method) -> tuple[int, int]:
        """(generated, prefilled and scored) teacher tokens that a method needs, mean over teacher seeds."""
        usage = self.read_teacher_usage(teacher, method)
        prefilled = usage.get("prefill", 0) + usage.get("scored", 0)
        return round(usage.get("generated", 0) / self.teacher_seeds), round(prefilled / self.teacher_seeds)

    def compute_training_tokens(self, teacher: str, student: str, method: str, part: TrainingTokens = "total") -> float:
        """Tokens that one student is trained on, mean over all seeds. Raises HealError for a missing file.

        part: total counts prompts too, supervised only the tokens under the loss.
        """
        total = 0
        for teacher_seed, seed in self.list_seeds():
            folder = self.get_student_folder(teacher, teacher_seed, student, method, seed)
            total += read_json(folder / "training.json")["tokens"][part]
        return total / len(self.list_seeds())


class ComparisonCommand(Command):
    """The flags of a command that reads one comparison of a run."""

    comparison: str
    """Name of the comparison in the config: main, ablations, or one under `comparisons`."""
    view: Annotated[ComparisonView, Section("comparisons.{comparison}")]
    """The comparison: its methods, and the run's models, benchmarks and seeds."""
    reading: Reading = "strict"
    """Which grade of an answer counts."""

    def open_run(self) -> Run:
        """The run that the comparison is of."""
        return open_run(self.view, self.reading)


def open_run(view: ComparisonView, reading: Reading = "strict") -> Run:
    """The run of a comparison. Raises HealError without at least one teacher seed and one training seed."""
    if view.teacher_seeds < 1 or view.training_seeds < 1:
        raise HealError("no replicate", where="teacher_seeds, training_seeds", fix="give at least 1")
    return Run(
        folder=Path(view.run),
        teachers=view.teachers,
        students=view.students,
        methods=list(view.methods),
        benchmarks=view.benchmarks,
        teacher_seeds=view.teacher_seeds,
        training_seeds=view.training_seeds,
        reading=reading,
        main_methods=view.main_methods,
        primary=view.primary,
    )


def build_methods(view: ComparisonView) -> dict[str, Method]:
    """The comparison's methods with complete options, by name. Raises HealError for an unknown method or option."""
    methods = {}
    for name, spec in view.methods.items():
        methods[name] = build_method(spec.method, spec.options, where=f"comparison {view.name}", field=name)
    return methods


def read_engine(path: Path) -> str:
    """Engine and number format of an answers file, from results.json in its folder; "" where that has neither."""
    results = path.with_name("results.json")
    settings = read_json(results).get("settings", {}) if results.exists() else {}
    return f"{settings.get('engine', '')} {settings.get('dtype', '')}".strip()


@cache
def read_usage(file: Path) -> records.Usage:
    """Tokens that a trace file cost. Raises HealError for a missing file."""
    if not file.exists():
        raise HealError("no such file", where=str(file), fix=RUN_RULE)
    return records.read_usage(file)


def read_json(path: str | Path) -> Any:
    """Raises HealError where the file is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HealError("no such file", where=str(path), fix=RUN_RULE) from None
    except ValueError as error:
        raise HealError(f"not valid JSON ({error})", where=str(path), fix="delete it and run snakemake again") from None
