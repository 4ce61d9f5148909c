"""What a run will cost before anything is spent: jobs, prompts, tokens, GPU-hours, disk and money, stage by stage.

Reads a config and what the workflow will run for it; writes a table and, with --csv, a file.

    heal plan --config config/config.yaml --card H100 --price 2.50
    heal plan --config my.yaml --ablations --comparisons --assume treated_share=0.3 trace_tokens=6000 params.big=32e9
    heal plan --from results/mini      # beside what that run really took: heal.planning.ledger

What nobody knows beforehand is a small set of assumptions (heal.planning.assumptions), printed below the table. Time comes from
FLOPs: 2 per parameter and token read or written, 6 per token trained on (Kaplan et al. 2020, arXiv 2001.08361), at an
assumed share of the card's peak. Attention's own FLOPs, memory and waiting are not in it: for traces of more than a few
thousand tokens, lower use_writing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from heal import registry
from heal.config import experiment as config
from heal.errors import HealError
from heal.method.base import Method
from heal.pipeline.sample import EXTRA_BLOCK
from heal.planning import assumptions
from heal.planning.assumptions import Assumption, Benchmark, Size
from heal.trace_files import files
from heal.worlds import registry as worlds


@dataclass(frozen=True)
class Tokens:
    """Prompts, tokens read (prefilled, scored or trained on) and tokens written."""

    prompts: float = 0.0
    read: float = 0.0
    written: float = 0.0

    def times(self, n: float) -> Tokens:
        return Tokens(n * self.prompts, n * self.read, n * self.written)


def total(parts: Iterable[Tokens]) -> Tokens:
    return Tokens(*map(sum, zip(*map(astuple, [Tokens(), *parts]), strict=True)))


@dataclass(frozen=True)
class Stage:
    """All jobs of one of the workflow's rules with one model. hours: of all jobs, one after the other."""

    stage: str
    rule: str
    model: str
    jobs: int
    prompts: float
    tokens_read: float
    tokens_written: float
    hours: float
    gpu_hours: float
    disk_bytes: float
    fees: float  # of an endpoint, in US dollars


@dataclass(frozen=True)
class Setting:
    """All that a plan rests on. names: the methods compared; sizes: by teachers.NAME and students.NAME.

    training: how each method's students are trained.
    """

    experiment: config.Experiment
    methods: Mapping[str, Method]
    names: Sequence[str]
    counts: Mapping[str, float]  # split → problems, of those that are planned with
    asked: Mapping[str, Benchmark]
    sizes: Mapping[str, Size]
    assumed: Mapping[str, Assumption]
    training: Mapping[str, config.Train]

    def __getitem__(self, key: str) -> float:
        return self.assumed[key].value


def trace_files(setting: Setting) -> set[str]:
    """The trace files that the workflow makes for every teacher and draw; GEAR's variants have files of their own."""
    experiment, compared = setting.experiment, [setting.methods[name] for name in setting.names]
    premise = {*files.base, files.guided, files.repairs(experiment.gear)}
    wanted = premise.union(*(method.needs() for method in compared))
    if experiment.problems.train.from_world:  # its audits and figures look at these too
        gears = [experiment.gear, *(m.options.gear for m in compared if hasattr(m.options, "gear"))]
        wanted |= {file for gear in gears for file in (files.repairs(gear), files.scores(gear))}
    return closure(wanted, setting)


def sources(file: str, setting: Setting) -> list[str]:
    """The trace files that the workflow makes this one from."""
    table, _, rest = file.removesuffix(".parquet").rpartition("/")
    variant = rest.removesuffix(".grades").partition("-")[2]
    filtered = {
        files.scores(method.options.gear)
        for method in setting.methods.values()
        if hasattr(method.options, "gear") and hasattr(method.options, "pure") and method.options.pure.filter_guided
    }
    if file == files.of_student[0]:
        return []
    if file == files.of_student[1]:
        return [files.of_student[0]]
    if table == "extra":
        return [files.guided, f"repairs/{variant}.parquet", f"scores/{variant}.parquet"]
    if table == "scores":
        return [f"repairs/{rest}.parquet", *([files.guided] if file in filtered else [])]
    return list(files.base) if file not in files.base else []


