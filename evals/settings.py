"""How a run's answers were sampled, and which of HEAL's premises held: the content of a reference's settings.json.

Reads evals/**/results.json and traces/*/teacher_seed*/premise.json of a run, or settings.json where the folder has one;
writes nothing. `tools/reference.py` writes settings.json, the report page reads the premises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.results import read_json

FILE = "settings.json"


def collect_settings(run: Path) -> dict[str, Any]:
    """The content of settings.json, from a run's own files: keys `evaluation` and `premises`.

    evaluation: distinct settings, each with the benchmarks and the models that were asked so.
    premises: teacher → teacher_seed<i> → content of its premise.json.
    """
    return {"evaluation": collect_evaluation_settings(run), "premises": collect_premises(run)}


def collect_evaluation_settings(run: Path) -> list[dict[str, Any]]:
    """Distinct `settings` of all results.json: a list of {benchmarks, models, settings}.

    A model is named by its folder below evals/: `default/teacher`, `students/tiny`,
    `default/teacher_seed0/tiny/heal/seed0`. Every model of an entry answered every benchmark of the entry.
    """
    models_of: dict[tuple[str, str], list[str]] = {}
    for file in sorted(run.glob("evals/**/results.json")):
        *model, benchmark, _ = file.relative_to(run / "evals").parts
        settings = json.dumps(read_json(file).get("settings", {}), sort_keys=True)
        models_of.setdefault((settings, benchmark), []).append("/".join(model))
    benchmarks_of: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (settings, benchmark), models in models_of.items():
        benchmarks_of.setdefault((settings, tuple(models)), []).append(benchmark)
    return [
        {"benchmarks": sorted(benchmarks), "models": list(models), "settings": json.loads(settings)}
        for (settings, models), benchmarks in sorted(benchmarks_of.items())
    ]


def collect_premises(run: Path) -> dict[str, dict[str, Any]]:
    """Teacher → teacher_seed<i> → content of its premise.json."""
    premises: dict[str, dict[str, Any]] = {}
    for file in sorted(run.glob("traces/*/teacher_seed*/premise.json")):
        premises.setdefault(file.parts[-3], {})[file.parts[-2]] = read_json(file)
    return premises


def read_premises(run: Path) -> dict[tuple[str, int], Mapping[str, Any]]:
    """(teacher, teacher seed) → content of premise.json, of a run or of a reference folder; empty without any."""
    stored = run / FILE
    premises = read_json(stored)["premises"] if stored.exists() else collect_premises(run)
    return {
        (teacher, int(folder.removeprefix("teacher_seed"))): content
        for teacher, by_seed in premises.items()
        for folder, content in by_seed.items()
    }
