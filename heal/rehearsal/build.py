"""The working copy of a rehearsal: repository, scaled config, local data, stand-in models.

A local model that is small already, as those of the mini world, is used as it is; then lengths stay too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal.config.data import Problems
from heal.config.experiment import Experiment
from heal.config.layers import read_layers
from heal.config.models import Model
from heal.config.options import validate
from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.rehearsal import architectures, scale
from heal.rehearsal.data import DataWriter, list_problems
from heal.rehearsal.plans import StandIn, make_stand_ins, measure_needs

ROOT = Path(__file__).parent.parent.parent
COPIED = ("Snakefile", "workflow", "profiles", "heal", "baselines", "evals", "config", "containers", "pyproject.toml")
COPIED_IF_THERE = ("environment.yml", "environment-gpu.yml", "requirements", "docs", "tools")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache")
SMALL_BYTES = 100 * 2**20
"""Most weights of a local model that is used as it is."""


@dataclass(frozen=True)
class Rehearsal:
    """A working copy that is ready to run."""

    folder: Path
    """The copy of the repository; jobs start here."""
    config: Path
    """The scaled config, relative to the copy."""
    factor: float
    """What every length was multiplied by."""
    experiment: Experiment
    """The scaled config, validated."""
    notes: list[str]
    """What the rehearsal leaves out of the preset."""
    stand_ins: list[str]
    """`teachers.NAME` and `students.NAME` of the models that are replaced."""


def build(path: Path, out: Path, cores: int = 1) -> Rehearsal:
    """Makes the working copy below `out` for the config at `path`. Raises HealError where a part cannot be made.

    cores: processes that train stand-ins at once.
    """
    content = read_layers(Experiment, [path])
    original = RunConfig(validate(Experiment, content, where=str(path)), str(path))
    original.check()
    folder = copy_repository(out / "copy")
    notes = replace_models(content, original.experiment, folder)
    data = DataWriter(folder / "data", original.experiment.seed)
    data.replace(content["problems"])
    problems_options = validate(Problems, content["problems"], where=str(path))
    sets = {"train": problems_options.train, "dev": problems_options.dev, **problems_options.test}
    problems = list_problems(sets, problems_options.instruction, original.experiment.seed)
    models = {f"teachers.{name}": model for name, model in original.experiment.teachers.items()}
    models |= {f"students.{name}": model for name, model in original.experiment.students.items()}
    plans = {}
    for field, model in models.items():
        if not is_small(model):
            plans[field] = StandIn(field, model, original, problems)
    factor = 1.0
    if len(plans) == len(models):
        positions = {field: plan.positions for field, plan in plans.items()}
        factor = scale.choose_factor(original.experiment, positions, measure_needs(list(plans.values())))
    scale.scale_config(content, original.experiment, factor)
    scale.scale_tasks(folder / "evals/tasks", original.experiment.benchmarks, factor)
    for plan in plans.values():
        plan.name_folder(scale.scale_length(plan.positions, factor))
    make_stand_ins(list(plans.values()), cores)
    repeated = find_repeated_students(plans)
    for field, first in repeated.items():
        models.pop(field)
        content["students"].pop(field.removeprefix("students."))
        notes.append(f"{field}: its stand-in would be that of {first}, so it is left out")
    for field, model in models.items():
        role, name = field.split(".")
        source = plans[field].folder if field in plans else Path(model.path)
        shutil.copytree(source, folder / content[role][name]["path"])
    data.make_paths_relative(folder)
    relative = Path("config/rehearsal.yaml")
    note = f"{path}, rehearsed: every length times {factor:g}. Written by `heal rehearse`."
    scale.write_config(folder / relative, content, note)
    shutil.copy(folder / relative, out / "config.yaml")
    experiment = validate(Experiment, content, where=str(folder / relative))
    return Rehearsal(folder, relative, factor, experiment, notes, [field for field in plans if field not in repeated])


def copy_repository(folder: Path) -> Path:
    """A fresh copy of what the workflow reads."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in (*COPIED, *COPIED_IF_THERE):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        elif source.is_file():
            shutil.copy(source, folder / name)
        elif name in COPIED:
            raise HealError(f"there is no {name}", where=str(ROOT), fix="rehearse in a checkout of the repository")
    return folder


def replace_models(content: dict[str, Any], experiment: Experiment, folder: Path) -> list[str]:
    """Points every model at its stand-in's folder, in place; returns what is left out."""
    notes = []
    for role in ("teachers", "students"):
        for name, model in content[role].items():
            for option in ("endpoint", "traces", "warm_up", "package"):
                if model.pop(option, None) is not None:
                    notes.append(f"{role}.{name}: `{option}` is replaced by the stand-in")
            model.pop("revision", None)
            base = architectures.BASE_SUFFIX if architectures.is_base(model["path"]) else ""
            model["path"] = f"models/{role}/{name}{base}"
    return notes


def find_repeated_students(plans: Mapping[str, StandIn]) -> dict[str, str]:
    """Student → an earlier student with the same stand-in: small, models of one family are alike."""
    first_by_folder: dict[Path, str] = {}
    repeated = {}
    for field, plan in plans.items():
        if field.startswith("students."):
            first = first_by_folder.setdefault(plan.folder, field)
            if first != field:
                repeated[field] = first
    return repeated


def is_small(model: Model) -> bool:
    """Whether a model is a local folder with few weights, used as it is."""
    folder = Path(model.path)
    if model.package or not folder.is_dir():
        return False
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) < SMALL_BYTES
