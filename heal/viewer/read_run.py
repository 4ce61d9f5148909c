"""Reads the repairs of one teacher and teacher sampling seed: every GEAR variant, with scores where they exist.

Reads problems/train.parquet, and below traces/<teacher>/teacher_seed<n>/ samples.parquet, grades.parquet,
repairs/*.parquet with their provenance, scores/*.parquet. Writes nothing.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from heal import records, run_layout
from heal.config.experiment import Gear, Pure
from heal.config.options import validate
from heal.errors import HealError
from heal.method import pure
from heal.method.steps import split_text
from heal.provenance import SUFFIX
from heal.records import Row
from heal.trace_files import GRADES, REPAIRS, SAMPLES, SCORES
from heal.worlds import registry as worlds

LONGEST_VALUE = 20
"""Maximum characters of an option's value in a variant's label."""

Decision = Literal["kept", "dropped", "not scored"]


@dataclass(frozen=True)
class ViewedRepair:
    """A row of a repairs file, with its scores and PURE's decision."""

    variant: str
    row: Row
    score: Row | None
    pure: Decision

    @property
    def verdict(self) -> str:
        """accepted, or the reason why not."""
        return "accepted" if self.row["accepted"] else self.row["reason"]

    @property
    def id(self) -> str:
        """Unique on a page: variants that cut at the same step have repairs in common."""
        return f"{self.variant}/{self.row['trace_id'] or self.row['source_id']}"


@dataclass(frozen=True)
class ViewedRun:
    """The trace files of one teacher and teacher sampling seed, by id."""

    problems: Mapping[str, Row]
    samples: Mapping[str, Row]
    grades: Mapping[str, Row]
    gears: Mapping[str, Gear]
    """GEAR variant → its options."""
    engine: Mapping[str, Any]
    """Settings of the engine that made the repairs."""
    repairs: list[ViewedRepair]


def find_only_teacher(run_folder: Path) -> str:
    """The teacher of a run with one teacher. Raises HealError where it has none, or several."""
    teachers = sorted(path.name for path in run_folder.glob("traces/*") if path.is_dir())
    if not teachers:
        fix = "give the folder of a run, results/<run>, after `snakemake scores`"
        raise HealError("no traces", where=str(run_folder), fix=fix)
    if len(teachers) > 1:
        fix = "choose one with --teacher"
        raise HealError(f"several teachers: {', '.join(teachers)}", where=str(run_folder), fix=fix)
    return teachers[0]


def read_making(folder: Path, variant: str) -> tuple[Gear, dict[str, Any]]:
    """GEAR's options and the engine's settings of a variant's repairs, from their provenance. Raises HealError."""
    path = folder / f"{REPAIRS.of(variant=variant).path}{SUFFIX}"
    for file in (path, *sorted(folder.glob(f"shards/repairs/{variant}/*{SUFFIX}"))):
        if file.is_file():
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["command"] == "repair":
                return validate(Gear, record["options"]["gear"], where=str(file)), record["engine"]
    fix = f"keep the run's *{SUFFIX} files next to its tables, or make the repairs again"
    raise HealError("no provenance with the options of these repairs", where=str(path), fix=fix)


def find_valid_ids(problems: Mapping[str, Row], repairs: Iterable[Row]) -> set[str]:
    """Ids of the accepted repairs whose steps are all valid. Raises HealError for problems without a step checker."""
    ids = set()
    for row in repairs:
        if row["accepted"]:
            problem = problems[row["problem_id"]]
            if worlds.find_first_wrong_step(problem, split_text(row["text"])) is None:
                ids.add(row["trace_id"])
    return ids


def read_repairs(
    folder: Path, variant: str, problems: Mapping[str, Row], options: Pure, seed: int
) -> list[ViewedRepair]:
    """Every repair of a variant with PURE's decision. seed: the run's, for the rule `random`."""
    rows = records.read(folder / REPAIRS.of(variant=variant).path, REPAIRS.schema)
    scores_path = folder / SCORES.of(variant=variant).path
    scores = records.read(scores_path, SCORES.schema) if scores_path.exists() else []
    valid = find_valid_ids(problems, rows) if options.rule == "oracle" else ()
    kept_ids = pure.select_kept(scores, "repair", options, seed=seed, valid=valid)
    scores_by_id = index_rows(scores, "trace_id")
    repairs = []
    for row in rows:
        decision: Decision = "not scored"
        if row["trace_id"] in scores_by_id and row["accepted"]:
            decision = "kept" if row["trace_id"] in kept_ids else "dropped"
        repairs.append(ViewedRepair(variant, row, scores_by_id.get(row["trace_id"]), decision))
    return repairs


def read_run(run_folder: Path, teacher: str, teacher_seed: int, options: Pure, seed: int) -> ViewedRun:
    """Raises HealError for a missing file, and where there are no repairs yet."""
    folder = run_folder / run_layout.TRACES.format(teacher=teacher, teacher_seed=teacher_seed)
    variants = sorted(path.stem for path in folder.glob("repairs/*.parquet"))
    if not variants:
        fix = "make the repairs with `snakemake traces`, or give another --teacher or --teacher-seed"
        raise HealError("no repairs", where=str(folder / "repairs"), fix=fix)
    problems = index_rows(records.read(run_folder / "problems/train.parquet", "problems"), "problem_id")
    gears = {}
    repairs = []
    engine: dict[str, Any] = {}
    for variant in variants:
        gears[variant], settings = read_making(folder, variant)
        engine = engine or settings
        repairs += read_repairs(folder, variant, problems, options, seed)
    return ViewedRun(
        problems=problems,
        samples=index_rows(records.read(folder / SAMPLES.path, SAMPLES.schema), "trace_id"),
        grades=index_rows(records.read(folder / GRADES.path, GRADES.schema), "trace_id"),
        gears=gears,
        engine=engine,
        repairs=repairs,
    )


def index_rows(rows: Iterable[Row], key: str) -> dict[str, Row]:
    """Rows by one of their columns."""
    return {row[key]: row for row in rows}


def format_options(gear: Gear) -> dict[str, str]:
    """Option → value, those of the hint too; long texts are left out."""
    options = gear.model_dump(exclude={"detector", "hint"})
    for name, value in gear.hint.model_dump().items():
        options[f"hint {name}"] = value
    texts = {}
    for name, value in options.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) <= LONGEST_VALUE:
            texts[name.replace("_", " ")] = text
    return texts


def label_variants(gears: Mapping[str, Gear]) -> dict[str, str]:
    """Variant → label: its detector, and the options in which variants of one detector differ."""
    options_by_detector: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for variant, gear in gears.items():
        options_by_detector[gear.detector][variant] = format_options(gear)
    labels = {}
    for detector, variants in options_by_detector.items():
        differing = find_differing(list(variants.values()))
        for variant, options in variants.items():
            parts = [f"{name} {options[name]}" for name in differing if name in options]
            labels[variant] = ", ".join([detector, *parts])
    counts = Counter(labels.values())
    for variant, label in labels.items():
        if counts[label] > 1:
            labels[variant] = variant
    return labels


def find_differing(options: list[dict[str, str]]) -> list[str]:
    """Names of the options, in the order of the first one, whose values are not all equal."""
    differing = []
    for name in options[0]:
        values = {one.get(name) for one in options}
        if len(values) > 1:
            differing.append(name)
    return differing
