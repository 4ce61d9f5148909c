"""Compare a cost plan with what a run took, to see how good such plans are.

Reads the run's problems, premise.json, provenance and answers, and its config. Two plans are compared: one with the
assumptions as they are, and one with the shares that the run's premise.json measured. The second shows how much of the
error comes from unknown shares and how much from the cost model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from heal.config.run_config import RunConfig, read_run_config
from heal.config.yaml_files import read_yaml
from heal.errors import HealError
from heal.planning.assumptions import set_assumptions
from heal.planning.costs import (
    EVALUATE_STUDENT,
    EVALUATE_TEACHER,
    EVALUATE_UNTRAINED,
    PLAN_CUTS,
    TRAIN,
    WARM_UP,
    Task,
    plan_costs,
)
from heal.planning.format import (
    NOT_PLANNED,
    align_rows,
    describe_scope,
    format_assumptions,
    format_count,
    format_ratio,
    join_blocks,
)
from heal.planning.inputs import PlanInputs, collect_inputs
from heal.provenance import build_ledger
from heal.run_layout import CURRICULUM, STUDENT, TEACHER_EVALS, TRACES, UNTRAINED_EVALS
from heal.trace_files import (
    CONTINUATIONS,
    EXTRA_SAMPLES,
    GUIDED,
    GUIDED_SCORES,
    LOW_TEMPERATURE_SAMPLES,
    RANKS,
    REPAIR_RANKS,
    REPAIRS,
    SAMPLES,
    SCORES,
    STUDENT_SAMPLES,
    TRACE_FILES,
)

RULES = {
    "sample guided": GUIDED.rule,
    "sample low-temperature": LOW_TEMPERATURE_SAMPLES.rule,
    "sample extra": EXTRA_SAMPLES.rule,
    "student-pass ranks": RANKS.rule,
    "student-pass repair-ranks": REPAIR_RANKS.rule,
    "student-pass continuations": CONTINUATIONS.rule,
    "repair": REPAIRS.rule,
}
"""Command → rule, for the commands that only one rule calls."""
PLANS = ("plan", "own shares")
"""Columns: the plan with its assumptions, and the plan with the run's own shares."""

Amounts = dict[str, float]
"""Quantity (jobs, tokens read, tokens written, seconds, GPU-seconds) → amount."""


@dataclass(frozen=True)
class PlanComparison:
    """A run next to its plans."""

    run: Path
    run_config: RunConfig
    scope: str
    shares: Mapping[str, float]
    """Assumptions measured in the run."""
    inputs: PlanInputs
    """With these shares."""
    table: pd.DataFrame

    def format(self) -> str:
        """The comparison as text for the terminal."""
        sheet = self.inputs.assumptions["tflops_16bit"].source
        head = [f"Cost plan and ledger of {self.run}", f"{self.run_config.where}: {self.scope}; {sheet}"]
        blocks = [head, format_table(self.table), self.list_notes(), format_assumptions(self.inputs)]
        return join_blocks(blocks)

    def list_notes(self) -> list[str]:
        """What the columns are, and what they leave out."""
        shares = ", ".join(f"{key} {value:.3g}" for key, value in self.shares.items())
        notes = [
            "plan: the default assumptions and --assume. own shares: also the shares in the run's premise.json:",
            f"  {shares}.",
        ]
        finished, planned = self.table.loc[self.table["quantity"] == "jobs", ["ledger", "plan"]].iloc[-1]  # the sum
        if finished < planned:
            notes.append(f"Unfinished run: {finished:.0f} of {planned:.0f} jobs.")
        notes.append("Problems are counted in the run. Seconds: of all jobs, one after the other.")
        notes += NOT_PLANNED
        notes.append("  the tokens of the benchmarks' prompts, which no file records.")
        return notes


def compare_with_run(
    run: Path, config: Path | None, *, ablations: bool, comparisons: bool, gpu: str, assume: Mapping[str, float]
) -> PlanComparison:
    """A run next to its plans. Raises HealError for a folder that is no run, and for a run of an unknown config."""
    path = config or find_config(run)
    run_config = read_run_config(path)
    measured = measure_rules(run, run_config.experiment.seeds_per_job)
    trained = {file.parent.name for file in run.glob(f"{make_glob(CURRICULUM)}/curriculum.jsonl")}
    ablations = ablations or bool(trained & set(run_config.experiment.ablations))
    comparisons = comparisons or bool(trained & list_further_methods(run_config))
    on_gpus = any(amounts["GPU-seconds"] for amounts in measured.values())
    inputs = collect_inputs(
        run_config,
        ablations=ablations,
        comparisons=comparisons,
        gpu=gpu if on_gpus else "cpu",
        assume=count_problems_of_run(run, run_config) | dict(assume),
    )
    shares = {key: value for key, value in measure_shares(run, inputs).items() if key not in assume}
    assumptions = set_assumptions(inputs.assumptions, shares, f"premise.json of {run}")
    own_inputs = replace(inputs, assumptions=assumptions)
    plans = dict(zip(PLANS, (plan_costs(inputs), plan_costs(own_inputs)), strict=True))
    scope = describe_scope(ablations, comparisons)
    return PlanComparison(run, run_config, scope, shares, own_inputs, build_comparison(measured, plans))


