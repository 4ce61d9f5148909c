"""`heal plan --from`: the plan of a run beside its ledger, to see what plans of this kind are worth.

Reads a run's problems, premise.json, provenance and answers, and its config. Writes to the terminal and, with --csv,
the same numbers to a file. Two plans are compared: one with the assumptions as they stand, and one with the run's own
shares (what premise.json tells), which says how much of the error is ignorance and how much is the model of cost.

    heal plan --from results/mini
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from heal import registry
from heal.config import experiment as config
from heal.config.options import read_yaml
from heal.errors import HealError
from heal.planning import assumptions
from heal.planning.costs import TRACE_RULES, Setting, Stage, plan, settings
from heal.planning.report import NOT_PLANNED, aligned, assumption_table, scope, whole
from heal.provenance import ledger
from heal.records import write_text


def shown_ratio(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.2f}"


def rule_of(stage: str, output: str) -> str | None:
    """The workflow's rule that wrote an output of the ledger; None for a stage that no plan holds."""
    if stage == "heal.pipeline.student_pass":
        return "student_ranks" if "/ranks/" in output else "student_continuations"
    if (
        stage == "heal.pipeline.sample"
    ):  # traces/<teacher>/draw<d>/shards/guided/0.parquet, …/students/<student>/samples/0.parquet
        folders = output.split("/")[3:]
        if "students" in folders:
            return "student_samples"
        return next((f"{purpose}_samples" for purpose in ("guided", "extra") if purpose in folders), "base_samples")
    if stage == "evals.run":
        untrained, teacher = output.startswith("evals/students/"), Path(output).parent.name == "teacher"
        return "evaluate_untrained" if untrained else "evaluate_teacher" if teacher else "evaluate_student"
    if stage == "heal.training.train":  # models/<role>/<name>, students/<teacher>/…
        return "warm_up" if output.startswith("models/") else "student"
    return {"heal.pipeline.repair": "repairs", "heal.pipeline.score": "trace_scores"}.get(stage)


def measured(run: Path) -> dict[str, dict[str, float]]:
    """Rule → jobs, tokens read and written, seconds and GPU-seconds, from provenance; answers' tokens from the answers.

    The tokens of the benchmarks' prompts are recorded nowhere: a rule has no `tokens read` then.
    """
    found: dict[str, dict[str, float]] = {}
    for row in ledger(run).fillna(0).to_dict("records"):
        rule = rule_of(row["stage"], row["output"])
        if rule is None:
            continue
        answers = sorted((run / row["output"]).parent.glob("*/answers.parquet")) if row["stage"] == "evals.run" else []
        written = [pq.read_table(path, columns=["n_tokens"])["n_tokens"].to_pylist() for path in answers]
        read = sum(row.get(f"{kind}_tokens", 0) for kind in ("prefill", "scored", "trained"))
        here = found.setdefault(rule, {})
        for key, value in {
            "jobs": 1,
            **({} if row["stage"] == "evals.run" else {"tokens read": read}),
            "tokens written": row.get("generated_tokens", 0) + sum(map(sum, written)),
            "seconds": row["seconds"],
            "GPU-seconds": row["gpu_seconds"],
        }.items():
            here[key] = here.get(key, 0) + value
    if not found:
        fix = "give the folder of a run that has begun: results/<run>"
        raise HealError("no provenance of a stage with a model", where=str(run), fix=fix)
    return found


def own_shares(run: Path, setting: Setting) -> dict[str, float]:
    """The shares that a run's premise.json files tell, as assumptions; all teachers and draws together."""
    e, paths = setting.experiment, sorted(run.glob("traces/*/draw*/premise.json"))
    if not paths:
        raise HealError("no premise.json", where=str(run / "traces"), fix="finish its traces: snakemake traces")
    premises = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    problems = sum(one["problems"] for one in premises)
    treated = sum(one["treated"] for one in premises)
    bins = [part for one in premises for part in one["pass_rates"]]
    low = sum(part["problems"] for part in bins if part["correct"] / part["samples"] < e.guided.pass_rate_below)
    tried = treated * min(e.gear.traces_per_problem, e.sampling.n) * setting["repairable_share"]
    accepted = {name: sum(one[name]["accepted"] for one in premises) for name in ("guided", "repairs")}
    shares = {"treated_share": treated / problems, "guided_share": low / problems}
    if treated:
        guided = treated * (e.guided.n or e.sampling.n)
        shares["guided_accepted"] = accepted["guided"] / guided
        shares["repairs_accepted"] = min(1.0, accepted["repairs"] / (tried * e.gear.repairs_per_trace))
    return shares


def as_planned(stages: Sequence[Stage]) -> dict[str, dict[str, float]]:
    """Rule → the quantities that `measured` has, all models together."""
    found: dict[str, dict[str, float]] = {}
    for one in stages:
        here = found.setdefault(one.rule, {})
        for key, value in {
            "jobs": one.jobs,
            "tokens read": one.tokens_read,
            "tokens written": one.tokens_written,
            "seconds": 3600 * one.hours,
            "GPU-seconds": 3600 * one.gpu_hours,
        }.items():
            here[key] = here.get(key, 0) + value
    return found


