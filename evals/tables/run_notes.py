"""What the tables of a run have to say of themselves: run, intervals, costs, settings, premises, as typed notes.

Reads results.json, premise.json and the provenance of problem sets below results/<run>/, and the world's gates; writes
nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.results import UNSOLVED, Run, read_json
from evals.tables.hardware import list_hardware_notes
from evals.tables.notes import Note, Topic
from evals.tables.passes import list_pass_notes
from heal.data import decontaminate
from heal.errors import HealError
from heal.provenance import SUFFIX

SEEDS_TO_RANK = 5
"""Fewest replicates for a ranking (docs/tables.md: 3 to display, 5 to rank)."""
MODEL_SETTINGS = {"chat_template_sha256", "template_options", "engine", "dtype", "model_runner"}
"""Evaluation settings that may differ between teacher and students."""
UNFILTERED = "unfiltered/train"
VERDICT = (
    "verdict: by the interval next to it. The primary contrast, fixed in the config, has an interval of 95 % that is "
    "not adjusted. All other rows of the main comparison are adjusted together, those of each further method by "
    "themselves (Benjamini-Hochberg, false discovery rate 5 %): their intervals have the one level at which an "
    "interval excludes 0 exactly where that procedure finds a difference (false coverage rate 5 %, Benjamini "
    "& Yekutieli 2005). p: unadjusted, two-sided; p_bh: adjusted. detectable: the smallest true difference whose "
    "interval excludes 0 with 80 % power."
)
CUT_OFF = (
    "cut off: share of answers that hit the token limit; they count as wrong. Where the lower method's surplus of "
    "cut-off answers is above 5 points and as large as the difference, the verdict is: cannot say."
)
NO_PRIMARY = "This table has no primary contrast: all its differences are adjusted."
COST = (
    "Teacher tokens: of every file that the method needs, including rejected repairs, hints and scoring; mean per "
    "teacher sampling seed. Prefilled includes scored tokens. Training tokens: mean per student."
)
UNSOLVED_NOTE = (
    f"{UNSOLVED}: the questions that the teacher never answers correctly in its own repeats of the benchmark; the "
    "teacher's own 0 there is by selection."
)

Settings = dict[str, Any]


def list_comparison_notes(
    run: Run,
    difference_notes: Sequence[Note],
    settings: Mapping[str, Settings],
    *,
    has_unsolved: bool,
    decontamination: Mapping[str, Any] | None = None,
    gates: Path | None = None,
) -> list[Note]:
    """The notes under a comparison table, in their order.

    difference_notes: on intervals and adjustment. settings: of the evaluation, by benchmark. decontamination: the
    report of `heal decontaminate`, None without one. gates: the table of `heal gates` for the run's world.
    """
    notes = [make_run_note(run), *difference_notes, Note(Topic.COST, COST), *list_pass_notes(run)]
    notes += list_ranking_notes(run)
    if has_unsolved:
        notes.append(Note(Topic.UNSOLVED, UNSOLVED_NOTE))
    world_notes = list_world_notes(run)
    notes += [*world_notes, *list_gate_notes(run, gates)]
    if not world_notes:
        text = "Pretrained models may have seen public benchmarks: compare methods with the untrained student."
        notes.append(Note(Topic.CONTAMINATION, text))
    if decontamination is not None:
        notes.append(Note(Topic.DECONTAMINATION, decontaminate.format_note(decontamination)))
    elif not world_notes:
        text = "Decontamination: training problems were not compared with the benchmarks."
        notes.append(Note(Topic.DECONTAMINATION, text))
    notes += list_unused_rows(run, decontamination is not None)
    notes += [*list_hardware_notes(run), *list_settings_notes(settings)]
    return [*notes, *list_premise_notes(run)]


def make_run_note(run: Run) -> Note:
    text = (
        f"Run {run.folder.name}: {run.training_seeds} training seeds per method, {run.teacher_seeds} teacher sampling "
        f"seed(s); answers graded by the {run.reading} reading. HEAL is re-implemented from a description."
    )
    return Note(Topic.RUN, text)


def list_world_notes(run: Run) -> list[Note]:
    """What the world of the training problems says of results on it; [] for problems from elsewhere."""
    if run.world is None or not run.world.note:
        return []
    return [Note(Topic.WORLD, run.world.note)]


def list_gate_notes(run: Run, gates: Path | None) -> list[Note]:
    """Which gates of the run's world and teachers do not hold; [] where none was measured with one of its teachers."""
    if gates is None:
        return []
    with open(gates, encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["teacher"] in ("", *run.teachers)]
    if not any(row["teacher"] for row in rows):
        return []
    failed = [f"{row['quantity']} ({row['value'] or 'not measured'})" for row in rows if row["holds"] != "yes"]
    if not failed:
        return [Note(Topic.GATES, f"All {len(rows)} gates of this world hold ({gates}).")]
    text = f"{len(failed)} of {len(rows)} gates of this world do not hold ({gates}): {'; '.join(failed)}."
    return [Note(Topic.GATES, text)]


