"""A checked config and what it resolves to: ready-to-load models, GEAR variants, methods with complete options, tables.

`look_up("gear_variants.no_hint")` is what commands and the workflow read a run's options by:

    engine, sampling, …            a section of the config, or a field of one (problems.instruction)
    teachers.NAME, students.NAME   a model as it is loaded: from the folder that the run makes, where it makes one
    teacher_models.NAME            the model as the config names it, with its package and license; student_models.NAME
    splits.NAME                    a problem set, shrunk by `limit`
    gear_variants.NAME             GEAR's options; `default` is the section `gear`
    methods.NAME                   a method with its complete options
    training.NAME                  the training options of a method's students
    schedules.NAME                 the PACE schedule of a method's students
    distillations.NAME             how they learn from the teacher's probabilities; None for a method without
    warm_up_examples.ROLE.NAME     the worked examples of a warm-up; ROLE is teachers or students
    warm_up_training.ROLE.NAME     how a warm-up trains
    warm_up_bases.ROLE.NAME        the model that a warm-up starts from
    comparisons.NAME               everything a table or figure of that comparison needs
    settings.NAME                  what decides the numbers of that comparison
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from heal import registry
from heal.config.data import Dataset, WarmUpData
from heal.config.experiment import Cost, Experiment, Gear, Primary, load
from heal.config.models import Model, ModelSource, Train, WarmUp
from heal.config.options import OptionGroup, changed_options
from heal.config.yaml_files import dump_yaml
from heal.engines.open import check_backend
from heal.errors import HealError
from heal.method.base import Method
from heal.records import hash_content, write_text
from heal.trace_files import DEFAULT_VARIANT
from heal.worlds import registry as worlds

MODEL_PLACES = {"gpus", "evaluation_gpus", "license"}
"""Options of a model that decide no number."""
NOT_IN_NUMBERS = (
    *("extends", "run", "seeds_per_job", "engine", "premise", "stop", "primary"),
    *("methods", "ablations", "comparisons", "gear_variants", "train"),
)
"""Sections of the config that decide no number of a comparison, and those that `get_settings` resolves for it."""
UNFILTERED = "unfiltered/train"
"""The training problems before decontamination."""


class MethodSpec(OptionGroup):
    config_only: ClassVar[bool] = True
    method: str
    """The method's name, as `heal methods` lists it."""
    options: dict[str, Any] = {}
    """Its options that differ from their defaults."""


class ComparisonView(OptionGroup):
    """What a table or figure needs to know of a comparison and its run."""

    config_only: ClassVar[bool] = True
    name: str
    """main, ablations, or a name under `comparisons`."""
    title: str
    """Table heading."""
    run: str
    """The run's folder, results/<run>."""
    reference: str
    """The method that the others are compared with."""
    teachers: list[str]
    """Names of the teachers."""
    students: list[str]
    """Names of the students."""
    methods: dict[str, MethodSpec]
    """The compared methods by name."""
    benchmarks: list[str]
    """lm-eval tasks."""
    teacher_seeds: int
    """Number of teacher sampling seeds."""
    training_seeds: int
    """Number of training seeds."""
    variants: list[str] = [DEFAULT_VARIANT]
    """GEAR variants of the compared methods, the run's own first."""
    decontaminated: bool = False
    """Whether training problems were compared with the held-out ones."""
    main_methods: list[str] = []
    """Methods of the main comparison, where this one compares its students with the same reference; else none."""
    primary: Primary | None = None
    """The primary contrast with all its names, where it is a row of this comparison."""
    read_price: float = Cost().read_price
    """Price of a token that the teacher reads, in generated tokens."""


