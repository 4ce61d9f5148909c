"""The model card of one trained student: what it learnt from, how it scores, on what terms, how to load it.

Reads the student's training.json and exposures.csv, its answers, and those of its teacher and of itself before
training; writes --out, as Markdown with the front matter that the hub reads.

    python -m evals.report.model_card --run results/mini --teacher default --draw 0 --student tiny --method heal --seed 0 \\
        --benchmarks mini_easy mini_hard --method-json '{"kind": "heal", …}' --models '{"teacher": …, "student": …}' \\
        --problems '{"source": "mini", …}' --out results/mini/students/default/draw0/tiny/heal/seed0/README.md
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from evals import stats
from evals.answers import Answers
from evals.results import Run, read_json
from evals.tables.render import format_interval, format_markdown_table
from heal import records
from heal.command import command_parser
from heal.config.data import Dataset
from heal.config.experiment import Model
from heal.config.options import validate
from heal.errors import exit_with_errors
from heal.method.base import Method
from heal.provenance import SUFFIX, recorded
from heal.registry import build

STAGES = {"1": "base samples", "2": "answer-guided samples", "3": "repairs"}
UNSTATED = "not stated in the config"


def origin(model: Model) -> str:
    """Where a model comes from, in words."""
    if model.package:
        found = f"{model.path} from the PyPI package {model.package} {model.revision}"
    else:
        found = f"{model.path} at {model.revision}" if model.revision else model.path
    return found + (", after a warm-up on worked examples" if model.warm_up else "")


def front_matter(student: Model, method: Method) -> str:
    """What the hub reads. A base model is named only where it is one of the hub's."""
    hub = student.revision and not student.package
    fields = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["reasoning-distillation", method.kind],
        **({"license": student.license.lower()} if student.license else {}),
        **({"base_model": student.path} if hub else {}),
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def score(answers: Answers) -> str:
    mean = stats.compute_crossed_bootstrap(answers.scores_Q[None])
    return format_interval(mean.mean, mean.low, mean.high)


def scores(run: Run, draw: int, seed: int) -> str:
    """The student beside itself before training and its teacher, benchmark by benchmark."""
    [teacher], [student], [method] = run.teachers, run.students, run.methods
    rows = []
    for name in run.benchmarks:
        own = run.get_student_evals(teacher, draw, student, method, seed) / name / "answers.parquet"
        beside = run.get_untrained_path(student, name), run.get_teacher_path(teacher, name)
        read = [run.load_answers(path, name) for path in (own, *beside)]
        questions, repeats = read[0].scores_QR.shape
        rows.append([name, str(questions), str(repeats), *map(score, read)])
    header = ["benchmark", "questions", "answers each", "this student", "before training", "teacher"]
    return format_markdown_table(header, rows, lambda column: column == 0)


def data(training: dict[str, Any], exposures: pd.DataFrame) -> str:
    """Examples, optimizer steps and exposures per PACE stage, and where the examples are from."""
    rows = []
    for stage, kept in exposures.groupby("stage"):
        origins = Counter(kept["origin"])
        told = ", ".join(f"{count} {name}" for name, count in sorted(origins.items()))
        steps = training["steps_per_stage"][str(stage)]
        rows.append([f"{stage}: {STAGES[str(stage)]}", str(len(kept)), told, str(steps), str(kept["exposures"].sum())])
    return format_markdown_table(
        ["stage", "examples", "origin", "steps", "exposures"], rows, lambda column: column in (0, 2)
    )