def list_interval_notes(run: Run, reference: str) -> list[Note]:
    """What the intervals and the p-values of a comparison cover."""
    teacher_seeds = "the teacher sampling seed, " if run.teacher_seeds > 1 else ""
    excluded = "" if run.teacher_seeds > 1 else "; not the teacher sampling seed"
    difference = (
        f"difference: to {reference} on the same questions and seeds, over {describe_replicates(run)}. Its interval "
        f"covers {teacher_seeds}training seeds and answer sampling on these questions{excluded}. new questions: the "
        "interval for other questions of the same kind, which covers the choice of questions as well, and its verdict. "
        "The variance is pooled over the methods of the run's main comparison, for a further method with its own."
    )
    mean = f"mean: share of right answers, with {describe_mean_interval(run)}"
    notes = []
    for text in (mean, difference, VERDICT, CUT_OFF):
        notes.append(Note(Topic.INTERVALS, text))
    if run.primary is None:
        notes.append(Note(Topic.INTERVALS, NO_PRIMARY))
    return notes


def describe_mean_interval(run: Run) -> str:
    """Method and coverage of the interval of a mean, in words."""
    if run.teacher_seeds > 1:
        scope = "the teacher sampling seed, training seeds, questions and answer sampling"
    else:
        scope = "training seeds, questions and answer sampling, not the teacher sampling seed"
    return (
        f"the 95 % interval of a crossed bootstrap (for display). It covers {scope}; for teacher and untrained student "
        "questions and answer sampling only."
    )


def count_replicates(run: Run) -> int:
    """Number of independent values that a difference rests on: training seeds, or several teacher sampling seeds."""
    return run.training_seeds if run.teacher_seeds == 1 else run.teacher_seeds


def describe_replicates(run: Run) -> str:
    """`count_replicates` with its unit."""
    if run.teacher_seeds == 1:
        return f"{run.training_seeds} training seeds"
    return f"{run.teacher_seeds} teacher sampling seeds (means over their training seeds)"


def has_enough_to_rank(run: Run) -> bool:
    return count_replicates(run) >= SEEDS_TO_RANK


def list_ranking_notes(run: Run) -> list[Note]:
    """Why the methods cannot be ranked; [] where they can."""
    if has_enough_to_rank(run):
        return []
    text = f"{describe_replicates(run)}: enough to display, not to rank (at least {SEEDS_TO_RANK})."
    return [Note(Topic.RANKING, text)]


def list_unused_rows(run: Run, decontaminated: bool) -> list[Note]:
    """A note for each problem set that rows were left out of, as its provenance lists them."""
    suffix = f".parquet{SUFFIX}"
    folder = run.folder / "problems"
    files = sorted(folder.glob(f"*{suffix}"))
    unfiltered = folder / f"{UNFILTERED}{suffix}"
    if decontaminated and unfiltered.exists():
        files.append(unfiltered)
    notes = []
    for file in files:
        rows = read_json(file).get("left_out")
        if rows:
            name = file.name.removesuffix(suffix)
            text = f"Problems of {name}: {len(rows)} rows could not be used (listed in its provenance)."
            notes.append(Note(Topic.LEFT_OUT, text))
    return notes