def find_config(run: Path) -> Path:
    """The config file of a run, by its name. Raises HealError where none in config/ has it."""
    for path in sorted(Path("config").glob("*.yaml")):
        if read_yaml(path).get("run") == run.name:
            return path
    raise HealError(f"no file in config/ has `run: {run.name}`", where=str(run), fix="give the run's config: --config")


def make_glob(pattern: str) -> str:
    """A path pattern of heal.run_layout with `*` for every wildcard."""
    return re.sub(r"\{\w+\}", "*", pattern)


def list_further_methods(run_config: RunConfig) -> set[str]:
    """Methods that are in none but the config's further comparisons."""
    experiment = run_config.experiment
    methods: set[str] = set()
    for name in experiment.comparisons:
        methods |= run_config.comparisons[name].methods.keys()
    return methods - {*experiment.methods, *experiment.ablations}


def count_problems_of_run(run: Path, run_config: RunConfig) -> dict[str, float]:
    """`problems.SPLIT` → rows of the run's problem files: `limit` and decontamination may have shrunk them."""
    counts: dict[str, float] = {}
    for split in ("train", "dev", *run_config.experiment.problems.test):
        path = run / f"problems/{split}.parquet"
        if path.exists():
            counts[f"problems.{split}"] = pq.read_metadata(path).num_rows
    return counts


def measure_rules(run: Path, seeds_per_job: int) -> dict[str, Amounts]:
    """Rule → what its jobs took, from the provenance; tokens of answers from the answers.

    A job that trains or evaluates several students leaves one provenance file for each: it is counted with its first.

    The tokens of the benchmarks' prompts are recorded nowhere: evaluation rules have no `tokens read`. Raises HealError
    for a run without provenance of a job with a model.
    """
    measured: dict[str, Amounts] = {}
    for row in build_ledger(run).fillna(0).to_dict("records"):
        rule = find_rule(row["command"], row["output"])
        if rule is None:
            continue
        amounts = {"jobs": float(find_training_seed(row["output"]) % seeds_per_job == 0)}
        written = row.get("generated_tokens", 0)
        if row["command"] == "evaluate":
            written += count_answer_tokens((run / row["output"]).parent)
        else:
            amounts["tokens read"] = sum(row.get(f"{name}_tokens", 0) for name in ("prefill", "scored", "trained"))
        amounts |= {"tokens written": written, "seconds": row["seconds"], "GPU-seconds": row["gpu_seconds"]}
        add_amounts(measured, rule, amounts)
    if not measured:
        fix = "give the folder of a run that has begun: results/<run>"
        raise HealError("no provenance of a job with a model", where=str(run), fix=fix)
    return measured


def find_rule(command: str, output: str) -> str | None:
    """The rule that wrote an output of the ledger; None for a rule that no plan includes."""
    path = Path(output)
    if command == "sample base":
        return STUDENT_SAMPLES.rule if "students" in path.parts else SAMPLES.rule
    if command == "score":
        return GUIDED_SCORES.rule if Path(GUIDED_SCORES.path).stem in output else SCORES.rule
    if command == "train":
        return TRAIN if path.match(make_glob(STUDENT)) else WARM_UP
    if command == "evaluate":
        if path.parent.match(make_glob(UNTRAINED_EVALS)):
            return EVALUATE_UNTRAINED
        return EVALUATE_TEACHER if path.parent.match(make_glob(TEACHER_EVALS)) else EVALUATE_STUDENT
    return RULES.get(command)


def find_training_seed(output: str) -> int:
    """The training seed in an output's path; 0 where it belongs to no trained student."""
    match = re.search(r"/seed(\d+)(/|$)", output)
    return int(match[1]) if match else 0


def count_answer_tokens(folder: Path) -> int:
    """Tokens of all answers of one evaluation."""
    total = 0
    for path in sorted(folder.glob("*/answers.parquet")):
        total += sum(pq.read_table(path, columns=["n_tokens"])["n_tokens"].to_pylist())
    return total


