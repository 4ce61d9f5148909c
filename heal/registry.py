"""Finds methods and benchmarks, and resolves the names in a config: methods' options, GEAR variants, comparisons.

A method's options are the run's own sections (pure, pace, …) with what its entry in the config changes; its `gear` is
the name of a GEAR variant. A comparison with training options of its own trains its methods once more, under other
names.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from heal.config import experiment as config
from heal.config.options import merge_options, validate
from heal.discovery import discover_classes
from heal.errors import HealError, suggest
from heal.method.base import Method
from heal.method.detectors import check_detector
from heal.method.heal import Heal
from heal.trace_files import DEFAULT_VARIANT, TraceFile, list_trace_files

ROOT = Path(__file__).parent.parent
TASKS = ROOT / "evals/tasks"


@cache
def discover_methods(package: str | Path = "baselines") -> dict[str, type[Method]]:
    """Name → class: HEAL, and the one Method that each file of the package defines (TEMPLATE.py excepted).

    Raises HealError for a file that does not import, defines no method or two, names no paper, or takes a name twice.
    """
    methods: dict[str, type[Method]] = {Heal.name: Heal}
    for name, method in discover_classes(package, Method).items():
        if name in methods:
            problem = f"the name {name!r} is already taken by {locate_file(Heal)}"
            raise HealError(problem, where=locate_file(method), fix="give the class another `name`")
        for field in ("paper", "summary", "differs"):
            if not str(getattr(method, field, "")).strip():
                fix = f"give the class a `{field}` (see TEMPLATE.py)"
                raise HealError(f"no {field!r}", where=locate_file(method), fix=fix)
        methods[name] = method
    return methods


def locate_file(method: Method | type[Method]) -> str:
    """The file that defines a method, relative to the repository."""
    path = Path(inspect.getfile(method if inspect.isclass(method) else type(method)))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def build_method(name: object, options: Mapping[str, Any], *, where: str, field: str) -> Method:
    """The method with these complete options. Raises HealError for an unknown method or option."""
    methods = discover_methods()
    if name not in methods:
        raise HealError(f"{field}.method: unknown method {name!r}", where=where, fix=suggest(name, methods))
    method = methods[str(name)]
    return method(validate(method.Options, options, where=where, prefix=field))


def resolve_gear_variants(experiment: config.Experiment, *, where: str = "config") -> dict[str, config.Gear]:
    """GEAR's options by variant name, the run's own first. Raises HealError for unknown options or detectors."""
    variants = {DEFAULT_VARIANT: experiment.gear}
    for name, changes in experiment.gear_variants.items():
        options = merge_options(experiment.gear.model_dump(), changes)
        variants[name] = validate(config.Gear, options, where=where, prefix=f"gear_variants.{name}")
    for name, gear in variants.items():
        field = "gear.detector" if name == DEFAULT_VARIANT else f"gear_variants.{name}.detector"
        check_detector(gear.detector, where=where, field=field)
    return variants


def resolve_methods(experiment: config.Experiment, *, where: str = "config") -> dict[str, Method]:
    """Every method of the run's tables, with complete options; checks the benchmarks' names too."""
    check_benchmarks(experiment.benchmarks, {"dev", *experiment.problems.test}, where=where)
    methods = {}
    for section, entries in (("methods", experiment.methods), ("ablations", experiment.ablations)):
        for name, entry in entries.items():
            methods[name] = resolve_method(experiment, entry, where=where, field=f"{section}.{name}")
    check_needs(methods, resolve_gear_variants(experiment, where=where), where=where)
    check_teachers(methods, experiment, where=where)
    for comparison in resolve_comparisons(experiment, where=where).values():
        for name, base in comparison.methods.items():
            methods[name] = methods[base]
    return methods


def resolve_method(experiment: config.Experiment, entry: Mapping[str, Any], *, where: str, field: str) -> Method:
    """An entry's method: the config's sections, with the entry's changes laid over them."""
    if "kind" in entry:
        raise HealError(f"{field}.kind: unknown key", where=where, fix="renamed to 'method'")
    name = entry.get("method")
    method = discover_methods().get(str(name))
    options: dict[str, Any] = {}
    if method:
        for key in method.Options.model_fields.keys() & type(experiment).model_fields.keys():
            if key != "gear":
                options[key] = getattr(experiment, key).model_dump()
    changes = {key: value for key, value in entry.items() if key != "method"}
    if isinstance(changes.get("gear"), Mapping):
        fix = "put these options under gear_variants with a name, and name that variant here"
        raise HealError(f"{field}.gear: expected the name of a GEAR variant, found options", where=where, fix=fix)
    return build_method(name, merge_options(options, changes), where=where, field=field)


