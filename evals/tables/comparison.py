"""The main table and the ablation table of a run: csv with everything; md, tex and txt to read.

Reads answers.parquet of teacher, untrained student and every method, draw and seed; training.json; the trace files'
token counts; premise.json. Writes --out (csv) and beside it the same name with .md, .tex and .txt (for terminals).
No times stand in it: two clean runs give the same bytes (seconds are in the ledger).

    python -m evals.tables.comparison --run results/mini --teachers default --students tiny --methods rs_matched heal \\
        --benchmarks mini_hard mini_hard_sampled --seeds 3 --draws 1 --reference-method rs_matched \\
        --methods-json '{"rs_matched": {"kind": "rs_matched"}, "heal": {"kind": "heal"}}' \\
        --out results/mini/tables/main.csv
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evals import stats
from evals.results import TEACHER, UNSOLVED, UNTRAINED, Run, add_axes, methods_of, read_json, run_of
from evals.tables.render import csv_of, markdown_of, tex_of, text_of
from heal import records
from heal.command import command_parser
from heal.data import decontaminate
from heal.errors import HealError, exit_with_errors
from heal.method.base import Method
from heal.provenance import recorded

COMPARISON = [
    *("teacher", "student", "method", "benchmark", "mean", "ci_low", "ci_high", "n_seeds", "n_draws", "n_questions"),
    *("diff", "diff_low", "diff_high", "p", "p_bh", "detectable", "verdict"),
]
COSTS = ["teacher_tokens_generated", "teacher_tokens_prefilled", "training_tokens"]
COVERS = ["ci_covers", "diff_covers"]  # which variance each of the two intervals is of
COLUMNS = [*COMPARISON, *COSTS, *COVERS]
REFERENCE = "reference"
FALSE_DISCOVERY_RATE = 0.05
SEEDS_TO_RANK = 5  # docs/tables.md: 3 to display, 5 for a ranking
OF_A_MODEL = {"chat_template_sha256", "template_options", "engine", "dtype"}  # may differ between teacher and students


def display(scores_DSQ: NDArray[np.float64], **options: int) -> stats.Interval:
    """Mean and crossed-bootstrap interval; with several draws these are resampled too, and seeds within them."""
    return stats.compute_crossed_bootstrap(scores_DSQ.reshape(-1, scores_DSQ.shape[-1]), groups=len(scores_DSQ), **options)


def claim(scores_DSQ: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the paired t runs over, shape [replicates, Q]: training seeds of one draw, or the means of several draws.

    Seeds are nested in draws, so with several draws only their means are independent: a t over all (draw, seed) pairs
    covers far less than it says, and one draw's interval says nothing of other draws (results/reference/coverage.csv).
    """
    return scores_DSQ[0] if len(scores_DSQ) == 1 else scores_DSQ.mean(axis=1)


def compare(scores_DSQ: NDArray[np.float64], reference_DSQ: NDArray[np.float64]) -> dict[str, Any]:
    """Difference to the reference method: estimate, paired-t interval, p, smallest detectable difference."""
    a, b = claim(scores_DSQ), claim(reference_DSQ)
    test = stats.compute_paired_t(a, b)
    found = {"diff": test.diff, "diff_low": test.low, "diff_high": test.high, "p": test.p}
    covers = "seeds; these questions, this draw" if len(scores_DSQ) == 1 else "draws, seeds; these questions"
    return found | {"detectable": stats.compute_detectable_difference(a, b), "diff_covers": covers}


def incomparable(found: Mapping[str, Any]) -> dict[str, Any]:
    """A difference of which nothing can be said but its size."""
    return dict(found) | dict.fromkeys(("diff_low", "diff_high", "p", "detectable"), math.nan)


def verdict(diff: float, p_bh: float) -> str:
    """higher | lower | not distinguishable | cannot say, at a false discovery rate of 0.05 over the table."""
    if math.isnan(p_bh):
        return "cannot say"
    if p_bh > FALSE_DISCOVERY_RATE:
        return "not distinguishable"
    return "higher" if diff > 0 else "lower"


