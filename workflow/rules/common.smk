# Helpers only: the checked experiment, paths, options as JSON, and the code that a stage depends on.
import ast
import json
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

import heal.config.experiment
import heal.config.options
import heal.registry
import heal.viewer.page
import heal.worlds.registry
from heal.errors import HealError
from heal.trace_files import files, kind_of


def checked_experiment():
    """The experiment and its methods, or a message that names file and field."""
    where = ", ".join(map(str, workflow.config_settings.configfiles)) or "config/config.yaml"
    try:
        for path in workflow.config_settings.configfiles or [ROOT / "config/config.yaml"]:
            heal.config.options.read_yaml(path)
        experiment = heal.config.options.validate(heal.config.experiment.Experiment, config, where=where)
        return experiment, heal.registry.resolve(experiment, where=where)
    except HealError as error:
        raise WorkflowError(str(error))


EXPERIMENT, METHODS = checked_experiment()
RUN = f"results/{EXPERIMENT.run}"
CONDA = str(ROOT / ("environment-gpu.yml" if EXPERIMENT.engine.kind == "vllm" else "environment.yml"))
LOGS = f"{RUN}/logs"
TIMES = f"{RUN}/benchmarks"
T = f"{RUN}/traces/{{teacher}}/draw{{draw}}"
STUDENT = "{teacher}/draw{draw}/{student}/{method}"
TRAIN = f"{RUN}/problems/train.parquet"
SPLITS = {"train": EXPERIMENT.problems.train, "dev": EXPERIMENT.problems.dev, **EXPERIMENT.problems.test}
DECONTAMINATED = EXPERIMENT.problems.decontaminated
UNFILTERED = "unfiltered/train"  # the training problems before decontamination
CHECKED = [UNFILTERED if split == "train" and DECONTAMINATED else split for split in SPLITS]
DECONTAMINATION = [f"{RUN}/problems/decontamination.json"] if DECONTAMINATED else []
SHARDS = range(EXPERIMENT.sampling.shards)
OWN = files.variant(EXPERIMENT.gear)
GEARS = {OWN: EXPERIMENT.gear} | {
    files.variant(method.options.gear): method.options.gear
    for method in METHODS.values()
    if hasattr(method.options, "gear")
}
COMPARISONS = heal.registry.comparisons(EXPERIMENT)
NAMES = {kind: list(chosen.methods) for kind, chosen in COMPARISONS.items()}
TRAINING = {name: chosen.train for chosen in COMPARISONS.values() for name in chosen.methods}
MAIN = NAMES["main"]
EVERY = list(METHODS)
AXES = {
    "teacher": list(EXPERIMENT.teachers),
    "draw": range(EXPERIMENT.draws),
    "student": list(EXPERIMENT.students),
    "seed": range(EXPERIMENT.seeds),
}
BENCHMARKS = EXPERIMENT.benchmarks
ASKED = {name: heal.registry.benchmarks()[name] for name in BENCHMARKS}  # benchmark → problems
TABLES = f"{RUN}/tables"
FIGURES = f"{RUN}/figures"
STEPS_CHECKED = EXPERIMENT.problems.train.source in heal.worlds.registry.CHECKS
PICTURES = ("svg", "png", "csv")
ANSWERS = [  # of a student, of its teacher, and of itself before training
    f"{RUN}/evals/{who}/{benchmark}/answers.parquet"
    for who in (f"{STUDENT}/seed{{seed}}", "{teacher}/teacher", "students/{student}")
    for benchmark in BENCHMARKS
]
DETAILS = ("strata", "at_k", "ranks", "costs")


wildcard_constraints:
    teacher="|".join(EXPERIMENT.teachers),
    student="|".join(EXPERIMENT.students),
    method="|".join(EVERY),
    split="|".join(SPLITS),
    draw=r"\d+",
    seed=r"\d+",
    shard=r"\d+",
    variant="|".join(GEARS),
    kind="|".join(NAMES),
    role="teachers|students",
    table=r"samples|guided|(repairs|scores)/[\w-]+|students/\w+/(samples|ranks|continued)",