def comparison(took: Mapping[str, Mapping[str, float]], plans: Mapping[str, Sequence[Stage]]) -> pd.DataFrame:
    """One row per stage and quantity, then sums: the ledger's number; of each plan its number and plan / ledger."""
    tables = {name: as_planned(stages) for name, stages in plans.items()}
    titles = {one.rule: one.stage for stages in plans.values() for one in stages}
    rows = []
    for rule, title in titles.items():
        for quantity, value in took.get(rule, {"jobs": 0}).items():
            numbers = {name: planned.get(rule, {}).get(quantity, 0.0) for name, planned in tables.items()}
            if value or (quantity != "GPU-seconds" and any(numbers.values())):
                rows.append({"stage": title, "quantity": quantity, "ledger": value, **numbers})
    frame = pd.DataFrame(rows)
    tokens = frame["quantity"].str.startswith("tokens")
    teacher = frame["stage"].isin([title for title, *_ in TRACE_RULES.values()])
    sums = [
        part.groupby("quantity", sort=False)[["ledger", *tables]].sum().reset_index().assign(stage=title)
        for title, part in (("teacher's traces", frame[tokens & teacher]), ("all", frame[~tokens]))
    ]
    frame = pd.concat([frame, *sums], ignore_index=True)
    for name in tables:
        frame[f"{name}/ledger"] = (frame[name] / frame["ledger"]).where(frame["ledger"] > 0)
    return frame


def config_of(run: Path) -> str:
    """The config file of a run, by its name. Raises HealError where none in config/ has it."""
    for path in sorted(Path("config").glob("*.yaml")):
        if read_yaml(path).get("run") == run.name:
            return str(path)
    raise HealError(f"no file in config/ has `run: {run.name}`", where=str(run), fix="give the run's config: --config")


def command(arguments: argparse.Namespace) -> None:
    """`heal plan --from`."""
    run, given = Path(arguments.run), assumptions.parse(arguments.assume)
    path, took = arguments.config or config_of(run), measured(run)
    experiment = config.load(path)
    # How many problems there were is read, not assumed: `limit` and decontamination leave no trace in the config.
    counts = {f"problems.{f.stem}": pq.read_metadata(f).num_rows for f in sorted(run.glob("problems/*.parquet"))}
    counts = {key: n for key, n in counts.items() if key[9:] in {"train", "dev", *experiment.problems.test}}
    done = {file.parent.name for file in run.glob("curricula/*/draw*/*/*/curriculum.jsonl")}
    with_ablations = arguments.ablations or bool(done & set(experiment.ablations))
    further = {name for kind in experiment.comparisons for name in registry.comparisons(experiment)[kind].methods}
    with_comparisons = arguments.comparisons or bool(done & further - {*experiment.methods, *experiment.ablations})
    on_gpus = any(one["GPU-seconds"] for one in took.values())
    setting = settings(
        experiment,
        where=path,
        ablations=with_ablations,
        comparisons=with_comparisons,
        card=arguments.card if on_gpus else "cpu",
        given=counts | given,
    )
    shares = {key: value for key, value in own_shares(run, setting).items() if key not in given}
    own = replace(setting, assumed=assumptions.override(setting.assumed, shares, f"premise.json of {run}"))
    frame = comparison(took, {"plan": plan(setting), "own shares": plan(own)})
    ratios = ["plan/ledger", "own shares/ledger"]
    header = ("stage", "quantity", "ledger", "plan", ratios[0], "own shares", ratios[1])
    rows = [header]
    for row in frame.to_dict("records"):
        cells = [row["stage"], row["quantity"], *(whole(row[key]) for key in ("ledger", "plan"))]
        cells += [shown_ratio(row[ratios[0]]), whole(row["own shares"]), shown_ratio(row[ratios[1]])]
        rows.append(tuple(cells))
    done_jobs, all_jobs = frame.loc[frame["quantity"] == "jobs", ["ledger", "plan"]].iloc[-1]  # the sums come last
    told = [
        "plan: with the defaults and --assume. own shares: with what the run's premise.json says, too:",
        "  " + ", ".join(f"{key} {value:.3g}" for key, value in shares.items()) + ".",
        *([f"The run is not whole: {done_jobs:.0f} of {all_jobs:.0f} jobs."] if done_jobs < all_jobs else []),
        "Problems are counted in the run. Seconds: of all jobs, one after the other.",
        f"Not compared: {NOT_PLANNED};",
        "  the tokens of the benchmarks' prompts, which no file holds.",
    ]
    card = setting.assumed["tflops_16bit"].source
    blocks = [
        [f"Plan and ledger of {run}", f"{path}: {scope(with_ablations, with_comparisons)}; {card}"],
        aligned(rows, 2),
        told,
    ]
    if arguments.csv:
        write_text(arguments.csv, frame.to_csv(index=False))
    print("\n\n".join("\n".join(block) for block in [*blocks, assumption_table(own)]))