def add_amounts(totals: dict[str, Amounts], rule: str, amounts: Amounts) -> None:
    """Adds amounts to those of a rule."""
    sums = totals.setdefault(rule, {})
    for quantity, amount in amounts.items():
        sums[quantity] = sums.get(quantity, 0) + amount


def measure_shares(run: Path, inputs: PlanInputs) -> dict[str, float]:
    """Assumptions as the run's premise.json files measured them, over all teachers and teacher sampling seeds.

    Raises HealError for a run without premise.json.
    """
    experiment = inputs.experiment
    files = sorted(run.glob(f"{make_glob(TRACES)}/premise.json"))
    if not files:
        raise HealError("no premise.json", where=str(run / "traces"), fix="finish its traces: snakemake traces")
    problems, treated, guided, accepted_guided, accepted_repairs = 0, 0, 0, 0, 0
    for file in files:
        premise = json.loads(file.read_text("utf-8"))
        problems += premise["problems"]
        treated += premise["treated"]
        accepted_guided += premise["guided"]["accepted"]
        accepted_repairs += premise["repairs"]["accepted"]
        guided += count_problems_below(premise, experiment.guided.pass_rate_below)
    shares = {"treated_share": treated / problems, "guided_share": guided / problems}
    if treated:
        samples = treated * (experiment.guided.n or experiment.sampling.n)
        cuts = treated * min(experiment.gear.traces_per_problem, experiment.sampling.n) * inputs["repairable_share"]
        shares["guided_accepted"] = accepted_guided / samples
        shares["repairs_accepted"] = min(1.0, accepted_repairs / (cuts * experiment.gear.repairs_per_trace))
    return shares


def count_problems_below(premise: Mapping[str, Any], pass_rate: float) -> int:
    """Problems of a premise.json whose pass rate is lower."""
    count = 0
    for group in premise["pass_rates"]:
        if group["correct"] / group["samples"] < pass_rate:
            count += group["problems"]
    return count


def sum_plan(tasks: Sequence[Task]) -> dict[str, Amounts]:
    """Rule → planned amounts, all models together, of the rules that run a model: the ledger has these."""
    planned: dict[str, Amounts] = {}
    for task in tasks:
        if task.rule == PLAN_CUTS:
            continue
        amounts = {
            "jobs": float(task.jobs),
            "tokens read": task.tokens_read,
            "tokens written": task.tokens_written,
            "seconds": 3600 * task.hours,
            "GPU-seconds": 3600 * task.gpu_hours,
        }
        add_amounts(planned, task.rule, amounts)
    return planned


def build_comparison(measured: Mapping[str, Amounts], plans: Mapping[str, Sequence[Task]]) -> pd.DataFrame:
    """One row per rule and quantity, then sums: the ledger's amount, and each plan's amount and plan / ledger."""
    planned = {name: sum_plan(tasks) for name, tasks in plans.items()}
    rules: dict[str, None] = {}
    for amounts in planned.values():
        rules |= dict.fromkeys(amounts)
    rows = []
    for rule in rules:
        for quantity, amount in measured.get(rule, {"jobs": 0}).items():
            row = {"rule": rule, "quantity": quantity, "ledger": amount}
            for name, by_rule in planned.items():
                row[name] = by_rule.get(rule, {}).get(quantity, 0.0)
            unplanned = quantity == "GPU-seconds" or not any(row[name] for name in planned)
            if amount or not unplanned:
                rows.append(row)
    table = pd.DataFrame(rows)
    tokens = table["quantity"].str.startswith("tokens")
    teacher = table["rule"].isin([file.rule for file in TRACE_FILES if file.made_by == "teacher"])
    parts = [table]
    for title, part in (("teacher's traces", table[tokens & teacher]), ("all", table[~tokens])):
        sums = part.groupby("quantity", sort=False)[["ledger", *planned]].sum().reset_index()
        parts.append(sums.assign(rule=title))
    table = pd.concat(parts, ignore_index=True)
    for name in planned:
        table[f"{name}/ledger"] = (table[name] / table["ledger"]).where(table["ledger"] > 0)
    return table


def format_table(table: pd.DataFrame) -> list[str]:
    """The comparison as aligned lines."""
    header = ["rule", "quantity", "ledger"]
    for name in PLANS:
        header += [name, f"{name}/ledger"]
    rows = [header]
    for row in table.to_dict("records"):
        cells = [row["rule"], row["quantity"], format_count(row["ledger"])]
        for name in PLANS:
            cells += [format_count(row[name]), format_ratio(row[f"{name}/ledger"])]
        rows.append(cells)
    return align_rows(rows, 2)
