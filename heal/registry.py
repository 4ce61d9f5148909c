"""Finding methods and benchmarks, and settling methods' options: HEAL, and what the files in baselines/ define.

A method's options are the run's own sections (gear, pure, pace …) with what its entry in the config changes. A
comparison with training options of its own trains its methods once more, under other names.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from heal.config import experiment as config
from heal.config.options import validate
from heal.errors import HealError
from heal.method.base import Method
from heal.method.heal import Heal
from heal.trace_files import files

ROOT = Path(__file__).parent.parent
BASELINES = ROOT / "baselines"
TASKS = ROOT / "evals/tasks"


@cache
def discover(folder: Path = BASELINES) -> dict[str, type[Method]]:
    """kind → class, for HEAL and for the one Method that each file in the folder defines (TEMPLATE.py excepted).

    Raises HealError for a file that does not import, defines no method or two, names no paper, or takes a kind twice.
    """
    found: dict[str, type[Method]] = {Heal.kind: Heal}
    for path in sorted(folder.glob("*.py")):
        if path.stem in {"__init__", "TEMPLATE"}:
            continue
        method = load_method(path)
        if method.kind in found:
            raise HealError(
                f"the kind {method.kind!r} exists already, in {file_of(found[method.kind])}",
                where=str(path),
                fix="give the class another `kind`",
            )
        found[method.kind] = method
    return found


def load_method(path: Path) -> type[Method]:
    name = f"baselines.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader  # of a .py file there are both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise HealError(
            f"does not import ({type(error).__name__}: {error})",
            where=str(path),
            fix="mend it, or remove the file",
        ) from error
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == name
    ]
    if len(classes) != 1:
        raise HealError(
            f"defines {len(classes)} methods, expected one",
            where=str(path),
            fix="start from baselines/TEMPLATE.py",
        )
    method = classes[0]
    if missing := sorted(method.__abstractmethods__):
        raise HealError(f"no {missing[0]}()", where=str(path), fix="define it (see TEMPLATE.py)")
    for field in ("kind", "paper", "summary", "differs"):
        if not isinstance(getattr(method, field, None), str) or not getattr(method, field).strip():
            raise HealError(f"no {field!r}", where=str(path), fix=f"give the class a `{field}` (see TEMPLATE.py)")
    return method


def file_of(method: Method | type[Method]) -> str:
    """The file that defines a method, for people."""
    path = Path(inspect.getfile(method if inspect.isclass(method) else type(method)))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the changes laid over it, group by group."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(entry: Mapping[str, Any], *, where: str, field: str) -> Method:
    """The method of an entry whose options are complete. Raises HealError for an unknown kind or option."""
    kinds = discover()
    kind = entry.get("kind")
    if kind not in kinds:
        near = difflib.get_close_matches(str(kind), kinds, n=1)
        guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(kinds))}"
        raise HealError(f"{field}.kind: unknown method {kind!r}", where=where, fix=guess)
    options = {key: value for key, value in entry.items() if key != "kind"}
    return kinds[kind](validate(kinds[kind].Options, options, where=where, prefix=field))


def resolve(experiment: config.Experiment, *, where: str = "config") -> dict[str, Method]:
    """Every method of the run's tables, with complete options; checks the benchmarks' names too."""
    check_benchmarks(experiment.benchmarks, {"dev", *experiment.problems.test}, where=where)
    methods = {}
    for section in ("methods", "ablations"):
        for name, entry in getattr(experiment, section).items():
            field = f"{section}.{name}"
            methods[name] = build(merge(shared_options(experiment, entry), entry), where=where, field=field)
    check_needs(methods, experiment.gear, where=where)
    check_teachers(methods, experiment, where=where)
    for chosen in comparisons(experiment, where=where).values():
        methods |= {name: methods[base] for name, base in chosen.methods.items()}
    return methods


def shared_options(experiment: config.Experiment, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an entry's method that are sections of the config, as they stand there."""
    kind = discover().get(entry.get("kind", ""))
    shared = kind.Options.model_fields.keys() & type(experiment).model_fields.keys() if kind else ()
    return {key: getattr(experiment, key).model_dump() for key in shared}