def rows_of(run: Run, teacher: str, student: str, reference: str, benchmarks: Sequence[str]) -> list[dict[str, Any]]:
    """The untrained student's and every method's rows, without adjusted p-values."""
    rows = []
    for benchmark in benchmarks:
        place = {"teacher": teacher, "student": student, "benchmark": benchmark}
        untrained_Q = run.untrained_scores(teacher, student, benchmark)
        rows.append(place | row(UNTRAINED, untrained_Q[None, None], trained=False))
        reference_DSQ = run.scores(teacher, student, reference, benchmark)
        for name in run.methods:
            scores_DSQ = run.scores(teacher, student, name, benchmark)
            against = {"verdict": REFERENCE}
            if name != reference:
                against = compare(scores_DSQ, reference_DSQ)
                if run.mixed_engines(teacher, student, [name, reference], benchmark):
                    against = incomparable(against)
            rows.append(place | row(name, scores_DSQ) | against)
    return rows


def row(method: str, scores_DSQ: NDArray[np.float64], *, trained: bool = True) -> dict[str, Any]:
    interval = display(scores_DSQ)
    draws, seeds, questions = scores_DSQ.shape if trained else (0, 0, scores_DSQ.shape[-1])
    return {
        "method": method,
        "mean": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_covers": interval.covers,
        "n_seeds": seeds,
        "n_draws": draws,
        "n_questions": questions,
    }


def table(run: Run, reference: str, benchmarks: Callable[[str], Sequence[str]] | None = None) -> pd.DataFrame:
    """Every row of a comparison, without costs; p adjusted over the whole table (Benjamini-Hochberg).

    benchmarks: teacher → its benchmarks and strata; `run.with_strata` where absent. Raises HealError for what is
    missing or does not pair up, and for a reference that is not among the methods.
    """
    if reference not in run.methods:
        fix = f"give one of --methods: {', '.join(run.methods)}"
        raise HealError(f"no method {reference!r}", where="--reference-method", fix=fix)
    if taken := {TEACHER, UNTRAINED} & set(run.methods):
        raise HealError(f"the name {min(taken)!r} is taken by a row of the table", where="--methods", fix="rename it")
    rows = []
    for teacher in run.teachers:
        here = (benchmarks or run.with_strata)(teacher)
        for benchmark in here:
            scores_Q = run.teacher_scores(teacher, benchmark)
            place = {"teacher": teacher, "student": "", "benchmark": benchmark}
            rows.append(place | row(TEACHER, scores_Q[None, None], trained=False))
        for student in run.students:
            rows += rows_of(run, teacher, student, reference, here)
    frame = pd.DataFrame(rows, columns=[*COMPARISON, *COVERS])
    frame["p_bh"] = stats.compute_adjusted_p(frame["p"])
    compared = frame["diff"].notna()
    frame.loc[compared, "verdict"] = [verdict(*pair) for pair in frame.loc[compared, ["diff", "p_bh"]].to_numpy()]
    return frame.fillna({"verdict": "", "diff_covers": ""})


def with_costs(frame: pd.DataFrame, run: Run, methods: Mapping[str, Method]) -> pd.DataFrame:
    """The table with the tokens that each method takes, columns as COLUMNS. Raises HealError for a missing file."""
    spent: dict[tuple[str, str, str], tuple[float, float, float]] = {}
    for teacher in run.teachers:
        for name, method in methods.items():
            tokens = run.teacher_tokens(teacher, method)
            for student in run.students:
                spent[teacher, student, name] = (*tokens, run.training_tokens(teacher, student, name))
    unknown = (math.nan, math.nan, math.nan)
    nothing = {UNTRAINED: (math.nan, math.nan, 0.0)}
    keys = zip(frame["teacher"], frame["student"], frame["method"], strict=True)
    costs = [spent.get(key) or nothing.get(key[-1], unknown) for key in keys]
    return frame.join(pd.DataFrame(costs, columns=COSTS, index=frame.index))[COLUMNS]


