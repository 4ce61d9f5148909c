# The checked run config, path patterns, and the helpers that rules call. Commands and versions come from heal.cli.
import fcntl
import secrets
import shlex
import subprocess
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
from heal.engines.gpu_lease import list_visible_gpus
from heal.errors import HealError
from heal.job_server import ADDRESS_VARIABLE
from heal.planning.hours import count_evaluation_gpus
from heal.planning.resampling import PlannedJob, check_resampling, pop_permission
from heal.planning.resources import DEFAULT, estimate_job_resources
from heal.registry import find_task_files, list_benchmarks
from heal.stages import describe_stages, list_stages
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
FEW_JOBS = 10

# Jobs run the code of this folder, with this config: nothing has to be installed in an environment or container.
shell.prefix(
    f"set -euo pipefail; export HEAL_CONFIG={shlex.quote(str(write_config()))} {ADDRESS_VARIABLE}={JOB_SERVER}; "
    'heal() {{ python -m heal.job_server "$@"; }}; '
)


def lock_folder():
    """Raises WorkflowError where another run is active in this folder. The kernel frees the lock when this one ends.

    Snakemake's own locks are off (profiles/): they outlive a kill, and then have to be removed by hand.
    """
    global LOCK  # open, and so locked, until this process ends
    LOCK = open(".snakemake.lock", "w")
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(f"Another run is active in {Path.cwd()}: wait for it, or stop it.")


def start_job_server():
    """Where more than a few jobs run here, in Snakemake's own environment and without GPUs: see heal/job_server.py."""
    here = workflow.is_main_process and workflow.local_exec and not workflow.deployment_settings.deployment_method
    on_cpu = EXPERIMENT.engine.device == "cpu" or not list_visible_gpus()
    jobs = len(list(workflow.dag.needrun_jobs()))
    if sys.platform == "linux" and here and on_cpu and jobs > FEW_JOBS:
        Path(LOGS).mkdir(parents=True, exist_ok=True)
        with open(f"{LOGS}/job_server.log", "w") as log:
            command = ["python", "-m", "heal.job_server", "--serve", JOB_SERVER, EXPERIMENT.engine.backend]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def ask_before_resampling():
    """Stops the run, or moves files aside, where samples that exist would be made again."""
    if not workflow.is_main_process or workflow.touch:
        return
    jobs = {}
    for job in workflow.dag.needrun_jobs():
        jobs[job] = describe_job(job)
    for job, planned in jobs.items():
        planned.causes = tuple(jobs[cause] for cause in workflow.dag.dependencies[job] if cause in jobs)
    try:
        message = check_resampling(jobs.values(), EXPERIMENT.run, allowed=MAY_RESAMPLE)
    except HealError as error:
        raise WorkflowError(str(error))
    if message:
        print(message, file=sys.stderr)