@dataclass(frozen=True)
class RunConfig:
    """An experiment whose names are all checked, and its methods."""

    experiment: Experiment
    where: str = "config"

    @cached_property
    def methods(self) -> dict[str, Method]:
        return registry.resolve_methods(self.experiment, where=self.where)

    @cached_property
    def comparisons(self) -> dict[str, registry.Comparison]:
        return registry.resolve_comparisons(self.experiment, where=self.where)

    @cached_property
    def gear_variants(self) -> dict[str, Gear]:
        return registry.resolve_gear_variants(self.experiment, where=self.where)

    def check(self) -> None:
        """Raises HealError for a name in the config that does not exist."""
        experiment = self.experiment
        self.check_worlds()
        check_backend(experiment.engine.backend, self.where, "engine.backend")
        registry.resolve_methods(experiment, where=self.where)
        registry.resolve_primary(experiment, where=self.where)

    @property
    def folder(self) -> str:
        """The run's folder."""
        return f"results/{self.experiment.run}"

    def write(self) -> Path:
        """Writes the options that are set below the run's folder, named by their content; returns the file.

        Jobs read this file, so a config that is edited during a run changes nothing for its jobs.
        """
        content = self.experiment.model_dump(mode="json", exclude_unset=True)
        text = dump_yaml(content)  # tables list methods in this order
        path = Path(self.folder) / "config" / f"{hash_content(text)[:8]}.yaml"
        if not path.exists():
            write_text(path, text)
        return path

    def look_up(self, path: str) -> Any:
        """The value at a path (see the module's docstring). Raises HealError for an unknown name."""
        group, *names = path.split(".")
        named = {
            "splits": self.get_split,
            "gear_variants": lambda name: pick(self.gear_variants, name, path, self.where),
            "methods": self.get_method_spec,
            "training": self.get_training,
            "schedules": lambda name: pick(self.methods, name, path, self.where).schedule,
            "distillations": lambda name: pick(self.methods, name, path, self.where).distillation,
            "comparisons": self.get_comparison,
            "settings": self.get_settings,
            "teachers": lambda name: self.get_model_source("teachers", name),
            "students": lambda name: self.get_model_source("students", name),
            "teacher_models": lambda name: self.get_model("teachers", name),
            "student_models": lambda name: self.get_model("students", name),
        }
        of_warm_ups = {
            "warm_up_examples": self.get_warm_up_data,
            "warm_up_training": lambda role, name: self.get_warm_up(role, name).train,
            "warm_up_bases": self.get_warm_up_base,
        }
        value: Any
        if group in named and names:
            value, rest = named[group](names[0]), names[1:]
        elif group in of_warm_ups and len(names) > 1:
            value, rest = of_warm_ups[group](names[0], names[1]), names[2:]
        else:
            value, rest = self.experiment, [group, *names]
        for part in rest:
            fields = value if isinstance(value, Mapping) else type(value).model_fields
            pick(fields, part, path, self.where)
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        return value

    def get_model(self, role: str, name: str) -> Model:
        """The model's section of the config. role: teachers | students."""
        models = self.experiment.teachers if role == "teachers" else self.experiment.students
        return pick(models, name, f"{role}.{name}", self.where)

    def find_unpacked_folder(self, model: Model) -> str | None:
        """The folder a packaged model is unpacked into; None for another model."""
        return f"{self.folder}/models/unpacked/{model.package}/{Path(model.path).stem}" if model.package else None

    def find_made_folder(self, role: str, name: str) -> str | None:
        """The folder of a model that the run makes (unpacks, warms up); None for one that is used as it is."""
        model = self.get_model(role, name)
        if model.warm_up:
            return f"{self.folder}/models/{role}/{name}/model"
        return self.find_unpacked_folder(model)

    def get_model_source(self, role: str, name: str) -> ModelSource:
        """The model as it is loaded."""
        return make_source(self.get_model(role, name), self.find_made_folder(role, name))

    def check_worlds(self) -> None:
        """Raises HealError for a problem set or a warm-up that its world cannot make."""
        worlds.check_problem_sets(self.experiment.problems, where=self.where)
        for role, models in (("teachers", self.experiment.teachers), ("students", self.experiment.students)):
            for name, model in models.items():
                if model.warm_up:
                    self.get_warm_up_data(role, name)

    def get_warm_up(self, role: str, name: str) -> WarmUp:
        """How a model is warmed up. role: teachers | students."""
        warm_up = self.get_model(role, name).warm_up
        if warm_up is None:
            raise HealError(
                f"{role}.{name} has no `warm_up`", where=self.where, fix="add it, or use the model as it is"
            )
        return warm_up

    def get_warm_up_data(self, role: str, name: str) -> WarmUpData:
        """The worked examples of a warm-up: their world, and its options that differ from the defaults."""
        warm_up, field = self.get_warm_up(role, name), f"{role}.{name}.warm_up"
        world = warm_up.world or self.experiment.problems.train.source
        options = worlds.resolve_warmup_options(world, warm_up.examples, where=self.where, field=field)
        return WarmUpData(world=world, options=changed_options(options))

    def get_warm_up_base(self, role: str, name: str) -> ModelSource:
        """The model that a warm-up starts from."""
        model = self.get_model(role, name)
        return make_source(model, self.find_unpacked_folder(model))

    def get_split(self, name: str) -> Dataset:
        """A problem set: train, dev, a test set, or the training problems before decontamination."""
        problems = self.experiment.problems
        splits = {"train": problems.train, UNFILTERED: problems.train, "dev": problems.dev, **problems.test}
        split = pick(splits, name, f"splits.{name}", self.where)
        limit = self.experiment.limit
        if limit and not (split.n and split.n <= limit):
            split = split.model_copy(update={"n": limit})
        return split

    def get_method_spec(self, name: str) -> MethodSpec:
        method = pick(self.methods, name, f"methods.{name}", self.where)
        return MethodSpec(method=method.name, options=changed_options(method.options))

    def get_training(self, name: str) -> Train:
        """How the students of a method are trained: as its comparison says."""
        for comparison in self.comparisons.values():
            if name in comparison.methods:
                return comparison.train
        return pick({}, name, f"training.{name}", self.where)

    def list_variants(self, methods: Iterable[str]) -> list[str]:
        """GEAR variants of these methods, the run's own first, whether a method uses it or not."""
        variants = {self.methods[method].variant for method in methods}
        return [DEFAULT_VARIANT, *sorted(v for v in variants if v not in (None, DEFAULT_VARIANT))]

    def get_comparison(self, name: str) -> ComparisonView:
        comparison = pick(self.comparisons, name, f"comparisons.{name}", self.where)
        experiment, main = self.experiment, self.comparisons["main"]
        extends_main = comparison.reference == main.reference
        primary = registry.resolve_primary(experiment, where=self.where)
        is_shown = extends_main and primary is not None and primary.method in comparison.methods
        return ComparisonView(
            name=name,
            title=comparison.title,
            run=self.folder,
            reference=comparison.reference,
            teachers=list(experiment.teachers),
            students=list(experiment.students),
            methods={method: self.get_method_spec(method) for method in comparison.methods},
            benchmarks=list(experiment.benchmarks),
            teacher_seeds=experiment.teacher_seeds,
            training_seeds=experiment.training_seeds,
            variants=self.list_variants(comparison.methods),
            decontaminated=experiment.problems.decontaminated,
            main_methods=list(main.methods) if extends_main else [],
            primary=primary if is_shown else None,
            read_price=experiment.cost.read_price,
        )

    def get_settings(self, name: str) -> dict[str, Any]:
        """What decides the numbers of a comparison, as far as it differs from the defaults.

        Two runs of equal settings ought to agree, whatever machine and engine they ran on.
        """
        content = changed_options(self.experiment)
        for field in NOT_IN_NUMBERS:
            content.pop(field, None)
        for model in (*content["teachers"].values(), *content["students"].values()):
            for field in MODEL_PLACES:
                model.pop(field, None)
        content["problems"].pop("license", None)
        content.get("sampling", {}).pop("shards", None)
        comparison = self.comparisons[name]
        train = changed_options(comparison.train)
        for field in ("save_minutes", "report_to", "micro_batch_tokens"):
            train.pop(field, None)
        variants = {}
        for variant in self.list_variants(comparison.methods)[1:]:
            variants[variant] = changed_options(self.gear_variants[variant])
        methods = {method: self.get_method_spec(method).model_dump(mode="json") for method in comparison.methods}
        return content | {"train": train, "gear_variants": variants, "methods": methods}


def make_source(model: Model, folder: str | None) -> ModelSource:
    """How a model is loaded: from `folder`, where the run has made one."""
    return ModelSource(
        path=folder or model.path,
        revision=None if folder else model.revision,
        template_options=model.template_options,
        endpoint=model.endpoint,
    )


def pick(values: Mapping[str, Any], name: str, path: str, where: str) -> Any:
    """values[name]. Raises HealError that lists the known names."""
    if name not in values:
        raise HealError(f"no {path!r}", where=where, fix=f"known: {', '.join(map(str, values)) or 'none'}")
    return values[name]


@cache
def read_run_config(path: str | Path) -> RunConfig:
    """Raises HealError for a config that cannot be read, does not fit, or names what does not exist."""
    run_config = RunConfig(load(path), str(path))
    run_config.check()
    return run_config
