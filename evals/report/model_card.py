"""Write the model cards of trained students of one method: training data, scores and license, and how to load it.

Reads training.json, exposures.csv and provenance of each student, its answers, and those of its teacher and of itself
before training; writes every --out, as Markdown with the front matter that the hub reads, and hub_results.yaml next to
it: the scores on benchmarks that the hub knows (evals/report/hub_results.py).

    heal model-card --config config/config.yaml --teacher default --student tiny --method heal --seed 0 \\
        --out results/mini/students/default/teacher_seed0/tiny/heal/seed0/README.md
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import yaml

from evals import stats
from evals.answers import Answers
from evals.report.hub_results import render_hub_results
from evals.report.origins import get_commit, get_provenance_path
from evals.results import Run, read_json
from evals.tables.render import format_interval, format_markdown_table, format_number
from heal import records
from heal.command import Command, Section, check_pairs
from heal.config.data import Dataset
from heal.config.experiment import Gear
from heal.config.models import Model
from heal.config.options import merge_options
from heal.config.run_config import MethodSpec
from heal.method.base import Method
from heal.provenance import record_run
from heal.registry import build_method
from heal.training.push import HUB_RESULTS

VERSION = 2
"""Raise it when the bytes of the output change for the same input."""

STAGES = {1: "base samples", 2: "answer-guided samples", 3: "repairs"}
PACKAGES = ("torch", "transformers", "trl")
UNSTATED = "not stated in the config"


class WriteModelCard(Command):
    run_folder: Annotated[str, Section("comparisons.main.run")]
    """The run's folder, results/<run>."""
    teacher: str
    """Name of the teacher in the config."""
    teacher_seed: int = 0
    """Index of the teacher sampling seed, from 0."""
    student: str
    """Name of the student in the config."""
    method: str
    """Name of the method in the config."""
    seed: list[int]
    """Training seed (once per student, each with its --out)."""
    benchmarks: Annotated[list[str], Section("benchmarks")]
    """lm-eval tasks that the student has answered (once per task)."""
    method_spec: Annotated[MethodSpec, Section("methods.{method}")]
    """The method with its options."""
    gear: Annotated[Gear, Section("gear")] = Gear()
    """The run's own GEAR."""
    gear_variants: Annotated[dict[str, dict[str, Any]], Section("gear_variants")] = {}
    """Further GEAR variants, one of which the method may use."""
    teacher_model: Annotated[Model, Section("teacher_models.{teacher}")]
    """The teacher."""
    student_model: Annotated[Model, Section("student_models.{student}")]
    """The student before training."""
    problems: Annotated[Dataset, Section("problems.train")]
    """The training problems."""
    problem_sets: Annotated[dict[str, Dataset], Section("problems.test")] = {}
    """The benchmarks' problem sets by name."""
    license: Annotated[str | None, Section("problems.license")] = None
    """License of the training problems."""
    out: list[Path]
    """The model card to write (once per student)."""

    def run(self) -> None:
        check_pairs("--seed", self.seed, self.out)
        spec = self.method_spec
        method = build_method(spec.method, spec.options, where="--method-spec", field=self.method)
        variant = self.gear_variants.get(method.variant or "", {})
        gear = merge_options(self.gear.model_dump(), variant) if method.variant else None
        sources = [
            Source("this student before training", describe_model(self.student_model), self.student_model.license),
            Source("teacher", describe_model(self.teacher_model), self.teacher_model.license),
            Source("training problems", self.problems.path or self.problems.source, self.license),
        ]
        front_matter = render_front_matter(self.student_model, method)
        run = self.make_run()
        for seed, out in zip(self.seed, self.out, strict=True):
            options = self.model_copy(update={"seed": [seed], "out": [out]}).describe_options()
            with record_run(out, "model-card", VERSION, {"options": options}):
                student = TrainedStudent(run, self.teacher_seed, seed, method)
                records.write_text(out, front_matter + render_model_card(student, gear, sources))
                results = render_hub_results(student.load_answers(), self.problem_sets)
                records.write_text(out.with_name(HUB_RESULTS), results)

    def make_run(self) -> Run:
        """The run with the one teacher, student and method of these cards."""
        return Run(
            Path(self.run_folder),
            [self.teacher],
            [self.student],
            [self.method],
            self.benchmarks,
            teacher_seeds=self.teacher_seed + 1,
            training_seeds=max(self.seed) + 1,
        )


@dataclass(frozen=True)
class TrainedStudent:
    """One student: a run with one teacher, one student and one method, and the seeds of this student."""

    run: Run
    teacher_seed: int
    seed: int
    method: Method

    @property
    def folder(self) -> Path:
        [teacher], [student], [method] = self.run.teachers, self.run.students, self.run.methods
        return self.run.get_student_folder(teacher, self.teacher_seed, student, method, self.seed)

    def load_answers(self) -> dict[str, Answers]:
        """The student's answers by benchmark. Raises HealError for missing ones."""
        answers = {}
        for benchmark in self.run.benchmarks:
            answers[benchmark] = self.run.load_answers(self.get_answers_path(benchmark), benchmark)
        return answers

    def get_answers_path(self, benchmark: str) -> Path:
        [teacher], [student], [method] = self.run.teachers, self.run.students, self.run.methods
        folder = self.run.get_student_evals(teacher, self.teacher_seed, student, method, self.seed)
        return folder / benchmark / "answers.parquet"


@dataclass(frozen=True)
class Source:
    """Something that the student was made from, and its license; None where the config states none."""

    role: str
    origin: str
    license: str | None


def describe_model(model: Model) -> str:
    """Where a model comes from, in words."""
    if model.package:
        source = f"{model.path} from the PyPI package {model.package} {model.revision}"
    else:
        source = f"{model.path} at {model.revision}" if model.revision else model.path
    return source + (", after a warm-up on worked examples" if model.warm_up else "")