# A list, since an empty text would vanish from a command line and leave its option without a value.
INSTRUCTION = ["--instruction", EXPERIMENT.problems.instruction] if EXPERIMENT.problems.instruction else []


def as_json(section):
    """A group of options as JSON, for a command line."""
    return json.dumps(section.model_dump(), sort_keys=True)


def options(section):
    """The same as a function, so that Snakemake takes the braces inside for no wildcards."""
    return lambda wildcards: as_json(section)


def dataset(split):
    """A split's options, shrunk by `limit`."""
    chosen = SPLITS["train" if split == UNFILTERED else split]
    if EXPERIMENT.limit and not (chosen.n and chosen.n <= EXPERIMENT.limit):
        chosen = chosen.model_copy(update={"n": EXPERIMENT.limit})
    return as_json(chosen)


def data_files(wildcards):
    """The local files that a split is read from: an edit of one makes its problems again."""
    chosen = SPLITS["train" if wildcards.split == UNFILTERED else wildcards.split]
    paths = [part.path for part in (chosen, *chosen.parts.values()) if part.source == "file"]
    return [path for path in paths if Path(path).is_file()]  # heal.data.load_problems says what to do about a missing one


def template_options(model):
    """--template-options of a model, where it has some."""
    given = model.template_options
    return ["--template-options", json.dumps(given, sort_keys=True)] if given else []


MODELS = {"teachers": EXPERIMENT.teachers, "students": EXPERIMENT.students}


def unpacked(model):
    """The folder of a package's model; None for another one."""
    return f"{RUN}/models/unpacked/{model.package}/{Path(model.path).stem}" if model.package else None


UNPACKED = {unpacked(model): model for models in MODELS.values() for model in models.values() if model.package}


def made(role, name):
    """The folder of a model that the run makes itself; None for one that is used as it is."""
    model = MODELS[role][name]
    return f"{RUN}/models/{role}/{name}/model" if model.warm_up else unpacked(model)


def arguments_of(model, folder=None):
    """--model and what goes with it; folder: where the run has made it, if it has."""
    revision = ["--revision", model.revision] if model.revision and not folder else []
    endpoint = ["--endpoint", as_json(model.endpoint)] if model.endpoint else []
    return ["--model", folder or model.path, *revision, *template_options(model), *endpoint]


def files_of(model, folder=None):
    """What a job with a model depends on: the folder that the run makes, or the files of one that is there."""
    return folder or [str(path) for path in sorted(Path(model.path).glob("*")) if path.is_file()]


def gpus_of(model, folder=None):
    """The GPUs that a job with a model asks for, before the profile's total caps it."""
    return 0 if EXPERIMENT.engine.device == "cpu" or model.endpoint else model.gpus


def of_model(role, tell):
    """A function of the wildcards: what `tell` says of a job's teacher or student."""

    def told(wildcards):
        name = getattr(wildcards, role.removesuffix("s"))
        return tell(MODELS[role][name], made(role, name))

    return told


TEACHER, BASE_STUDENT = of_model("teachers", arguments_of), of_model("students", arguments_of)
TEACHER_GPUS, STUDENT_GPUS = of_model("teachers", gpus_of), of_model("students", gpus_of)
teacher_files, student_files = of_model("teachers", files_of), of_model("students", files_of)


def teaching(wildcards):
    """--distillation and --teacher of a method whose student is trained beside its teacher."""
    how, model = METHODS[wildcards.method].distillation, EXPERIMENT.teachers[wildcards.teacher]
    if not how:
        return []
    folder = made("teachers", wildcards.teacher)
    revision = ["--teacher-revision", model.revision] if model.revision and not folder else []
    return ["--distillation", as_json(how), "--teacher", folder or model.path, *revision]


def of_base(wildcards, tell):
    """What `tell` says of the model that a warm-up starts from."""
    model = MODELS[wildcards.role][wildcards.name]
    return tell(model, unpacked(model))