def list_settings_notes(settings: Mapping[str, Settings]) -> list[Note]:
    """How answers were sampled, by benchmark, and a warning where engines differ."""
    engines = set()
    for values in settings.values():
        engines.update(values.get("engine", "").split(" | "))
    engines.discard("")
    notes = []
    if len(engines) > 1:
        text = (
            f"Engines are mixed ({', '.join(sorted(engines))}): their scores differ by more than rounding. The verdict "
            "between students on different engines or number formats is: cannot say."
        )
        notes.append(Note(Topic.ENGINES, text))
    for benchmark, values in settings.items():
        parts = []
        for key, value in sorted(values.items()):
            parts.append(f"{key} {json.dumps(value, ensure_ascii=False)}")
        notes.append(Note(Topic.SETTINGS, f"Settings of {benchmark}: {', '.join(parts)}."))
    return notes


def merge_settings(run: Run) -> dict[str, Settings]:
    """How answers were sampled, by benchmark, from `settings` of every results.json; {} without any.

    Values of MODEL_SETTINGS are joined where models differ. Raises HealError where any other setting differs.
    """
    merged = {}
    for benchmark in run.benchmarks:
        settings = merge_benchmark_settings(run, benchmark)
        if settings:
            merged[benchmark] = settings
    return merged


def merge_benchmark_settings(run: Run, benchmark: str) -> Settings:
    """The settings of all models on one benchmark. Raises HealError as `merge_settings` does."""
    common: Settings = {}
    first_files: dict[str, Path] = {}
    of_models: dict[str, set[str]] = {}
    for _, path in run.list_answers(benchmark):
        file = path.with_name("results.json")
        if not file.exists():
            continue
        for key, value in read_json(file).get("settings", {}).items():
            if key in MODEL_SETTINGS:
                of_models.setdefault(key, set()).add(str(value)[:12] if key.endswith("sha256") else str(value))
            elif common.setdefault(key, value) != value:
                problem = f"settings.{key} is {value!r}, but {common[key]!r} in {first_files[key]}"
                raise HealError(problem, where=str(file), fix="evaluate all models with the same settings")
            first_files.setdefault(key, file)
    for key, values in of_models.items():
        common[key] = " | ".join(sorted(values))
    return common


def list_premise_notes(run: Run) -> list[Note]:
    """Where the run is no test of HEAL, and where the ceiling is none. Raises HealError as `read_premises` does."""
    notes = []
    for reasons in list_broken_premises(run):
        notes.append(Note(Topic.PREMISE, f"premise absent: not a test of HEAL ({reasons})."))
    for owner, premise in read_premises(run).items():
        if premise["ceiling"]["of_sampling"]:
            notes.append(Note(Topic.PREMISE, f"{describe_ceiling(premise)} ({owner})."))
    return notes


def list_broken_premises(run: Run) -> list[str]:
    """Teacher, seed and reasons of each premise that does not hold. Raises HealError as `read_premises` does."""
    premises = []
    for owner, premise in read_premises(run).items():
        if not premise["holds"]:
            premises.append(f"{owner}: {'; '.join(premise['reasons'])}")
    return premises


def read_premises(run: Run) -> dict[str, dict[str, Any]]:
    """Teacher and teacher seed in words → content of premise.json. Raises HealError for a missing file."""
    premises = {}
    for teacher in run.teachers:
        for teacher_seed in range(run.teacher_seeds):
            file = run.get_traces_folder(teacher, teacher_seed) / "premise.json"
            premises[f"{teacher}, teacher seed {teacher_seed}"] = read_json(file)
    return premises


def describe_ceiling(premise: Mapping[str, Any]) -> str:
    """How many treated problems greedy decoding solves, where it is too many for a ceiling; without a full stop."""
    return (
        f"Greedy decoding solves {premise['ceiling']['greedy']:.0%} of the treated problems: the ceiling is one of "
        "sampling, not of what the teacher knows"
    )