def closure(wanted: Iterable[str], setting: Setting) -> set[str]:
    """The files and all that they are made from."""
    found: set[str] = set()
    queue = list(wanted)
    while queue:
        file = queue.pop()
        if file not in found:
            found.add(file)
            queue += sources(file, setting)
    return found


def spent(file: str, setting: Setting) -> Tokens:
    """What one trace file of one draw takes of the teacher, or of the student that makes it."""
    experiment, s = setting.experiment, setting
    prompt, trace, train, n = s["prompt_tokens"], s["trace_tokens"], s.counts["train"], experiment.sampling.n
    guided_n, low = experiment.guided.n or n, train * s["guided_share"]
    table, _, rest = file.removesuffix(".parquet").rpartition("/")
    if rest == "samples":  # the teacher's, or a student's
        return Tokens(train, train * prompt, train * n * trace)
    if rest == "guided":
        return Tokens(low, low * (prompt + s["hint_tokens"]), low * guided_n * trace)
    if table == "extra":
        matched = total(spent(source, s) for source in sources(file, s))
        prompts = (matched.read + matched.written) / (EXTRA_BLOCK * trace + prompt)
        return Tokens(prompts, prompts * prompt, prompts * EXTRA_BLOCK * trace)
    solved = train * (1 - s["treated_share"])
    if file == files.ranks:  # of every sample of a solved problem, at most
        return Tokens(solved * n, solved * n * (prompt + trace))
    if file == files.continued:
        cuts, each = experiment.prefixes.cuts, experiment.prefixes.continuations
        prompts, kept = solved * experiment.prefixes.traces_per_problem * cuts, trace * (cuts - 1) / (2 * cuts)
        return Tokens(prompts, prompts * (prompt + kept), prompts * each * (trace - kept))
    gears = [experiment.gear, *(m.options.gear for m in s.methods.values() if hasattr(m.options, "gear"))]
    gear = next(gear for gear in gears if files.variant(gear) == rest)
    cuts = train * s["treated_share"] * min(gear.traces_per_problem, n) * s["repairable_share"]
    repairs, kept = cuts * gear.repairs_per_trace, s["kept_share"] * trace
    if table == "repairs":
        hint, asks = s["hint_tokens"] * (gear.hint.source != "none"), cuts * (gear.hint.source == "teacher")
        read = cuts * (prompt + kept + hint) + asks * (prompt + kept + hint)
        return Tokens(cuts + asks, read, repairs * (trace - kept) + asks * hint)
    own = min(experiment.scoring.calibration_traces, solved)
    guided = low * guided_n * s["guided_accepted"] if files.guided in sources(file, s) else 0
    scored = repairs * s["repairs_accepted"] + own + guided
    points = 1 + min(experiment.scoring.max_points, trace / s["step_tokens"])
    return Tokens(scored, scored * (2 * (prompt + trace) + points * s["point_tokens"]))


TRACE_RULES = {  # what a trace file's path begins with → stage, rule, whether shards of it stay beside it
    "samples.": ("base samples", "base_samples", True),
    "guided.": ("guided samples", "guided_samples", True),
    "repairs/": ("repairs", "repairs", True),
    "scores/": ("scores", "trace_scores", True),
    "extra/": ("extra samples", "extra_samples", False),
}
STUDENT_RULES = {  # a trace file that a student makes → stage, rule
    files.of_student[0]: ("students' samples", "student_samples"),
    files.ranks: ("students' ranks", "student_ranks"),
    files.continued: ("students' continuations", "student_continuations"),
}


