# The checked run config, path patterns, and the helpers that rules call. Commands and versions come from heal.cli.
import secrets
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

import heal.viewer.page
from heal import run_layout
from heal.cli import COMMANDS
from heal.config.experiment import Experiment
from heal.config.layers import read_layers
from heal.config.options import validate
from heal.config.run_config import UNFILTERED, RunConfig
from heal.config.yaml_files import read_texts
from heal.errors import HealError
from heal.job_server import ADDRESS_VARIABLE
from heal.planning.hours import count_evaluation_gpus
from heal.planning.resampling import pop_permission
from heal.planning.resources import DEFAULT, estimate_job_resources
from heal.registry import find_task_files, list_benchmarks
from heal.trace_files import (
    CONTINUATIONS,
    CUTS,
    DEFAULT_VARIANT,
    EXTRA_GRADES,
    EXTRA_SAMPLES,
    GRADES,
    GREEDY_SHARD,
    GUIDED,
    GUIDED_SCORES,
    LOW_TEMPERATURE_SAMPLES,
    RANKS,
    REPAIRS,
    REQUIRED,
    SAMPLES,
    SCORES,
    STUDENT_GRADES,
    STUDENT_SAMPLES,
    find_trace_file,
)
from heal.versions import check_versions, read_version


def read_config():
    """The run config, from the config files and --config; and whether samples that exist may be made again.

    That is a permission for one call, `--config allow_resampling=true`, and no option of a config. Raises WorkflowError
    that names file and field.
    """
    settings = workflow.config_settings
    files = settings.configfiles or [ROOT / "config/config.yaml"]
    where = ", ".join(map(str, files))
    try:
        check_versions({command: entry.module for command, entry in COMMANDS.items()})
        overrides = read_texts(settings.config)
        allowed = pop_permission(overrides)
        content = read_layers(Experiment, files, overrides)
        run_config = RunConfig(validate(Experiment, content, where=where), where)
        run_config.check()
        return run_config, allowed
    except HealError as error:
        raise WorkflowError(str(error))


def write_config():
    """The file that jobs read the config from. Raises WorkflowError where results/ cannot be written."""
    try:
        return RUN_CONFIG.write()
    except HealError as error:
        raise WorkflowError(str(error))


RUN_CONFIG, MAY_RESAMPLE = read_config()
EXPERIMENT = RUN_CONFIG.experiment
METHODS = RUN_CONFIG.methods
COMPARISONS = RUN_CONFIG.comparisons
VARIANTS = list(RUN_CONFIG.gear_variants)
MAIN = list(COMPARISONS["main"].methods)
BENCHMARKS = EXPERIMENT.benchmarks
SHARDS = range(EXPERIMENT.sampling.shards)
AXES = {
    "teacher": list(EXPERIMENT.teachers),
    "teacher_seed": range(EXPERIMENT.teacher_seeds),
    "student": list(EXPERIMENT.students),
    "seed": range(EXPERIMENT.training_seeds),
}

RUN = RUN_CONFIG.folder
LOGS = f"{RUN}/logs"
TIMES = f"{RUN}/benchmarks"
TABLES = f"{RUN}/tables"
FIGURES = f"{RUN}/figures"
TRACES = f"{RUN}/{run_layout.TRACES}"
CURRICULUM = f"{RUN}/{run_layout.CURRICULUM}"
STUDENT = f"{RUN}/{run_layout.STUDENT}"
STUDENT_EVALS = f"{RUN}/{run_layout.STUDENT_EVALS}"
TEACHER_EVALS = f"{RUN}/{run_layout.TEACHER_EVALS}"
UNTRAINED_EVALS = f"{RUN}/{run_layout.UNTRAINED_EVALS}"
REPEATED_EVALS = f"{RUN}/{run_layout.REPEATED_EVALS}"
TRAIN = f"{RUN}/problems/train.parquet"
SPLITS = ["train", "dev", *EXPERIMENT.problems.test]
DECONTAMINATED = EXPERIMENT.problems.decontaminated
DECONTAMINATION = [f"{RUN}/problems/decontamination.json"] if DECONTAMINATED else []
CONDA = str(ROOT / ("environment-gpu.yml" if EXPERIMENT.engine.backend == "vllm" else "environment.yml"))
STEPS_CHECKABLE = EXPERIMENT.problems.train.from_world
PICTURES = ("svg", "png", "csv")
DETAILS = ("strata", "at_k", "ranks")