def method_json(name):
    """A method with all its options, as `heal.registry.build` takes it."""
    return json.dumps({"kind": METHODS[name].kind, **METHODS[name].options.model_dump()}, sort_keys=True)


def methods_json(kind):
    """The methods of a comparison with all their options, by name."""
    return json.dumps({name: json.loads(method_json(name)) for name in NAMES[kind]})


def source_file(module):
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


@cache
def code(module):
    """The project's files that a module imports, directly or not: an edit of one reruns the stage."""
    found, queue = set(), [module]
    while queue:
        name = queue.pop()
        path = source_file(name)
        if name in found or not path.exists():
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [str(source_file(name).relative_to(ROOT)) for name in sorted(found)]


def needed_traces(names):
    """The trace files that these methods declared, for every teacher and draw, and every student where it made them."""
    needs = sorted({file for name in names for file in METHODS[name].needs()})
    return expand([f"{T}/{file}" for file in needs], **AXES)


def viewed_traces(wildcards):
    """Samples, grades, repairs and scores: of the main methods, and of other GEAR variants as far as they are there."""
    here = T.format(teacher=wildcards.teacher, draw=wildcards.draw)
    needed = needed_traces(MAIN)
    of_gear = [f"{here}/{table}/{variant}.parquet" for table in ("repairs", "scores") for variant in GEARS]
    return [f"{here}/{file}" for file in files.base] + [
        file for file in of_gear if file in needed or Path(file).exists()
    ]


def per_student(pattern, names):
    return expand(pattern, method=names, **AXES)


def model_cards(names):
    return per_student(f"{RUN}/students/{STUDENT}/seed{{seed}}/README.md", names)


def needs_guided_scores(variant):
    """Whether a method with this GEAR lets PURE filter the guided samples too."""
    return any(
        hasattr(method.options, "pure")
        and method.options.pure.filter_guided
        and files.variant(method.options.gear) == variant
        for method in METHODS.values()
    )


def benchmark_problems(wildcards):
    return sorted({f"{RUN}/problems/{split}.parquet" for split in ASKED.values()})


def evaluation(folder):
    """What one evaluation writes: every answer, and lm-eval's results, per benchmark."""
    return [f"{folder}/{benchmark}/{file}" for benchmark in BENCHMARKS for file in ("answers.parquet", "results.json")]


def task_files():
    return sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "evals/tasks").rglob("*") if path.suffix in (".py", ".yaml")
    )


def compared(kind):
    """GEAR variants of a comparison's methods, the run's own first."""
    used = {files.variant(METHODS[name].options.gear) for name in NAMES[kind] if hasattr(METHODS[name].options, "gear")}
    return [OWN, *sorted(used - {OWN})]


def table_files(kind):
    """The methods' scores, doses and costs; where steps can be checked, what the traces say of the modules too."""
    made = [f"{TABLES}/{kind}.{suffix}" for suffix in ("csv", "md", "tex", "txt")]
    made += [f"{TABLES}/{kind}_{detail}.{suffix}" for detail in DETAILS for suffix in ("csv", "md")]
    made += [f"{TABLES}/{kind}_{dose}.csv" for dose in ("coverage", "exposures")]
    made += [f"{TABLES}/{kind}_outcomes.parquet"]
    if kind == "main":
        made += [f"{TABLES}/paper.{suffix}" for suffix in ("csv", "md")]
    if STEPS_CHECKED and kind in ("main", "ablations"):
        made += [f"{TABLES}/{kind}_audits/audits_{teacher}.csv" for teacher in EXPERIMENT.teachers]
    return made