def settings_of(run: Run) -> dict[str, Any]:
    """How answers were drawn, by benchmark, from the `settings` of the results.json beside them; {} without any.

    Settings that belong to a model are listed where models differ. Raises HealError where any other differs.
    """
    settings: dict[str, Any] = {}
    for benchmark in run.benchmarks:
        common: dict[str, tuple[Any, Path]] = {}
        of_models: dict[str, set[str]] = {}
        for file in (path.with_name("results.json") for path in run.answer_paths(benchmark)):
            for key, value in (read_json(file).get("settings", {}) if file.exists() else {}).items():
                if key in OF_A_MODEL:
                    of_models.setdefault(key, set()).add(str(value)[:12] if key.endswith("sha256") else str(value))
                elif common.setdefault(key, (value, file))[0] != value:
                    found = f"settings.{key} is {value!r}, but {common[key][0]!r} in {common[key][1]}"
                    raise HealError(found, where=str(file), fix="evaluate all models with the same settings")
        if common or of_models:
            settings[benchmark] = {key: value for key, (value, _) in common.items()}
            settings[benchmark] |= {key: " | ".join(sorted(values)) for key, values in of_models.items()}
    return settings


def broken_premises(run: Run) -> list[str]:
    """What premise.json says of the draws where HEAL's premise is absent. Raises HealError where it is missing."""
    said = []
    for teacher in run.teachers:
        for draw in range(run.draws):
            premise = read_json(run.folder / "traces" / teacher / f"draw{draw}" / "premise.json")
            if not premise["holds"]:
                said.append(f"{teacher}, draw {draw}: {'; '.join(premise['reasons'])}")
    return said


def left_out(run: Run, decontaminated: bool) -> list[str]:
    """A sentence for each set of problems of which rows could not be used, as their provenance lists them."""
    said, folder = [], run.folder / "problems"
    suffix = ".parquet.provenance.json"
    unfiltered = folder / "unfiltered" / f"train{suffix}"
    for file in sorted(folder.glob(f"*{suffix}")) + ([unfiltered] if decontaminated and unfiltered.exists() else []):
        if rows := read_json(file).get("left_out"):
            name = file.name.removesuffix(suffix)
            said.append(f"Problems of {name}: {len(rows)} rows could not be used (listed in the provenance beside it).")
    return said


def interval_notes(run: Run, reference: str) -> list[str]:
    """What the intervals and the p-values of a comparison are of."""
    several = run.draws > 1
    return [
        "mean: share of right answers, with the 95 % interval of a crossed bootstrap (for display); it covers training "
        "seeds, questions and answer sampling, for teacher and untrained student the last two"
        + (", and for trained students the teacher draw." if several else "; not the draw of the teacher."),
        f"diff: to {reference} on the same questions and seeds, with the 95 % interval of a paired t over "
        f"{replicates(run)}; it covers {'the teacher draw, ' if several else ''}training seeds and answer sampling on "
        f"these questions, not the choice of questions{'' if several else ' nor the teacher draw'}.",
        "p: of that t; p_bh: adjusted over the table (Benjamini-Hochberg), verdict at 0.05. detectable: the smallest "
        "true difference that would have been found with 80 % power. cannot say: fewer than two replicates, or no "
        "variation between them.",
    ]


def replicates(run: Run) -> str:
    """What the claims rest on, counted."""
    return f"{run.seeds} training seeds" if run.draws == 1 else f"{run.draws} means of teacher draws"


def too_few_to_rank(run: Run) -> str:
    """Why the methods cannot be ranked; empty where they can."""
    few = (run.seeds if run.draws == 1 else run.draws) < SEEDS_TO_RANK
    return f"{replicates(run)}: enough to display, not to rank (at least {SEEDS_TO_RANK})." if few else ""


