"""Audits of a teacher's traces against the truth about their steps: the modules themselves, not only the students.

Reads traces/{teacher}/draw{d}/ (samples, grades, guided, and per variant repairs and scores) and the training problems
of a run whose steps can be checked (heal/worlds/registry.py). Writes --out (csv: one quantity a row), the same as md, and a csv
of the premises that hold by the traces alone, `premises_{teacher}.csv` beside it.

    python -m evals.audits.run --run results/mini --teacher default --draw 0 --repairs-variants entropy_surge-bcb6cdc7 \\
        random-0a1b2c3d --gear '{"min_step_tokens": 1}' --out results/mini/tables/audits_default.csv

The first variant is the run's own GEAR: premises and the entropy audit are read from it, and where gold answers are
wrong what the filters let through. Quantities and premises without data are empty ("cannot say"), never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evals.audits import gear as cut_audit
from evals.audits import pure as pure_audit
from evals.audits import wrong_gold as gold_audit
from evals.audits.checker_truth import Truth, ratio
from evals.audits.gear import Quantities
from evals.tables.render import csv_of, markdown_table, number, with_interval
from heal import records
from heal.command import command_parser
from heal.config.experiment import Gear, Pure
from heal.errors import HealError, exit_with_errors
from heal.method.steps import split_text
from heal.pipeline.runner import read_options
from heal.provenance import recorded
from heal.records import Row, Usage
from heal.worlds import registry as worlds

COLUMNS = ["audit", "variant", "quantity", "value", "low", "high", "n", "covers"]
PREMISES = ["premise", "says", "quantity", "value", "low", "high", "threshold", "holds"]
# Ours. P1: half-way between always and one of two; P2: a tenth of the accepted traces; P3: what is usually called fair.
P1_PEAKS, P2_GAP, P3_AUROC = 0.75, 0.1, 0.7
JUDGES = {
    "mini": "Steps are judged by the mini world's checker. mini: a model organism: shows the machinery, not that the "
    "paper is right; HEAL is re-implemented from a description.",
    "gsm_symbolic": "Steps are judged by heal/worlds/gsm_symbolic/checker.py: true equations, and numbers that come from the "
    "question, earlier steps or the worked solution's own way, so that another right way counts as wrong. HEAL is "
    "re-implemented from a description.",
}
SKIPPED = "Rank-surprisal (arXiv 2601.14249) is left out: it needs each token's rank, which traces do not store."


@dataclass(frozen=True)
class Variant:
    """One GEAR variant: its repairs, what they cost, and their scores where the run has them."""

    name: str
    repairs: list[Row]
    usage: Usage
    scores: list[Row] | None


def read_variant(traces: Path, name: str) -> Variant:
    """Raises HealError where the repairs are missing, or the scores are not of these repairs."""
    repairs = records.read(traces / "repairs" / f"{name}.parquet", "repairs")
    path = traces / "scores" / f"{name}.parquet"
    scores = records.read(path, "scores") if path.exists() else None
    known = {row["trace_id"] for row in repairs}
    for number_, score in enumerate(scores or [], 1):
        if score["kind"] == "repair" and score["trace_id"] not in known:
            fix = "score these repairs again (snakemake does, once the file is deleted)"
            raise HealError("a score of no repair", where=f"{path}, row {number_}", fix=fix)
    return Variant(name, repairs, records.usage(traces / "repairs" / f"{name}.parquet"), scores)


def rows_of(audit: str, variant: str, quantities: Quantities) -> list[list]:
    return [
        [audit, variant, name, interval.mean, interval.low, interval.high, n, interval.covers]
        for name, (interval, n) in quantities.items()
    ]


def audit(
    problems: Sequence[Row],
    samples: Sequence[Row],
    guided: Sequence[Row],
    guided_usage: Usage,
    variants: Sequence[Variant],
    options: Pure,
    seed: int,
) -> pd.DataFrame:
    """Every quantity as a row. Raises HealError for problems without a step checker."""
    truth, by_id = Truth(problems), {row["trace_id"]: row for row in samples}
    gold = {row["problem_id"]: row["answer"] for row in problems}
    rows = []
    for variant in variants:
        repairs = variant.repairs
        rows += rows_of("cut", variant.name, cut_audit.cut_quantities(repairs, by_id, truth))
        rows += rows_of("repairs", variant.name, cut_audit.repair_quantities(repairs, variant.usage, truth))
        if variant.scores is not None:
            mine = [score for score in variant.scores if score["kind"] == "repair"]
            separation = pure_audit.separation_quantities(mine, repairs, truth, options, gold, seed)
            rows += rows_of("pure", variant.name, separation)
            kept = pure_audit.rule_quantities(variant.scores, repairs, truth, options, seed)
            rows += rows_of("pure rules", variant.name, kept)
    first = variants[0]
    treated = {row["problem_id"] for row in first.repairs}
    rows += rows_of("entropy", first.name, cut_audit.entropy_quantities(first.repairs, by_id, truth))
    rows += rows_of("guided", "guided", cut_audit.guided_quantities(guided, treated, truth, guided_usage))
    rows += rows_of("start or mid-trace", first.name, start_or_mid(guided, first.repairs, truth))
    return pd.DataFrame(rows, columns=COLUMNS)


def audit_of_gold(
    problems: Sequence[Row],
    grades: Sequence[Row],
    guided: Sequence[Row],
    variant: Variant,
    gear: Gear,
    options: Pure,
    seed: int,
) -> pd.DataFrame:
    """What each filter lets through of problems with a wrong gold answer, beside the others, as rows of `audit`."""
    scores = variant.scores or []
    kept = pure_audit.kept_by_rule(scores, variant.repairs, Truth(problems), options, seed) if scores else {}
    found = gold_audit.gold_quantities(problems, grades, guided, variant.repairs, kept, gear)
    rows = [row for name, quantities in found.items() for row in rows_of("wrong gold", name, quantities)]
    return pd.DataFrame(rows, columns=COLUMNS)


def start_or_mid(guided: Sequence[Row], repairs: Sequence[Row], truth: Truth) -> Quantities:
    """Valid share of accepted traces by where the hint stood, on problems that have both.

    start: answer-guided. mid: repairs from a cut that keeps something, all of it right (what is wrong already, no hint
    can mend). gap: mid − start, its interval from the same problems drawn for both.
    """

    def right_prefix(row: Row) -> bool:
        first, kept = truth.first_wrong(row["problem_id"], row["text"]), len(split_text(row["kept"]))
        return row["accepted"] and kept > 0 and (first is None or first > kept)

    mid = [row for row in repairs if right_prefix(row)]
    start = [row for row in guided if row["accepted"]]
    both = sorted({row["problem_id"] for row in mid} & {row["problem_id"] for row in start})
    counts = {}
    for name, chosen in (("start", start), ("mid", mid)):
        owners = {problem_id: i for i, problem_id in enumerate(both)}
        counts[name] = np.zeros((2, len(both)))
        for row in chosen:
            if row["problem_id"] in owners:
                counts[name][:, owners[row["problem_id"]]] += (truth.is_valid(row), 1)
    found: Quantities = {
        f"valid of accepted, hint at {name}": (ratio(valid, accepted, both), int(accepted.sum()))
        for name, (valid, accepted) in counts.items()
    }
    # One share per problem and place, then their difference: problems, not traces, are what varies.
    shares = {name: valid / np.maximum(accepted, 1) for name, (valid, accepted) in counts.items()}
    gap = ratio(shares["mid"] - shares["start"], np.ones(len(both)), both, share=False)
    return found | {"gap, mean over problems": (gap, len(both))}


def premises(frame: pd.DataFrame) -> pd.DataFrame:
    """P1, P2, P3 as the traces alone show them: the number, the threshold (ours), yes | no | cannot say."""
    checks = [
        ("P1", "entropy marks the error", "entropy", "largest surge is a wrong step", P1_PEAKS),
        ("P2", "a hint from the start is not enough", "start or mid-trace", "gap, mean over problems", P2_GAP),
        ("P3", "jumps look different from insight", "pure", "AUROC fresh: anomaly", P3_AUROC),
    ]
    rows = []
    for name, says, audit_name, quantity, threshold in checks:
        found = frame[(frame["audit"] == audit_name) & (frame["quantity"] == quantity)]
        value, low, high = found.iloc[0][["value", "low", "high"]] if len(found) else (math.nan,) * 3
        holds = "cannot say" if math.isnan(value) else ("yes" if value >= threshold else "no")
        rows.append([name, says, f"{audit_name}: {quantity}", value, low, high, threshold, holds])
    return pd.DataFrame(rows, columns=PREMISES)


def sections(frame: pd.DataFrame, flags: pd.DataFrame) -> list[str]:
    """The premises, then one table per audit, a column per variant."""
    parts = ["## Premises by the traces alone\n"]
    header = ["premise", "says", "quantity", "value [95 %]", "threshold (ours)", "holds"]
    flagged = [
        [r.premise, r.says, r.quantity, with_interval(r.value, r.low, r.high), number(r.threshold, 2), r.holds]
        for r in flags.itertuples(index=False)
    ]
    parts.append(markdown_table(header, flagged, lambda i: i in (0, 1, 2, 5)))
    for name, rows in frame.groupby("audit", sort=False):
        variants, quantities = (list(dict.fromkeys(rows[column])) for column in ("variant", "quantity"))
        if name == "cut":
            quantities = sorted(quantities, key=distance_last)
        cells = {
            (r.variant, r.quantity): f"{with_interval(r.value, r.low, r.high) or 'cannot say'} (n {r.n})"
            for r in rows.itertuples(index=False)
        }
        table = [[q, *(cells.get((v, q), "none") for v in variants)] for q in quantities]
        parts += [f"## {name}\n", markdown_table(["quantity", *variants], table, lambda i: i == 0)]
    return parts


def markdown(frame: pd.DataFrame, flags: pd.DataFrame, world: str, teacher: str, draw: int) -> str:
    """Every table, with the notes under them."""
    parts = [f"# Audits of teacher {teacher}, draw {draw}\n", *sections(frame, flags)]
    notes = [
        JUDGES[world],
        "Intervals: 95 %, over problems (a bootstrap of whole problems; Wilson's with problems as trials where a share "
        "is 0 or 1; clustered DeLong for AUROC); correlations over items. They cover one draw of one teacher.",
        "distance: steps kept + 1 − first wrong step; 0 is exact. A restart keeps nothing. inherited: the kept part "
        "was wrong already; fresh: the continuation went wrong.",
        SKIPPED,
    ]
    if (frame["audit"] == "wrong gold").any():
        notes.append(
            "wrong gold: the share that passes a filter, of what comes to it from problems with a wrong or right gold "
            "answer; last, whose repairs are left. A repair that verifies against a wrong gold answer is never valid."
        )
    return "\n".join([*parts, "".join(f"* {note}\n" for note in notes)])


def distance_last(quantity: str) -> tuple[bool, int]:
    """Orders the histogram's bars by distance, behind everything else (whose order is kept)."""
    bar = quantity.removeprefix("distance ")
    return (True, int(bar)) if quantity.startswith("distance ") and bar.lstrip("+-").isdigit() else (False, 0)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--run", required=True, help="results/<run>")
    parser.add_argument("--teacher", required=True, help="its name in the config")
    parser.add_argument("--draw", type=int, default=0, help="which sampling of the teacher")
    parser.add_argument("--repairs-variants", nargs="+", required=True, help="GEAR variants; the run's own first")
    parser.add_argument("--gear", default="{}", help="the run's own GEAR options as JSON")
    parser.add_argument("--pure", default="{}", help="PURE's options as JSON")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument("--out", required=True, help="the csv; md and premises_{teacher}.csv are written beside it")
    arguments = parser.parse_args()
    gear, options = read_options(Gear, arguments.gear, "--gear"), read_options(Pure, arguments.pure, "--pure")
    run, out = Path(arguments.run), Path(arguments.out)
    traces = run / "traces" / arguments.teacher / f"draw{arguments.draw}"
    with recorded(out, "evals.audits.run", options=vars(arguments)):
        problems = records.read(run / "problems" / "train.parquet", "problems")
        samples = records.read(traces / "samples.parquet", "samples")
        guided = records.read(traces / "guided.parquet", "guided")
        variants = [read_variant(traces, name) for name in arguments.repairs_variants]
        usage = records.usage(traces / "guided.parquet")
        frame = audit(problems, samples, guided, usage, variants, options, arguments.seed)
        if gold_audit.wrong_gold(problems):
            grades = records.read(traces / "grades.parquet", "grades")
            gold = audit_of_gold(problems, grades, guided, variants[0], gear, options, arguments.seed)
            frame = pd.concat([frame, gold], ignore_index=True)
        flags, world = premises(frame), worlds.world_of(problems[0])
        records.write_text(out, csv_of(frame))
        records.write_text(out.with_suffix(".md"), markdown(frame, flags, world, arguments.teacher, arguments.draw))
        records.write_text(out.with_name(f"premises_{arguments.teacher}.csv"), csv_of(flags))


if __name__ == "__main__":
    exit_with_errors(main)