def report_files(kind):
    pictures = [f"{FIGURES}/{kind}/{name}" for name in ("accuracy", "cost", "loss")]
    if kind == "main":
        used = {file for name in MAIN for file in METHODS[name].needs()}
        names = ["ceiling"] + ["trace"] * STEPS_CHECKED
        names += ["positions"] * (STEPS_CHECKED or f"repairs/{OWN}.parquet" in used)
        names += ["pure"] * (STEPS_CHECKED or f"scores/{OWN}.parquet" in used)
        pictures += expand(f"{FIGURES}/draw{{draw}}/{{name}}_{{teacher}}", name=names, **AXES)
        pictures += [f"{FIGURES}/{name}" for name in ["hours", "rulegraph"] + ["roc"] * STEPS_CHECKED]
    return table_files(kind) + [f"{picture}.{suffix}" for picture in pictures for suffix in PICTURES]


def study_files():
    """The study's figures, over the methods of the ablation table."""
    pictures = ["ablations/doses"] + ["ablations/cuts"] * STEPS_CHECKED
    return [f"{FIGURES}/{picture}.{suffix}" for picture in pictures for suffix in PICTURES]


def page_files(kind):
    """The page of a comparison: the main one, and what its own tables and figures add."""
    return [f"{RUN}/report/{kind}.{suffix}" for suffix in ("html", "txt")]


def users_of_gear(kind):
    """GEAR variant → the method that teaches its repairs, HEAL before a control that counts them; rs_matched does not."""
    users = {}
    for name in sorted(NAMES[kind], key=lambda name: METHODS[name].kind != "heal"):
        gear = getattr(METHODS[name].options, "gear", None)
        if gear and files.repairs(gear) in METHODS[name].needs():
            users.setdefault(files.variant(gear), name)
    return users


def more_samples(kind):
    """The methods that differ in the number of the teacher's samples only."""
    alike = ("rejection_sampling", "rs_matched")
    return [
        name
        for name in NAMES[kind]
        if METHODS[name].kind in alike and getattr(METHODS[name].options, "allocation", "uniform") == "uniform"
    ]


def axes(kind):
    """The axes of a comparison, as the commands take them."""
    return (
        f"--run {RUN} --teachers {' '.join(EXPERIMENT.teachers)} --students {' '.join(EXPERIMENT.students)}"
        f" --benchmarks {' '.join(EXPERIMENT.benchmarks)} --draws {EXPERIMENT.draws} --seeds {EXPERIMENT.seeds}"
        f" --methods {' '.join(NAMES[kind])}"
    )


def answers(wildcards):
    return answers_of(wildcards.kind)


def answers_of(kind):
    """Every answer that a comparison rests on."""
    return expand(ANSWERS, method=NAMES[kind], **AXES)


def models_json(wildcards):
    """A job's teacher and student, as the config has them."""
    told = {role: MODELS[f"{role}s"][getattr(wildcards, role)].model_dump() for role in ("teacher", "student")}
    return json.dumps(told, sort_keys=True)


def trained(file):
    """One file of every student of a comparison."""
    return lambda wildcards: expand(
        f"{RUN}/students/{STUDENT}/seed{{seed}}/{file}", method=NAMES[wildcards.kind], **AXES
    )


def curricula_of(wildcards):
    return expand(f"{RUN}/curricula/{STUDENT}/curriculum.jsonl", method=NAMES[wildcards.kind], **AXES)


def pictures_of(name, title, category, **labels):
    """svg, png and the numbers behind a figure; the svg stands in Snakemake's report, under its title and labels."""
    marked = reported(f"{FIGURES}/{name}.svg", Path(name).name.partition("_")[0], category, Figure=title, **labels)
    return {suffix: f"{FIGURES}/{name}.{suffix}" for suffix in PICTURES} | {"svg": marked}


def reported(file, caption, category, **labels):
    """A file of Snakemake's report, with its caption in workflow/report/; evals.report.page shows the same one."""
    return report(file, caption=f"../report/{caption}.rst", category=category, labels=labels)


def show_summary():
    """The main table, where the run made it, as the last thing people see."""
    table = Path(f"{RUN}/tables/main.txt")
    if table.exists():
        print(f"\n{table.read_text()}\nAll of it, figures too: {RUN}/report/main.html", file=sys.stderr)