def optimizer_steps(name: str, setting: Setting) -> float:
    """Steps of one student: the config's, or its epochs over what the method's files can give at most."""
    train, method, s = setting.training[name], setting.methods[name], setting
    needs = method.needs()
    if train.max_steps:
        return train.max_steps
    most = getattr(method.options, "pace", setting.experiment.pace).max_per_problem
    shares = [1 - s["treated_share"], s["guided_share"], s["treated_share"]]
    used = [True, files.guided in needs, any(file.startswith("repairs/") for file in needs)]
    per_problem = most * sum(share for share, use in zip(shares, used, strict=True) if use) if needs else 1
    return math.ceil(train.epochs * per_problem * s.counts["train"] / train.batch_size)


def answers(setting: Setting) -> Tokens:
    """All benchmarks of one model."""
    asked = [(setting.counts[one.split] * one.repeats, one.max_tokens) for one in setting.asked.values()]
    return total(Tokens(n, n * setting["prompt_tokens"], n * setting["answer_share"] * most) for n, most in asked)


def stage(setting: Setting, names: tuple[str, str], label: str, jobs: int, tokens: Tokens, disk_bytes: float) -> Stage:
    """All jobs of a rule, with their time. names: (stage, rule). label: teachers.NAME or students.NAME."""
    experiment, training = setting.experiment, names[1] in ("student", "warm_up")
    kind, _, name = label.partition(".")
    model = getattr(experiment, kind)[name]
    options = model.warm_up.train if names[1] == "warm_up" else experiment.train
    if model.endpoint:
        fees = (tokens.read * model.endpoint.input_price + tokens.written * model.endpoint.output_price) / 1e6
        return Stage(*names, name, jobs, tokens.prompts, tokens.read, tokens.written, 0.0, 0.0, disk_bytes, fees)
    low = (options.dtype if training else experiment.engine.dtype) != "float32"
    card = setting["tflops_16bit" if low else "tflops_32bit"]
    gpus = model.gpus if card and experiment.engine.device != "cpu" else 0
    per_read = 6 if training else 2
    if gpus:
        use = setting["use_training" if training else "use_reading"]
        units = tokens.read * per_read / use + tokens.written * 2 / setting["use_writing"]
        peak = 1e12 * card * gpus
    else:
        units = (tokens.read * per_read + tokens.written * 2) / setting["use_cpu"]
        peak = 1e12 * setting["tflops_cpu"] * experiment.engine.threads
    hours = (setting.sizes[label].active * units / peak + jobs * setting["start_s"]) / 3600
    spent = (tokens.prompts, tokens.read, tokens.written, hours, hours * gpus)
    return Stage(*names, name, jobs, *spent, disk_bytes, 0.0)


def trained_on(setting: Setting, conversations: float) -> Tokens:
    return Tokens(conversations, conversations * (setting["prompt_tokens"] + setting["trace_tokens"]))


def weights(setting: Setting, label: str, options: config.Train) -> float:
    """Bytes of a trained model."""
    return setting.sizes[label].total * (2 if options.dtype == "bfloat16" else 4)


def warm_ups(setting: Setting) -> list[Stage]:
    """The training that makes teachers and students from a model that is neither."""
    experiment, found = setting.experiment, []
    for role, models in (("teachers", experiment.teachers), ("students", experiment.students)):
        for name, model in models.items():
            if model.warm_up:
                options, label = model.warm_up.train, f"{role}.{name}"
                world = model.warm_up.world or experiment.problems.train.source
                examples = worlds.count_warmup_examples(world, model.warm_up.examples)
                shown = options.max_steps * options.batch_size if options.max_steps else options.epochs * examples
                tokens, disk = trained_on(setting, shown), weights(setting, label, options)
                found.append(stage(setting, ("warm-up", "warm_up"), label, 1, tokens, disk))
    return found