def notes(
    run: Run,
    frame: pd.DataFrame,
    reference: str,
    settings: Mapping[str, Any],
    mini: bool,
    decontamination: Mapping[str, Any] | None = None,
) -> list[str]:
    """What stands under the table; `decontamination` is the report of heal.data.decontaminate."""
    said = [
        f"Run {run.folder.name}; {run.seeds} training seeds per method, {run.draws} teacher draw(s); "
        f"answers graded by the {run.reading} reading. HEAL is re-implemented from a description.",
        *interval_notes(run, reference),
        "Teacher tokens: of every file the method needs, rejected repairs, hints and scoring included, mean per draw; "
        "prefilled holds scored tokens. Training tokens: mean per student.",
    ]
    if few := too_few_to_rank(run):
        said.append(few)
    if frame["benchmark"].str.endswith(UNSOLVED).any():
        said.append(
            f"{UNSOLVED}: the questions that the teacher never answers correctly in its own repeats of the benchmark "
            "(the primary outcome); the teacher's own 0 there is by selection."
        )
    if mini:
        said.append("mini: a model organism: shows the machinery, not that the paper is right.")
    else:
        said.append("Pretrained models may have seen public benchmarks: compare rows with the untrained student's.")
    if decontamination is not None:
        said.append(decontaminate.note(decontamination))
    elif not mini:
        said.append("Decontamination: training problems were not compared with the benchmarks.")
    said += left_out(run, decontamination is not None)
    engines = {values["engine"] for values in settings.values() if isinstance(values, Mapping) and "engine" in values}
    if len(engines) > 1 or any(" | " in engine for engine in engines):
        said.append(
            f"Engines are mixed ({', '.join(sorted(engines))}): their scores differ by more than rounding. Between "
            "students on different engines or number formats the verdict is: cannot say."
        )
    for name, values in settings.items():
        told = values if isinstance(values, Mapping) else {name: values}
        listed = ", ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(told.items()))
        said.append(f"Settings of {name}: {listed}." if isinstance(values, Mapping) else f"Setting {listed}.")
    return said + [f"premise absent: not a test of HEAL ({reason})." for reason in broken_premises(run)]


def main() -> None:
    parser = command_parser(__doc__)
    add_axes(parser)
    parser.add_argument("--reference-method", required=True, help="the method that the others are compared with")
    parser.add_argument("--methods-json", required=True, help="name → kind and complete options, as JSON")
    parser.add_argument("--title", default="Methods compared", help="what stands over the table")
    parser.add_argument(
        "--questions", default="{}", help="benchmark → its problems file, as JSON, to find missing answers"
    )
    parser.add_argument("--decontamination", help="the report of heal.data.decontaminate, counted under the table")
    parser.add_argument("--settings", default="{}", help="what to say of the evaluation, as JSON; else results.json's")
    parser.add_argument("--out", required=True, help="the csv; md, tex and txt are written beside it")
    arguments = parser.parse_args()
    run = run_of(arguments)
    methods = methods_of(arguments.methods_json, arguments.methods)
    with recorded(arguments.out, "evals.tables.comparison", options=vars(arguments)):
        run.check_questions(json.loads(arguments.questions))
        frame = with_costs(table(run, arguments.reference_method), run, methods)
        settings = json.loads(arguments.settings) or settings_of(run)
        mini = is_mini(run.folder / "problems" / "train.parquet")
        removed = read_json(Path(arguments.decontamination)) if arguments.decontamination else None
        under = notes(run, frame, arguments.reference_method, settings, mini, removed)
        out = Path(arguments.out)
        records.write_text(out, csv_of(frame))
        records.write_text(out.with_suffix(".md"), markdown_of(frame, arguments.title, under))
        records.write_text(out.with_suffix(".tex"), tex_of(frame, arguments.title, under))
        records.write_text(out.with_suffix(".txt"), text_of(frame, arguments.title, under))


def is_mini(problems: Path) -> bool:
    """Whether the problems are of the embedded world."""
    return any(row["source"].startswith("mini/") for row in records.read(problems, "problems"))


if __name__ == "__main__":
    exit_with_errors(main)