def check_needs(methods: Mapping[str, Method], variants: Mapping[str, config.Gear], *, where: str) -> None:
    """Raises HealError for an unknown GEAR variant, a trace file that no rule makes, and needs() that are no list."""
    known = {file.path for file in list_trace_files(variants)}
    for name, method in methods.items():
        if method.variant is not None and method.variant not in variants:
            problem = f"{name}: no GEAR variant {method.variant!r}"
            raise HealError(problem, where=where, fix=suggest(method.variant, variants))
        needs, place = method.needs(), f"{locate_file(method)}, needs() of {name!r} in {where}"
        if not isinstance(needs, list) or not all(isinstance(file, TraceFile) for file in needs):
            fix = "return a list of heal.trace_files, as [SAMPLES, GRADES]"
            raise HealError(f"found {needs!r:.80}", where=place, fix=fix)
        for file in needs:
            if file.path not in known:
                raise HealError(f"no rule makes {file.path!r}", where=place, fix=suggest(file.path, known))


def check_teachers(methods: Mapping[str, Method], experiment: config.Experiment, *, where: str) -> None:
    """Raises HealError where a student is to learn from probabilities of a teacher that is served elsewhere."""
    distilled = [name for name, method in methods.items() if method.distillation]
    served = [name for name, model in experiment.teachers.items() if model.endpoint]
    if distilled and served:
        problem = f"{distilled[0]!r} needs its teacher's weights in training, but teachers.{served[0]} is an endpoint"
        raise HealError(problem, where=where, fix="leave this method out, or give the teacher's weights")


@dataclass(frozen=True)
class Comparison:
    """A table's methods. methods: name → the entry of the config that it is; train: how their students are trained."""

    title: str
    methods: Mapping[str, str]
    reference: str
    train: config.Train


def resolve_comparisons(experiment: config.Experiment, *, where: str = "config") -> dict[str, Comparison]:
    """The run's tables by name: main, ablations, and the config's own. Raises HealError for an unknown method."""
    main = list(experiment.methods)
    every = [*experiment.methods, *experiment.ablations]
    usual = choose_reference(experiment, main)
    comparisons = {
        "main": Comparison("Methods compared", {name: name for name in main}, usual, experiment.train),
        "ablations": Comparison("Ablations", {name: name for name in every}, usual, experiment.train),
    }
    for name, section in experiment.comparisons.items():
        comparisons[name] = resolve_comparison(experiment, name, section, comparisons, where=where)
    return comparisons


def resolve_primary(experiment: config.Experiment, *, where: str = "config") -> config.Primary | None:
    """The primary contrast with all its names; None where the config sets none and the default has no two methods.

    Raises HealError for a name that is not in the config, and for a method that would be compared with itself.
    """
    section, methods = experiment.primary, list(experiment.methods)
    reference = choose_reference(experiment, methods)
    if not section.model_fields_set and (section.method not in methods or section.method == reference):
        return None
    primary = config.Primary(
        method=section.method,
        baseline=section.baseline or reference,
        benchmark=section.benchmark or experiment.benchmarks[0],
        teacher=section.teacher or next(iter(experiment.teachers)),
        student=section.student or next(iter(experiment.students)),
    )
    check_name("primary.method", primary.method, methods, where=where)
    check_name("primary.baseline", primary.baseline, methods, where=where)
    check_name("primary.benchmark", primary.benchmark, experiment.benchmarks, where=where)
    check_name("primary.teacher", primary.teacher, experiment.teachers, where=where)
    check_name("primary.student", primary.student, experiment.students, where=where)
    if primary.method == primary.baseline:
        fix = "name another method or another baseline"
        raise HealError(f"primary: {primary.method!r} is compared with itself", where=where, fix=fix)
    return primary