def plan(setting: Setting) -> list[Stage]:
    """Every stage that needs a model, in the order of the workflow."""
    experiment, made, found = setting.experiment, trace_files(setting), warm_ups(setting)
    for teacher in experiment.teachers:
        for start, (name, rule, sharded) in TRACE_RULES.items():
            here = sorted(f for f in made if f.startswith(start) and not f.endswith(".grades.parquet"))
            tokens = total(spent(file, setting).times(experiment.teacher_seeds) for file in here)
            jobs = len(here) * experiment.teacher_seeds * (experiment.sampling.shards if sharded else 1)
            # A table of scores holds the text of its traces, which were read twice.
            disk = (tokens.written * setting["bytes_per_token"] or tokens.read * 2) * (2 if sharded else 1)
            if rule == "base_samples" and experiment.teachers[teacher].traces:  # somebody wrote them: read one by one
                prompts = tokens.prompts * experiment.sampling.n
                tokens = Tokens(prompts, prompts * setting["prompt_tokens"] + tokens.written)
            if here:
                found.append(stage(setting, (name, rule), f"teachers.{teacher}", jobs, tokens, disk))
    for student in experiment.students:
        for file in (file for file in STUDENT_RULES if file in made):
            draws = len(experiment.teachers) * experiment.teacher_seeds
            tokens, label = spent(file, setting).times(draws), f"students.{student}"
            disk = 2 * (tokens.written * setting["bytes_per_token"] or tokens.read * 2)
            found.append(stage(setting, STUDENT_RULES[file], label, draws * experiment.sampling.shards, tokens, disk))
    asked, each = answers(setting), len(experiment.teachers) * experiment.teacher_seeds * experiment.training_seeds
    for student in experiment.students:
        label, jobs = f"students.{student}", each * len(setting.names)
        shown = each * sum(optimizer_steps(name, setting) * setting.training[name].batch_size for name in setting.names)
        tokens, disk = trained_on(setting, shown), weights(setting, label, experiment.train)
        found.append(stage(setting, ("students", "student"), label, jobs, tokens, jobs * disk))
        for names, n in ((("students' answers", "evaluate_student"), jobs), (("untrained", "evaluate_untrained"), 1)):
            found.append(stage(setting, names, label, n, asked.times(n), 4 * n * asked.written))
    for teacher in experiment.teachers:
        names = ("teacher's answers", "evaluate_teacher")
        found.append(stage(setting, names, f"teachers.{teacher}", 1, asked, 4 * asked.written))
    return found


def settings(
    experiment: config.Experiment,
    *,
    where: str,
    ablations: bool = False,
    comparisons: bool = False,
    card: str = "H100",
    given: Mapping[str, float] | None = None,
    limit: int | None = None,
    results: Path | None = None,
) -> Setting:
    """What a plan of this config rests on. Raises HealError where a number of problems or parameters is unknown."""
    given, e = dict(given or {}), experiment
    methods = registry.resolve(e, where=where)
    asked = assumptions.benchmarks(e.benchmarks)
    models = {f"teachers.{n}": m for n, m in e.teachers.items()} | {f"students.{n}": m for n, m in e.students.items()}
    splits = {"train": e.problems.train, "dev": e.problems.dev, **e.problems.test}
    # Taken out by the names that there are, so that a wrong name is left over and refused.
    counts = {split: given.pop(f"problems.{split}", None) for split in splits}
    sizes = {name: given.pop(f"params.{name}", None) for name in {*e.teachers, *e.students}}
    others = [*(f"params.{name}" for name in sorted(sizes)), *(f"problems.{split}" for split in counts)]
    assumed = assumptions.override(assumptions.defaults(e, card, results), given, "--assume", others)
    try:
        for split in ("train", *(one.split for one in asked.values())):
            if counts[split] is None:
                counts[split] = assumptions.problem_count(splits[split], split, limit or e.limit)
        known = {label: assumptions.size_of(m, label, sizes[label.partition(".")[2]]) for label, m in models.items()}
    except HealError as error:
        raise HealError(error.problem, where=f"{where}: {error.where}", fix=error.fix) from None
    tables = registry.comparisons(e, where=where)
    wanted = ["main", *(["ablations"] if ablations else []), *(e.comparisons if comparisons else ())]
    names = list(dict.fromkeys(name for kind in wanted for name in tables[kind].methods))
    training = {name: one.train for one in tables.values() for name in one.methods}
    found = {split: count for split, count in counts.items() if count is not None}
    return Setting(e, methods, names, found, asked, known, assumed, training)
