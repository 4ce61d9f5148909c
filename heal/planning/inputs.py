"""What a cost plan starts from: the checked config, the compared methods, sizes and assumptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heal.config.experiment import Experiment
from heal.config.models import Model
from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.planning.assumptions import (
    Assumption,
    Benchmark,
    count_problems,
    list_assumptions,
    read_benchmarks,
    set_assumptions,
)
from heal.planning.shapes import ModelShape, ModelSize, find_model_shape, find_model_size


@dataclass(frozen=True)
class PlanInputs:
    """Everything that a cost plan rests on."""

    run_config: RunConfig
    methods: Sequence[str]
    """Names of the compared methods."""
    problems: Mapping[str, float]
    """Split → number of problems, for the splits that are used."""
    benchmarks: Mapping[str, Benchmark]
    sizes: Mapping[str, ModelSize]
    """By teachers.NAME and students.NAME."""
    shapes: Mapping[str, ModelShape]
    """As sizes."""
    assumptions: Mapping[str, Assumption]

    @property
    def experiment(self) -> Experiment:
        return self.run_config.experiment

    def __getitem__(self, key: str) -> float:
        """The value of an assumption."""
        return self.assumptions[key].value


def collect_inputs(
    run_config: RunConfig,
    *,
    ablations: bool = False,
    comparisons: bool = False,
    gpu: str = "H100",
    assume: Mapping[str, float] | None = None,
    results: Path | None = None,
) -> PlanInputs:
    """The inputs of a plan of this config.

    assume: values of --assume; besides assumptions, `params.NAME` sets the size of a model and `problems.SPLIT` a
    number of problems. results: folder of finished runs. Raises HealError where one of these numbers is unknown.
    """
    experiment, values = run_config.experiment, dict(assume or {})
    models = list_models(experiment)
    splits = ["train", "dev", *experiment.problems.test]
    # Known keys are removed here, so that a misspelled one remains and is refused.
    problems = {split: values.pop(f"problems.{split}", None) for split in splits}
    parameters = {name: values.pop(f"params.{name}", None) for name in {*experiment.teachers, *experiment.students}}
    other_keys = [*(f"params.{name}" for name in sorted(parameters)), *(f"problems.{split}" for split in splits)]
    defaults = list_assumptions(experiment, gpu, results)
    assumptions = set_assumptions(defaults, values, "--assume", other_keys)
    benchmarks = read_benchmarks(experiment.benchmarks)
    sizes = {}
    try:
        for split in ("train", *(benchmark.split for benchmark in benchmarks.values())):
            if problems[split] is None:
                problems[split] = count_problems(run_config.get_split(split), split)
        for label, model in models.items():
            sizes[label] = find_model_size(model, label, parameters[label.partition(".")[2]])
    except HealError as error:
        raise HealError(error.problem, where=f"{run_config.where}: {error.where}", fix=error.fix) from None
    known = {split: count for split, count in problems.items() if count is not None}
    methods = list_methods(run_config, ablations=ablations, comparisons=comparisons)
    shapes = {label: find_model_shape(models[label], size) for label, size in sizes.items()}
    return PlanInputs(run_config, methods, known, benchmarks, sizes, shapes, assumptions)


def list_models(experiment: Experiment) -> dict[str, Model]:
    """teachers.NAME or students.NAME → model."""
    models = {}
    for role, named in (("teachers", experiment.teachers), ("students", experiment.students)):
        for name, model in named.items():
            models[f"{role}.{name}"] = model
    return models


def list_methods(run_config: RunConfig, *, ablations: bool, comparisons: bool) -> list[str]:
    """Names of the methods of the main comparison and, if asked for, of the ablations and the further comparisons."""
    names = ["main"]
    if ablations:
        names.append("ablations")
    if comparisons:
        names += run_config.experiment.comparisons
    methods: dict[str, None] = {}
    for name in names:
        methods |= dict.fromkeys(run_config.comparisons[name].methods)
    return list(methods)