def check_needs(methods: Mapping[str, Method], own: config.Gear, *, where: str) -> None:
    """Raises HealError for a trace file that no rule makes, and for needs() that are no list of names."""
    gears = [own, *(method.options.gear for method in methods.values() if hasattr(method.options, "gear"))]
    made = {*files.base, files.guided, *files.of_student, files.ranks, files.continued}
    for gear in gears:
        extra = [file for allocation in ("uniform", "treated") for file in files.extra(gear, allocation)]
        made |= {files.repairs(gear), files.scores(gear), *extra}
    for name, method in methods.items():
        needs, place = method.needs(), f"{file_of(method)}, needs() of {name!r} in {where}"
        if not isinstance(needs, list) or not all(isinstance(file, str) for file in needs):
            raise HealError(f"found {needs!r:.80}", where=place, fix="return a list of names, as [*files.base]")
        for file in needs:
            if file not in made:
                near = difflib.get_close_matches(file, made, n=1)
                guess = f"did you mean {near[0]!r}?" if near else "heal.trace_files.files has the names that rules make"
                raise HealError(f"no rule makes {file!r}", where=place, fix=guess)


def check_teachers(methods: Mapping[str, Method], experiment: config.Experiment, *, where: str) -> None:
    """Raises HealError where a student is to learn from probabilities of a teacher that is served elsewhere."""
    distilled = [name for name, method in methods.items() if method.distillation]
    served = [name for name, model in experiment.teachers.items() if model.endpoint]
    if distilled and served:
        found = f"{distilled[0]!r} is trained beside its teacher, but teachers.{served[0]} is served elsewhere"
        raise HealError(found, where=where, fix="leave this method out, or give the teacher's weights")


@dataclass(frozen=True)
class Comparison:
    """A table's methods. methods: name → the entry of the config that it is; train: how their students are trained."""

    title: str
    methods: Mapping[str, str]
    reference: str
    train: config.Train


def comparisons(experiment: config.Experiment, *, where: str = "config") -> dict[str, Comparison]:
    """The run's tables by name: main, ablations, and the config's own. Raises HealError for an unknown method."""
    main, every = list(experiment.methods), [*experiment.methods, *experiment.ablations]
    usual = "rs_matched" if "rs_matched" in main else main[0]
    found = {
        "main": Comparison("Methods compared", {name: name for name in main}, usual, experiment.train),
        "ablations": Comparison("Ablations", {name: name for name in every}, usual, experiment.train),
    }
    for kind, asked in experiment.comparisons.items():
        field, chosen = f"comparisons.{kind}", main if asked.methods is None else asked.methods
        fallback = "rs_matched" if "rs_matched" in chosen else next(iter(chosen), None)
        reference = asked.reference or fallback
        for name, known in [*((name, every) for name in chosen), (reference, chosen)]:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise HealError(f"{field}: no method {name!r}", where=where, fix=guess)
        train = merge(experiment.train.model_dump(), asked.train)
        options = validate(config.Train, train, where=where, prefix=f"{field}.train")
        names = {f"{name}_{kind}" if asked.train else name: name for name in chosen}
        if asked.train and (taken := set(names) & {name for one in found.values() for name in one.methods}):
            raise HealError(f"{field}: the name {min(taken)!r} is taken", where=where, fix="rename the comparison")
        first = next(name for name, base in names.items() if base == reference)
        found[kind] = Comparison(asked.title, names, first, options)
    return found


class TaskLoader(yaml.SafeLoader):
    """Reads lm-eval's YAML without its functions (`!function`), on which nothing here depends."""


TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def task_fields(path: Path) -> dict[str, Any]:
    """A task file's fields; those that it includes come first, as in lm-eval."""
    fields = yaml.load(path.read_text(encoding="utf-8"), TaskLoader)
    included = fields.pop("include", [])
    for name in [included] if isinstance(included, str) else included:
        fields = {**task_fields(path.parent / name), **fields}
    return fields


@cache
def tasks(folder: Path = TASKS) -> dict[str, dict[str, Any]]:
    """lm-eval task → its fields, from the YAML files below the folder that name a task."""
    found = [task_fields(path) for path in sorted(folder.rglob("*.yaml"))]
    return {fields["task"]: fields for fields in found if isinstance(fields.get("task"), str)}


def benchmarks() -> dict[str, str]:
    """lm-eval task → the problems it asks."""
    return {name: fields["dataset_kwargs"]["split"] for name, fields in tasks().items()}


def check_benchmarks(names: Sequence[str], splits: Collection[str] | None = None, *, where: str) -> None:
    """Raises HealError for a benchmark that no task file defines, or whose problems are not among the splits."""
    known = benchmarks()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise HealError(f"benchmarks: unknown benchmark {name!r}", where=where, fix=guess)
        if splits is not None and known[name] not in splits:
            raise HealError(
                f"benchmarks: {name!r} asks the problems {known[name]!r}, which are not there",
                where=where,
                fix=f"add {known[name]!r} under problems.test, or leave the benchmark out",
            )
