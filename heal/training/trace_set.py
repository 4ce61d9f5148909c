"""A teacher's traces as a data set for the hub: which files it has, and the card that describes them.

Reads the trace files of one teacher and teacher sampling seed, the run's training problems, its config, and the
provenance of the traces. Writes nothing: `heal push --traces` sends what is listed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from heal.config.experiment import Experiment, load
from heal.errors import HealError
from heal.provenance import SUFFIX, describe_commit
from heal.schemas import SCHEMAS
from heal.stored_rows import explain_damage
from heal.trace_files import GRADES, SAMPLES, find_trace_file

CARD = "README.md"
PROBLEMS = "problems.parquet"
UNSTATED = "not stated in the config"
SECTIONS = ("sampling", "guided", "gear", "scoring")
"""Sections of the config that decide what the traces are."""


def list_trace_set(folder: Path) -> dict[str, Path]:
    """Path in the data set → local file: the training problems, and every trace file but those of students.

    Raises HealError for a folder that is not that of a teacher sampling seed.
    """
    problems = folder.parents[2] / "problems/train.parquet" if len(folder.parents) > 2 else folder
    for path in (folder / SAMPLES.path, folder / GRADES.path, problems):
        if not path.is_file():
            fix = "give results/RUN/traces/TEACHER/teacher_seed0 of a run (snakemake traces)"
            raise HealError(f"no {path.name} for it", where=str(folder), fix=fix)
    files = {PROBLEMS: problems}
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        if is_trace_file(name) and not name.startswith("students/"):
            files[name] = path
    return files


def is_trace_file(name: str) -> bool:
    """Whether a path is a whole trace file, and no shard or unfinished batch."""
    try:
        find_trace_file(name)
    except KeyError:
        return False
    return True


def render_card(folder: Path, files: dict[str, Path]) -> str:
    """The data set's card. Raises HealError for a run without a config, and for a damaged file."""
    run = folder.parents[2]
    experiment = read_latest_config(run)
    teacher = experiment.teachers[folder.parent.name]
    problems = experiment.problems
    source = problems.train.path or ", ".join(part.path or "" for part in problems.train.parts.values())
    teacher_source = f"{teacher.path} at {teacher.revision}" if teacher.revision else teacher.path
    schemas = {name: get_schema_name(name) for name in files}
    options = {section: getattr(experiment, section).model_dump(mode="json") for section in SECTIONS}
    body = CARD_TEMPLATE.format(
        teacher=folder.parent.name,
        run=run.name,
        seed=folder.name.removeprefix("teacher_seed"),
        sources=build_table(
            ["", "source", "license"],
            [
                ["teacher", teacher_source, teacher.license or UNSTATED],
                ["problems", source or problems.train.source, problems.license or UNSTATED],
            ],
        ),
        files=build_table(["file", "rows", "content"], list_contents(files)),
        columns=describe_columns(schemas.values()),
        options=json.dumps(options, sort_keys=True),
        commit=read_commit(folder / SAMPLES.path),
    )
    return render_front_matter(files, {teacher.license, problems.license}) + body


def read_latest_config(run: Path) -> Experiment:
    """The config that the run's jobs used last. Raises HealError where there is none."""
    configs = sorted((run / "config").glob("*.yaml"), key=lambda path: path.stat().st_mtime)
    if not configs:
        raise HealError("no config of the run", where=str(run / "config"), fix="run snakemake, which writes it")
    return load(configs[-1])


def get_schema_name(name: str) -> str:
    return "problems" if name == PROBLEMS else find_trace_file(name).schema


def render_front_matter(files: Iterable[str], licenses: Iterable[str | None]) -> str:
    """What the hub reads. A license only where teacher and problems state the same one."""
    fields: dict[str, Any] = {"tags": ["reasoning-distillation"], "configs": []}
    stated = {license.lower() if license else UNSTATED for license in licenses}
    if len(stated) == 1 and UNSTATED not in stated:
        fields["license"] = stated.pop()
    for name in files:
        label = name.removesuffix(".parquet").replace("/", "_").replace(".", "_")
        fields["configs"].append({"config_name": label, "data_files": name})
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def list_contents(files: dict[str, Path]) -> list[list[str]]:
    """One row per file: name, number of rows, content."""
    rows = []
    for name, path in files.items():
        with explain_damage(path):
            count = pq.read_metadata(path).num_rows
        content = "the training problems" if name == PROBLEMS else find_trace_file(name).content
        rows.append([f"`{name}`", f"{count:,}", content])
    return rows


def describe_columns(schemas: Iterable[str]) -> str:
    """The columns of every schema, each with its meaning."""
    parts = []
    for schema in dict.fromkeys(schemas):
        rows = [[f"`{name}`", column.meaning] for name, column in SCHEMAS[schema].items()]
        parts.append(f"### {schema}\n\n{build_table(['column', 'meaning'], rows)}")
    return "\n".join(parts)


def read_commit(output: Path) -> str:
    """The commit that made an output, by its provenance."""
    file = Path(f"{output}{SUFFIX}")
    return describe_commit(json.loads(file.read_text(encoding="utf-8"))["git"] if file.exists() else {})


def build_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


CARD_TEMPLATE = """
# Traces of {teacher}

The traces of one teacher in run `{run}` (teacher sampling seed {seed}): its samples of every training problem, right
and wrong ones, and what HEAL (arXiv 2603.10359, re-implemented from a description) made of the failed ones.

{sources}
The license of a teacher may extend to the text it wrote: check both before you publish these traces.

## Files

{files}
`trace_id` and `problem_id` connect them: a sample is correct where `grades.parquet` says so. A repair's `text` is what
a student is trained on; its `hint` is not part of it.

## Columns

{columns}
## How they were made

Code at commit {commit}. Options: `{options}`

Final answers were verified against the gold answers. Steps were not: a correct trace may hold wrong reasoning.
"""