wildcard_constraints:
    teacher="|".join(EXPERIMENT.teachers),
    student="|".join(EXPERIMENT.students),
    method="|".join(METHODS),
    split="|".join(SPLITS),
    teacher_seed=r"\d+",
    seed=r"\d+",
    shard=r"\d+",
    variant="|".join(VARIANTS),
    allocation="uniform|treated",
    comparison="|".join(COMPARISONS),
    role="teachers|students",


JOB_SERVER = f"heal-{secrets.token_hex(8)}"

# Jobs run the code of this folder, with this config: nothing has to be installed in an environment or container.
shell.prefix(
    f"set -euo pipefail; export HEAL_CONFIG={shlex.quote(str(write_config()))} {ADDRESS_VARIABLE}={JOB_SERVER}; "
    'heal() {{ python -m heal.job_server "$@"; }}; '
)


def get_version(command):
    """VERSION of a command's module: raising it reruns the rule and what follows; a comment reruns nothing."""
    return read_version(COMMANDS[command].module)


def track_options(command, **flags):
    """A function of the wildcards: the options that the command reads, those that differ from their defaults only."""

    def collect_options(wildcards):
        return COMMANDS[command].load().changed_options(RUN_CONFIG, **{**dict(wildcards.items()), **flags})

    return collect_options


def repeat_flag(flag, paths):
    """--flag path --flag path …, as the commands take lists."""
    arguments = []
    for path in paths:
        arguments += [flag, path]
    return arguments


def add_flag(flag, value):
    """[--flag, value], or nothing where there is no value."""
    return [flag, value] if value else []


def mark_required(table):
    """--required for a trace file that the rest of the run is made from."""
    return "--required" if find_trace_file(f"{table}.parquet") in REQUIRED else ""


def find_file(path):
    """[path], or nothing where there is no such file."""
    return [path] if Path(path).exists() else []


def get_model_name(role, wildcards):
    return wildcards.get("name") or getattr(wildcards, role.removesuffix("s"))


def list_model_files(role):
    """A function of the wildcards: the folder that the run makes, or the files of a local model; [] for the hub."""

    def list_files(wildcards):
        name = get_model_name(role, wildcards)
        folder = RUN_CONFIG.find_made_folder(role, name)
        return folder or list_folder(RUN_CONFIG.get_model(role, name).path)

    return list_files


def list_warm_up_base(wildcards):
    """The files of the model that a warm-up starts from."""
    model = RUN_CONFIG.get_model(wildcards.role, wildcards.name)
    return RUN_CONFIG.find_unpacked_folder(model) or list_folder(model.path)


def list_folder(folder):
    return [str(path) for path in sorted(Path(folder).glob("*")) if path.is_file()]


def count_gpus(role):
    """A function of the wildcards: the GPUs that a job with this model asks for."""

    def count(wildcards):
        model = RUN_CONFIG.get_model(wildcards.get("role") or role, get_model_name(role, wildcards))
        return 0 if EXPERIMENT.engine.device == "cpu" or model.endpoint else model.gpus

    return count


def count_gpus_of_evaluation(role):
    """A function of the wildcards: the GPUs that an evaluation of this model asks for."""

    def count(wildcards):
        name = get_model_name(role, wildcards)
        model = RUN_CONFIG.get_model(role, name)
        if EXPERIMENT.engine.device == "cpu" or model.endpoint:
            return 0
        return count_evaluation_gpus(f"{role}.{name}", model)

    return count


# The gates of the mini world, as far as they were measured: its tables say whether they hold.
GATES = find_file("results/reference/mini_gates/tables/gates.csv") * (EXPERIMENT.problems.train.source == "mini")
JOB_RESOURCES = estimate_job_resources(RUN_CONFIG)


def estimate_resource(resource, rule, role):
    """A function of the wildcards: mem_mb or runtime of a job with this model, by the plan; a cluster is asked for it."""

    def estimate(wildcards):
        return getattr(JOB_RESOURCES.get((rule, get_model_name(role, wildcards)), DEFAULT), resource)

    return estimate


def name_pictures(name, title, category, **labels):
    """svg, png and csv of a figure; the svg is part of Snakemake's report, under its title and labels."""
    caption = Path(name).name.partition("_")[0]
    svg = mark_for_report(f"{FIGURES}/{name}.svg", caption, category, Figure=title, **labels)
    return {suffix: f"{FIGURES}/{name}.{suffix}" for suffix in PICTURES} | {"svg": svg}


def mark_for_report(file, caption, category, **labels):
    """A file of Snakemake's report, with its caption from workflow/report/; heal report shows the same caption."""
    return report(file, caption=f"../report/{caption}.rst", category=category, labels=labels)
