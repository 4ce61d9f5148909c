# Helpers only: the checked experiment, paths, options as JSON, and the code that a stage depends on.
import ast
import json
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

import heal.config
import heal.registry
from heal.errors import HealError
from heal.methods import files


def checked_experiment():
    """The experiment and its methods, or a message that names file and field."""
    where = ", ".join(map(str, workflow.config_settings.configfiles)) or "config/config.yaml"
    try:
        for path in workflow.config_settings.configfiles or [ROOT / "config/config.yaml"]:
            heal.config.read_yaml(path)
        experiment = heal.config.validate(heal.config.Experiment, config, where=where)
        return experiment, heal.registry.resolve(experiment, where=where)
    except HealError as error:
        raise WorkflowError(str(error))


EXPERIMENT, METHODS = checked_experiment()
RUN = f"results/{EXPERIMENT.run}"
LOGS = f"{RUN}/logs"
TIMES = f"{RUN}/benchmarks"
T = RUN + "/traces/{teacher}/draw{draw}"
STUDENT = "{teacher}/draw{draw}/{student}/{method}"
TRAIN = f"{RUN}/problems/train.parquet"
SPLITS = {"train": EXPERIMENT.problems.train, "dev": EXPERIMENT.problems.dev, **EXPERIMENT.problems.test}
SHARDS = range(EXPERIMENT.sampling.shards)
GEARS = {
    files.variant(method.options.gear): method.options.gear for method in METHODS.values() if hasattr(method.options, "gear")
}
MAIN = list(EXPERIMENT.methods)
EVERY = list(METHODS)


wildcard_constraints:
    teacher="|".join(EXPERIMENT.teachers),
    student="|".join(EXPERIMENT.students),
    method="|".join(EVERY),
    split="|".join(SPLITS),
    draw=r"\d+",
    seed=r"\d+",
    shard=r"\d+",
    variant="|".join(GEARS) or "none",
    table=r"samples|guided|(repairs|scores)/[\w-]+",


def as_json(section):
    """A group of options as JSON, for a command line."""
    return json.dumps(section.model_dump(), sort_keys=True)


def options(section):
    """The same as a function, so that Snakemake takes the braces inside for no wildcards."""
    return lambda wildcards: as_json(section)


def dataset(split):
    """A split's options, shrunk by `limit`."""
    chosen = SPLITS[split]
    if EXPERIMENT.limit and not (chosen.n and chosen.n <= EXPERIMENT.limit):
        chosen = chosen.model_copy(update={"n": EXPERIMENT.limit})
    return as_json(chosen)


def model_arguments(models):
    """A function of the wildcards that gives --model and --revision of a teacher."""

    def arguments(wildcards):
        model = models[wildcards.teacher if models is EXPERIMENT.teachers else wildcards.student]
        return ["--model", model.path, *(["--revision", model.revision] if model.revision else [])]

    return arguments


TEACHER = model_arguments(EXPERIMENT.teachers)
BASE_STUDENT = model_arguments(EXPERIMENT.students)


def local_model(models, name):
    """The files of a model that lies in a folder, so that a rebuilt model reruns what used it."""
    folder = Path(models[name].path)
    return [str(path) for path in sorted(folder.glob("*")) if path.is_file()] if folder.is_dir() else []


def teacher_files(wildcards):
    return local_model(EXPERIMENT.teachers, wildcards.teacher)


def student_files(wildcards):
    return local_model(EXPERIMENT.students, wildcards.student)


def method_json(name):
    """A method with all its options, as `heal.registry.build` takes it."""
    return json.dumps({"kind": METHODS[name].kind, **METHODS[name].options.model_dump()}, sort_keys=True)


@cache
def code(module):
    """The project's files that a module imports, directly or not: an edit of one reruns the stage."""
    found, queue = set(), [module]
    while queue:
        name = queue.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name in found or not path.exists():
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [str((ROOT / (name.replace(".", "/") + ".py")).relative_to(ROOT)) for name in sorted(found)]


def show_summary():
    """The main table, where the run made it, as the last thing people see."""
    table = Path(f"{RUN}/tables/main.txt")
    if table.exists():
        print(f"\n{table.read_text()}\nTables, figures: {RUN}/tables, {RUN}/figures", file=sys.stderr)