def render_front_matter(student: Model, method: Method) -> str:
    """What the hub reads. Names a base model only where it is on the hub."""
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["reasoning-distillation", method.name],
    }
    if student.license:
        fields["license"] = student.license.lower()
    if student.revision and not student.package:
        fields["base_model"] = student.path
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def format_score(answers: Answers) -> str:
    """Share of right answers with its interval over questions."""
    interval = stats.compute_crossed_bootstrap(answers.scores_Q[None])
    return format_interval(interval.mean, interval.low, interval.high)


def tabulate_scores(student: TrainedStudent) -> str:
    """The student, itself before training and its teacher, by benchmark. Raises HealError for missing answers."""
    run = student.run
    [teacher_name], [student_name] = run.teachers, run.students
    rows = []
    for benchmark, own in student.load_answers().items():
        untrained = run.load_answers(run.get_untrained_path(student_name, benchmark), benchmark)
        teacher = run.load_answers(run.get_teacher_path(teacher_name, benchmark), benchmark)
        questions, repeats = own.scores_QR.shape
        cut_off = format_number(float(own.truncated_Q.mean()), 3)
        scores = [format_score(own), cut_off, format_score(untrained), format_score(teacher)]
        rows.append([benchmark, str(questions), str(repeats), *scores])
    header = ["benchmark", "questions", "answers per question", "this student", "cut off", "before training", "teacher"]
    return format_markdown_table(header, rows, lambda column: column == 0)


def tabulate_training_data(training: dict[str, Any], exposures: pd.DataFrame) -> str:
    """Examples, optimizer steps and exposures per PACE stage, and the origin of the examples."""
    rows = []
    for stage, examples in exposures.groupby("stage"):
        origins = []
        for origin, count in sorted(Counter(examples["origin"]).items()):
            origins.append(f"{count} {origin}")
        steps = training["steps_per_stage"][str(stage)]
        total = str(examples["exposures"].sum())
        rows.append([f"{stage}: {STAGES[stage]}", str(len(examples)), ", ".join(origins), str(steps), total])
    header = ["stage", "examples", "origin", "optimizer steps", "exposures"]
    return format_markdown_table(header, rows, lambda column: column in (0, 2))


def tabulate_settings(options: dict[str, Any]) -> str:
    """The training options that are set, by name."""
    rows = []
    for name, value in sorted(options.items()):
        if value not in (None, []):
            rows.append([name, str(value)])
    return format_markdown_table(["training", ""], rows, lambda column: True)


def tabulate_sources(sources: Sequence[Source]) -> str:
    rows = [[source.role, source.origin, source.license or UNSTATED] for source in sources]
    return format_markdown_table(["", "source", "license"], rows, lambda column: True)


TEMPLATE = """
# {student}, taught by {teacher} with {name}

A student of run `{run}` (teacher sampling seed {teacher_seed}, training seed {seed}).

Method `{method}`: {summary}. Source: {paper}.

## Scores

{scores}

Share of right answers, with a 95 % interval that covers the choice of questions only; cut off: the share of this
student's answers that hit the token limit, which are wrong. This is one checkpoint: another
training seed or teacher sampling seed gives another. Compare methods by the run's tables, not by single model cards.

## Training data

{data}

{total:,} tokens, {supervised:,} of them supervised; schedule `{schedule}`. Skipped: {long} examples longer than
`max_length`, {unreadable} that the tokenizer cannot encode.

## Settings

{settings}

Method options: `{options}`{gear}

Code at commit {commit}; {versions}.

## License

{sources}

The license of a teacher may extend to the text it wrote: check all three before you publish this student.

## Use

From the folder of this model card, `vllm serve model`, or:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("model"), AutoModelForCausalLM.from_pretrained("model")
turns = [{{"role": "user", "content": {question!r}}}]
inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=512)[0]))
```

## Limitations

Trained by a re-implementation of HEAL from a description of the paper. The student answers questions like those in its
training data. It was not prepared for any other use, and nothing was done to prevent harmful answers.
"""


def render_model_card(student: TrainedStudent, gear: Mapping[str, Any] | None, sources: Sequence[Source]) -> str:
    """The model card without front matter. Raises HealError for missing files.

    gear: options of the GEAR variant that the method uses; None where it uses none.
    """
    run, method, folder = student.run, student.method, student.folder
    training = read_json(folder / "training.json")
    commit, dirty = get_commit(read_json(get_provenance_path(folder)))
    versions = [f"{package} {training['versions'][package]}" for package in PACKAGES]
    first_problem = next(iter(records.read(run.folder / "problems/train.parquet", "problems")))
    return TEMPLATE.format(
        student=run.students[0],
        teacher=run.teachers[0],
        name=run.methods[0],
        run=run.folder.name,
        teacher_seed=student.teacher_seed,
        seed=student.seed,
        method=method.name,
        summary=method.summary,
        paper=method.paper,
        scores=tabulate_scores(student),
        data=tabulate_training_data(training, pd.read_csv(folder / "exposures.csv")),
        total=training["tokens"]["total"],
        supervised=training["tokens"]["supervised"],
        schedule=training["schedule"],
        long=len(training["left_out_too_long"]),
        unreadable=len(training["left_out_unreadable"]),
        settings=tabulate_settings(training["options"]),
        options=json.dumps(method.options.model_dump(), sort_keys=True),
        gear="" if gear is None else f"\n\nGEAR options: `{json.dumps(gear, sort_keys=True)}`",
        commit=(commit or "unknown") + (" with uncommitted changes" if dirty else ""),
        versions=", ".join(versions),
        sources=tabulate_sources(sources),
        question=first_problem["question"],
    )
