"""The repairs of one teacher and draw, as far as a run has come: every GEAR variant, with scores where there are some.

Reads problems/train.parquet, and under traces/<teacher>/draw<d>/ samples.parquet, grades.parquet, repairs/*.parquet
with the provenance of their making, scores/*.parquet. Writes nothing.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal import records
from heal.config.experiment import Gear, Pure
from heal.errors import HealError
from heal.method import pure
from heal.method.base import valid_traces
from heal.pipeline.runner import parsed, read_options
from heal.provenance import SUFFIX
from heal.records import Row

LONGEST_VALUE = 20  # characters of an option's value in a variant's label


@dataclass(frozen=True)
class Repair:
    """A row of a repairs file, with what PURE measured and decided."""

    variant: str
    row: Row
    score: Row | None
    pure: str  # kept | dropped | not scored

    @property
    def verdict(self) -> str:
        """accepted, or the reason why not."""
        return "accepted" if self.row["accepted"] else self.row["reason"]

    @property
    def id(self) -> str:
        """Unique in a run: variants that cut at the same step have repairs in common."""
        return f"{self.variant}/{self.row['trace_id'] or self.row['source_id']}"


@dataclass(frozen=True)
class Found:
    problems: Mapping[str, Row]
    samples: Mapping[str, Row]
    grades: Mapping[str, Row]
    gears: Mapping[str, Gear]
    engine: Mapping[str, Any]  # the settings that the repairs were made with
    repairs: list[Repair]


def only_teacher(run: Path) -> str:
    """The teacher of a run that has one. Raises HealError where it has none, or several."""
    teachers = sorted(path.name for path in run.glob("traces/*") if path.is_dir())
    if not teachers:
        fix = "give the folder of a run, results/<run>, after `snakemake scores`"
        raise HealError("no traces", where=str(run), fix=fix)
    if len(teachers) > 1:
        raise HealError(f"several teachers: {', '.join(teachers)}", where=str(run), fix="choose one with --teacher")
    return teachers[0]


def made_with(folder: Path, variant: str) -> tuple[Gear, dict[str, Any]]:
    """GEAR's options and the engine's settings of a variant's repairs. Raises HealError where nothing says so."""
    beside = folder / f"repairs/{variant}.parquet{SUFFIX}"
    for path in (beside, *sorted(folder.glob(f"shards/repairs/{variant}/*{SUFFIX}"))):
        if path.is_file():
            record = parsed(path.read_text(encoding="utf-8"), str(path))
            if record["stage"] == "heal.pipeline.repair":
                return read_options(Gear, record["options"]["options"], str(path)), record["engine"]
    fix = f"keep the *{SUFFIX} of the run beside its tables, or make the repairs again"
    raise HealError("nothing says with which options these repairs were made", where=str(beside), fix=fix)


def kept_by_pure(scores: list[Row], repairs: list[Row], problems: list[Row], options: Pure, seed: int) -> set[str]:
    """The trace ids of the repairs that PURE keeps."""
    return pure.kept(
        [score for score in scores if score["kind"] == "repair"],
        options,
        own=[score for score in scores if score["kind"] == "sample"],
        seed=seed,
        valid=valid_traces(problems, repairs) if options.rule == "oracle" else (),
    )


def read_variant(folder: Path, variant: str, problems: list[Row], options: Pure, seed: int) -> list[Repair]:
    rows = records.read(folder / f"repairs/{variant}.parquet", "repairs")
    path = folder / f"scores/{variant}.parquet"
    scores = records.read(path, "scores") if path.exists() else []
    kept = kept_by_pure(scores, [row for row in rows if row["accepted"]], problems, options, seed)
    by_id = {score["trace_id"]: score for score in scores if score["kind"] == "repair"}

    def decision(row: Row) -> str:
        if row["trace_id"] not in by_id or not row["accepted"]:
            return "not scored"
        return "kept" if row["trace_id"] in kept else "dropped"

    return [Repair(variant, row, by_id.get(row["trace_id"]), decision(row)) for row in rows]


def read_run(run: Path, teacher: str, draw: int, options: Pure, seed: int) -> Found:
    """Raises HealError where a file is missing or there is no repair yet."""
    folder = run / "traces" / teacher / f"draw{draw}"
    variants = sorted(path.stem for path in folder.glob("repairs/*.parquet"))
    if not variants:
        fix = "let the run come as far as its repairs (`snakemake traces`), or give another --teacher or --draw"
        raise HealError("no repairs", where=str(folder / "repairs"), fix=fix)
    problems = records.read(run / "problems/train.parquet", "problems")
    told = {variant: made_with(folder, variant) for variant in variants}
    return Found(
        problems={row["problem_id"]: row for row in problems},
        samples={row["trace_id"]: row for row in records.read(folder / "samples.parquet", "samples")},
        grades={row["trace_id"]: row for row in records.read(folder / "grades.parquet", "grades")},
        gears={variant: gear for variant, (gear, _) in told.items()},
        engine=told[variants[0]][1],
        repairs=[repair for variant in variants for repair in read_variant(folder, variant, problems, options, seed)],
    )


def short_options(gear: Gear) -> dict[str, str]:
    """Option → value, those of the hint too; long texts left out."""
    options = gear.model_dump(exclude={"detector", "hint"})
    options |= {f"hint {name}": value for name, value in gear.hint.model_dump().items()}
    shown = {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}
    return {name.replace("_", " "): value for name, value in shown.items() if len(value) <= LONGEST_VALUE}


def labels(gears: Mapping[str, Gear]) -> dict[str, str]:
    """Variant → what to call it: its detector, and the options in which variants of one detector differ."""
    by_detector = defaultdict(list)
    for variant, gear in gears.items():
        by_detector[gear.detector].append((variant, short_options(gear)))
    named = {}
    for detector, variants in by_detector.items():
        options = [given for _, given in variants]
        differ = [name for name in options[0] if len({given.get(name) for given in options}) > 1]
        for variant, given in variants:
            named[variant] = ", ".join([detector, *(f"{name} {given[name]}" for name in differ if name in given)])
    twice = {label for label, count in Counter(named.values()).items() if count > 1}
    return {variant: variant if label in twice else label for variant, label in named.items()}