TEMPLATE = """
# {student}, taught by {teacher} with {name}

A student of run `{run}` (teacher draw {draw}, training seed {seed}). Method `{kind}`: {summary} ({paper}).

## Scores

{scores}

Share of right answers; in brackets a 95 % interval that covers the choice of questions only. This is one checkpoint:
another training seed or draw gives another, so methods are compared in the run's tables, not by their cards.

## What it was trained on

{data}

{total:,} tokens, {supervised:,} of them supervised; schedule `{schedule}`. Left out: {long} examples that are too long,
{unreadable} that the tokenizer cannot write.

## Settings

{settings}

Method options: `{options}`

Code at commit {commit}; {versions}.

## Terms

{terms}

What a teacher wrote may carry its license's terms on; whoever publishes this student has to look at all three.

## Use

From the folder of this card, `vllm serve model`, or:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("model"), AutoModelForCausalLM.from_pretrained("model")
turns = [{{"role": "user", "content": {question!r}}}]
inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=512)[0]))
```

## Limits

Made by a re-implementation of HEAL from a description of the paper. It answers questions like those it was trained on;
nothing was done for any other use, or against harmful answers.
"""


def card(
    run: Run, draw: int, seed: int, method: Method, models: dict[str, Model], problems: Dataset, license: str | None
) -> str:
    """The whole text. run: with one teacher, one student, one method. Raises HealError for files that are missing."""
    [teacher], [student], [name] = run.teachers, run.students, run.methods
    folder = run.get_student_folder(teacher, draw, student, name, seed)
    training, git = read_json(folder / "training.json"), read_json(Path(f"{folder}{SUFFIX}"))["git"]
    terms = [
        ["this student before training", origin(models["student"]), models["student"].license or UNSTATED],
        ["teacher", origin(models["teacher"]), models["teacher"].license or UNSTATED],
        ["training problems", problems.path or problems.source, license or UNSTATED],
    ]
    given = [[key, str(value)] for key, value in sorted(training["options"].items()) if value not in (None, [])]
    versions = [f"{package} {training['versions'][package]}" for package in ("torch", "transformers", "trl")]
    return front_matter(models["student"], method) + TEMPLATE.format(
        student=student,
        teacher=teacher,
        name=name,
        run=run.folder.name,
        draw=draw,
        seed=seed,
        kind=method.kind,
        summary=method.summary,
        paper=method.paper,
        scores=scores(run, draw, seed),
        data=data(training, pd.read_csv(folder / "exposures.csv")),
        total=training["tokens"]["total"],
        supervised=training["tokens"]["supervised"],
        schedule=training["schedule"],
        long=len(training["left_out_too_long"]),
        unreadable=len(training["left_out_unreadable"]),
        settings=format_markdown_table(["training", ""], given, lambda column: True),
        options=json.dumps(method.options.model_dump(), sort_keys=True),
        commit=(git["commit"] or "unknown") + (" with uncommitted changes" if git["dirty"] else ""),
        versions=", ".join(versions),
        terms=format_markdown_table(["", "origin", "license"], terms, lambda column: True),
        question=next(iter(records.read(run.folder / "problems/train.parquet", "problems")))["question"],
    )


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="results/<run>")
    for name in ("teacher", "student", "method"):
        parser.add_argument(f"--{name}", required=True, help=f"name of the {name} in the config")
    parser.add_argument("--draw", type=int, default=0, help="of the teacher (default: %(default)s)")
    parser.add_argument("--seed", type=int, required=True, help="of the training")
    parser.add_argument("--benchmarks", nargs="+", required=True, help="that it has answered")
    parser.add_argument("--method-json", required=True, help="the method with its options, as JSON")
    parser.add_argument("--models", required=True, help="the config's `teacher` and `student`, as JSON")
    parser.add_argument("--problems", required=True, help="where the training problems come from, as JSON")
    parser.add_argument("--license", help="of the training problems")
    parser.add_argument("--out", required=True, help="the card")
    given = parser.parse_args()
    with recorded(given.out, "evals.report.model_card", options=json.loads(given.method_json)):
        axes = [given.teacher], [given.student], [given.method], given.benchmarks
        run = Run(given.run, *axes, given.draw + 1, given.seed + 1)
        method = build(json.loads(given.method_json), where="--method-json", field=given.method)
        models = {role: validate(Model, entry, where="--models") for role, entry in json.loads(given.models).items()}
        problems = validate(Dataset, json.loads(given.problems), where="--problems")
        records.write_text(given.out, card(run, given.draw, given.seed, method, models, problems, given.license))


if __name__ == "__main__":
    exit_with_errors(main)