def describe_job(job):
    """A job of Snakemake's plan, without the jobs that make its input files again."""
    reason = workflow.dag.reason(job)
    reasons = [f"{path} is newer" for path in sorted(reason.updated_input)]
    reasons += [f"{path} is missing" for path in sorted(reason.missing_output)]
    reasons += [f"{path} was left incomplete" for path in sorted(reason.incomplete_output)]
    changes = {
        "forced on the command line": reason.forced,
        f"{job.rule.name} reads other files": reason.input_changed,
        f"the command line of {job.rule.name} changed": reason.code_changed or reason.params_changed,
        f"the software environment of {job.rule.name} changed": reason.software_stack_changed,
    }
    joined = []
    for other in workflow.dag.depending[job]:
        if other.rule.name == "merge_shards":
            joined += other.output
    return PlannedJob(
        job.rule.name,
        tuple(job.output),
        joined=tuple(joined),
        version=job.params.get("version"),
        options=job.params.get("options") or {},
        reasons=(*reasons, *[text for text, holds in changes.items() if holds]),
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


def list_data_files(wildcards):
    """The local files that a split is read from: an edit of one loads its problems again."""
    dataset = RUN_CONFIG.get_split(wildcards.split)
    paths = [part.path for part in (dataset, *dataset.parts.values()) if part.source == "file"]
    return [path for path in paths if Path(path).is_file()]  # heal load-problems reports a missing one


def list_needed_traces(methods):
    """The trace files of these methods, for every teacher and teacher seed, and every student where it makes them."""
    paths = {file.path for method in methods for file in METHODS[method].needs()}
    return expand([f"{TRACES}/{path}" for path in sorted(paths)], **AXES)


def find_graded_samples(wildcards):
    """The samples that a grades file is about."""
    grades = find_trace_file(f"{wildcards.grades}.parquet")
    return f"{TRACES}/{grades.parents[0].path}"


def list_viewed_traces(wildcards):
    """Samples, grades, repairs and scores: of the methods that this run makes, and of other GEAR variants that exist.

    A run of `ablations viewer` makes the ablations' variants itself: the page waits for them, so that a second run
    finds the same input files.
    """
    folder = TRACES.format(teacher=wildcards.teacher, teacher_seed=wildcards.teacher_seed)
    made = {"ablations": ("ablations",), "study": ("ablations",), "comparisons": tuple(EXPERIMENT.comparisons)}
    methods = dict.fromkeys(MAIN)
    for target in workflow.dag_settings.targets:
        for comparison in made.get(target, ()):
            methods |= dict.fromkeys(COMPARISONS[comparison].methods)
    needed = list_needed_traces(methods)
    files = [f"{folder}/{SAMPLES.path}", f"{folder}/{GRADES.path}"]
    for file in (REPAIRS, SCORES):
        for variant in VARIANTS:
            path = f"{folder}/{file.of(variant=variant).path}"
            if path in needed or Path(path).exists():
                files.append(path)
    return files


def list_model_cards(methods):
    return expand(f"{STUDENT}/README.md", method=methods, **AXES)


def list_student_files(file):
    """A function of the wildcards: one file of every student of a comparison."""
    return lambda wildcards: expand(f"{STUDENT}/{file}", method=list(COMPARISONS[wildcards.comparison].methods), **AXES)


def list_curricula(wildcards):
    methods = list(COMPARISONS[wildcards.comparison].methods)
    return expand(f"{CURRICULUM}/curriculum.jsonl", method=methods, **AXES)


def list_comparison_traces(wildcards):
    return list_needed_traces(COMPARISONS[wildcards.comparison].methods)


def list_problem_files(splits):
    return [f"{RUN}/problems/{split}.parquet" for split in splits]


def list_benchmark_problems(wildcards):
    splits = list_benchmarks()
    return sorted({f"{RUN}/problems/{splits[benchmark]}.parquet" for benchmark in BENCHMARKS})


def list_task_files():
    """The task files of the run's benchmarks: another benchmark, added later, evaluates nothing again."""
    return [str(path.relative_to(ROOT)) for path in find_task_files(BENCHMARKS)]


def list_eval_files(folder):
    """What one evaluation writes: every answer, and lm-eval's results, per benchmark."""
    return [f"{folder}/{benchmark}/{file}" for benchmark in BENCHMARKS for file in ("answers.parquet", "results.json")]


def list_answers(methods):
    """Every answer that a comparison rests on: of students, teachers and untrained students."""
    folders = (STUDENT_EVALS, TEACHER_EVALS, UNTRAINED_EVALS)
    patterns = [f"{folder}/{benchmark}/answers.parquet" for folder in folders for benchmark in BENCHMARKS]
    return expand(patterns, method=list(methods), **AXES)


def list_comparison_answers(wildcards):
    """The answers of a comparison's methods, and of the main methods that the numbers of its rows rest on."""
    view = RUN_CONFIG.get_comparison(wildcards.comparison)
    return list_answers(dict.fromkeys([*view.main_methods, *view.methods]))


def list_audited_traces(wildcards):
    """Repairs and scores of the GEAR variants of a comparison."""
    folder = TRACES.format(teacher=wildcards.teacher, teacher_seed=wildcards.teacher_seed)
    variants = RUN_CONFIG.list_variants(COMPARISONS[wildcards.comparison].methods)
    return [f"{folder}/{file.of(variant=variant).path}" for variant in variants for file in (REPAIRS, SCORES)]


def list_table_files(comparison):
    """Scores, exposures and costs of a comparison; audits of its teachers where steps can be checked."""
    files = [f"{TABLES}/{comparison}.{suffix}" for suffix in ("csv", "md", "tex", "txt")]
    files += [f"{TABLES}/{comparison}_{detail}.{suffix}" for detail in (*DETAILS, "costs") for suffix in ("csv", "md")]
    files += [f"{TABLES}/{comparison}_{table}.csv" for table in ("coverage", "exposures")]
    files += [f"{TABLES}/{comparison}_notes.json", f"{TABLES}/{comparison}_outcomes.parquet"]
    if comparison == "main":
        files += [f"{TABLES}/paper.{suffix}" for suffix in ("csv", "md")]
    if STEPS_CHECKABLE and comparison in ("main", "ablations"):
        files += [f"{TABLES}/{comparison}_audits/audits_{teacher}.csv" for teacher in EXPERIMENT.teachers]
    return files


def list_figure_files(comparison):
    figures = [f"{FIGURES}/{comparison}/{name}" for name in ("differences", "accuracy", "cost", "loss")]
    if comparison == "main":
        needed = {file.path for method in MAIN for file in METHODS[method].needs()}
        names = ["ceiling"] + ["trace"] * STEPS_CHECKABLE
        names += ["positions"] * (STEPS_CHECKABLE or REPAIRS.of(variant=DEFAULT_VARIANT).path in needed)
        names += ["pure"] * (STEPS_CHECKABLE or SCORES.of(variant=DEFAULT_VARIANT).path in needed)
        figures += expand(f"{FIGURES}/teacher_seed{{teacher_seed}}/{{name}}_{{teacher}}", name=names, **AXES)
        figures += [f"{FIGURES}/{name}" for name in ["hours"] + ["roc"] * STEPS_CHECKABLE]
    return [f"{figure}.{suffix}" for figure in figures for suffix in PICTURES]


def list_report_files(comparison):
    return list_table_files(comparison) + list_figure_files(comparison)


def list_study_files():
    """The study's figures, over the methods of the ablation table."""
    figures = ["ablations/exposures"] + ["ablations/cuts"] * STEPS_CHECKABLE
    return [f"{FIGURES}/{figure}.{suffix}" for figure in figures for suffix in PICTURES]


def list_pages(comparison):
    return [f"{RUN}/report/{comparison}.{suffix}" for suffix in ("html", "txt")]


def list_page_inputs(wildcards):
    """Tables and figures on a comparison's page: the main ones, and its own."""
    files = []
    for comparison in dict.fromkeys(("main", wildcards.comparison)):
        files += [file for file in list_report_files(comparison) if not file.endswith((".tex", ".txt"))]
    return files


def name_pictures(name, title, category, **labels):
    """svg, png and csv of a figure; the svg is part of Snakemake's report, under its title and labels."""
    caption = Path(name).name.partition("_")[0]
    svg = mark_for_report(f"{FIGURES}/{name}.svg", caption, category, Figure=title, **labels)
    return {suffix: f"{FIGURES}/{name}.{suffix}" for suffix in PICTURES} | {"svg": svg}


def mark_for_report(file, caption, category, **labels):
    """A file of Snakemake's report, with its caption from workflow/report/; heal report shows the same caption."""
    return report(file, caption=f"../report/{caption}.rst", category=category, labels=labels)


def print_stages():
    """Prints one sentence per stage of the run so far: what came out."""
    sentences = describe_stages(list_stages(Path(RUN)))
    if sentences:
        print("\n" + "\n".join(sentences), file=sys.stderr)


def print_summary():
    """Prints what came out of each stage, the main table, and whether it agrees with the reference, as the last output."""
    print_stages()
    table, agreement = Path(f"{TABLES}/main.txt"), Path(f"{TABLES}/reproduction.txt")
    if table.exists():
        print(f"\n{table.read_text()}\nAll tables and figures: {RUN}/report/main.html", file=sys.stderr)
    if agreement.exists():
        print(f"\n{agreement.read_text()}", file=sys.stderr)