def check_name(field: str, name: str | None, known: Collection[str], *, where: str) -> None:
    """Raises HealError for a name that is not among the known ones."""
    if name not in known:
        raise HealError(f"{field}: no {name!r} here", where=where, fix=suggest(name, known))


def choose_reference(experiment: config.Experiment, methods: Sequence[str]) -> str:
    """The reference of a comparison that names none; "" without methods."""
    for name in (experiment.primary.baseline, "rs_matched"):
        if name in methods:
            return str(name)
    return next(iter(methods), "")


def resolve_comparison(
    experiment: config.Experiment,
    name: str,
    section: config.Comparison,
    others: Mapping[str, Comparison],
    *,
    where: str,
) -> Comparison:
    """A comparison of the config's own; with training options its students get names of their own."""
    field, every = f"comparisons.{name}", [*experiment.methods, *experiment.ablations]
    chosen = list(experiment.methods) if section.methods is None else section.methods
    reference = section.reference or choose_reference(experiment, chosen)
    for method, known in [*((method, every) for method in chosen), (reference, chosen)]:
        if method not in known:
            raise HealError(f"{field}: no method {method!r}", where=where, fix=suggest(method, known))
    options = merge_options(experiment.train.model_dump(), section.train)
    train = validate(config.Train, options, where=where, prefix=f"{field}.train")
    names = {f"{method}_{name}" if section.train else method: method for method in chosen}
    if section.train:
        for other in others.values():
            if taken := sorted(names.keys() & other.methods.keys()):
                raise HealError(f"{field}: the name {taken[0]!r} is taken", where=where, fix="rename the comparison")
    first = next(label for label, method in names.items() if method == reference)
    return Comparison(section.title, names, first, train)


class TaskLoader(yaml.SafeLoader):
    """Reads lm-eval's YAML without its functions (`!function`), on which nothing here depends."""


TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def read_task_fields(path: Path) -> dict[str, Any]:
    """A task file's fields; those that it includes come first, as in lm-eval."""
    fields = yaml.load(path.read_text(encoding="utf-8"), TaskLoader)
    included = fields.pop("include", [])
    for name in [included] if isinstance(included, str) else included:
        fields = {**read_task_fields(path.parent / name), **fields}
    return fields


@cache
def read_tasks(folder: Path = TASKS) -> dict[str, dict[str, Any]]:
    """lm-eval task → its fields, from the YAML files below the folder that name a task."""
    found = [read_task_fields(path) for path in sorted(folder.rglob("*.yaml"))]
    return {fields["task"]: fields for fields in found if isinstance(fields.get("task"), str)}


def find_task_files(names: Collection[str], folder: Path = TASKS) -> list[Path]:
    """The YAML files that these benchmarks are read from: those of their folders, and those that all share."""
    files = set(folder.glob("*.yaml"))
    for path in folder.rglob("*.yaml"):
        if read_task_fields(path).get("task") in names:
            files |= set(path.parent.glob("*.yaml"))
    return sorted(files)


def list_benchmarks() -> dict[str, str]:
    """lm-eval task → the problems it asks."""
    return {name: fields["dataset_kwargs"]["split"] for name, fields in read_tasks().items()}


def check_benchmarks(names: Sequence[str], splits: Collection[str] | None = None, *, where: str) -> None:
    """Raises HealError for a benchmark that no task file defines, or whose problems are not among the splits."""
    known = list_benchmarks()
    for name in names:
        if name not in known:
            raise HealError(f"benchmarks: unknown benchmark {name!r}", where=where, fix=suggest(name, known))
        if splits is not None and known[name] not in splits:
            raise HealError(
                f"benchmarks: {name!r} asks the problems {known[name]!r}, which are not there",
                where=where,
                fix=f"add {known[name]!r} under problems.test, or leave the benchmark out",
            )
