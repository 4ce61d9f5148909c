"""Estimate what a run costs before anything is spent, or compare the estimate with a finished run.

Reads a config, and the sizes of sample files of finished runs under results/. Prints one row per rule and model, then
what the estimate rests on; --csv writes the same numbers to a file. Unknown quantities are assumptions, listed below
the table; --assume sets one. `params.NAME` sets the size of a model, `problems.SPLIT` a number of problems.

    heal plan --config my.yaml --ablations --gpu H100 --gpus 8 --price 2.50
    heal plan --config my.yaml --assume treated_share=0.3 --assume trace_tokens=6000 --assume params.big=32e9
    heal plan --from results/mini      # compare with what that run took
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from heal.command import Command
from heal.config.options import Count
from heal.config.run_config import RunConfig, read_run_config
from heal.planning.costs import Task, plan_costs
from heal.planning.format import (
    NOT_PLANNED,
    align_rows,
    describe_scope,
    format_assumptions,
    format_bytes,
    format_count,
    format_number,
    join_blocks,
)
from heal.planning.hours import estimate_read_price
from heal.planning.inputs import PlanInputs, collect_inputs
from heal.planning.ledger import compare_with_run
from heal.planning.memory import CHECKPOINTS, estimate_checkpoint_bytes
from heal.records import write_text

DEFAULT_CONFIG = Path("config/config.yaml")


class Plan(Command):
    run_folder: Annotated[Path | None, Field(alias="from")] = None
    """Folder of a finished run, results/<run>: compare the estimate with what it took."""
    ablations: bool = False
    """Include the ablations."""
    comparisons: bool = False
    """Include the config's further comparisons."""
    limit: Count | None = None
    """Shrink every problem set, as `snakemake --config limit=N`."""
    gpu: str = "H100"
    """GPU type (H200, H100, A100, …); cpu for none."""
    gpus: Count = 1
    """Number of GPUs, for the duration."""
    price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """US dollars per GPU-hour."""
    assume: dict[str, float] = {}
    """KEY=VALUE: replaces an assumption (repeatable)."""
    csv: Path | None = None
    """File to write the numbers to."""

    def run(self) -> None:
        if self.run_folder:
            comparison = compare_with_run(
                self.run_folder,
                self.config,
                ablations=self.ablations,
                comparisons=self.comparisons,
                gpu=self.gpu,
                assume=self.assume,
            )
            table, text = comparison.table, comparison.format()
        else:
            table, text = self.estimate()
        if self.csv:
            write_text(self.csv, table.to_csv(index=False))
        print(text)

    def estimate(self) -> tuple[pd.DataFrame, str]:
        """The plan of a config as a table, and as text for the terminal."""
        run_config = read_run_config(self.config or DEFAULT_CONFIG)
        if self.limit:
            experiment = run_config.experiment.model_copy(update={"limit": self.limit})
            run_config = RunConfig(experiment, run_config.where)
        inputs = collect_inputs(
            run_config,
            ablations=self.ablations,
            comparisons=self.comparisons,
            gpu=self.gpu,
            assume=self.assume,
            results=Path("results"),
        )
        tasks = plan_costs(inputs)
        scope = describe_scope(self.ablations, self.comparisons)
        head = f"Cost plan of {run_config.where}, run {inputs.experiment.run!r}: {scope}; GPU: {self.gpu}"
        head += f", {self.price:g} USD per GPU-hour" if self.price is not None else ""
        notes = list_notes(inputs, tasks, self.gpus)
        blocks = [[head], format_tasks(tasks, self.price), notes, format_assumptions(inputs)]
        return tabulate_tasks(tasks, self.price), join_blocks(blocks)


def compute_usd(task: Task, price: float | None) -> float:
    return task.gpu_hours * (price or 0) + task.fees


def tabulate_tasks(tasks: Sequence[Task], price: float | None) -> pd.DataFrame:
    """One row per task."""
    rows = []
    for task in tasks:
        rows.append(asdict(task) | {"usd": compute_usd(task, price)})
    return pd.DataFrame(rows)


def sum_tasks(tasks: Sequence[Task]) -> Task:
    """The sums over all tasks, and the largest host memory, in a row `total`."""
    total = Task("total", "", 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for task in tasks:
        total = replace(
            total,
            jobs=total.jobs + task.jobs,
            prompts=total.prompts + task.prompts,
            tokens_read=total.tokens_read + task.tokens_read,
            tokens_written=total.tokens_written + task.tokens_written,
            hours=total.hours + task.hours,
            gpu_hours=total.gpu_hours + task.gpu_hours,
            disk_bytes=total.disk_bytes + task.disk_bytes,
            fees=total.fees + task.fees,
            host_bytes=max(total.host_bytes, task.host_bytes),
        )
    return total


def format_tasks(tasks: Sequence[Task], price: float | None) -> list[str]:
    """The table of tasks with their total; dollars only where there is a price or a fee."""
    header = ["rule", "model", "jobs", "prompts", "Mtok read", "written", "hours", "GPU-hours", "host", "disk"]
    priced = price is not None or any(task.fees for task in tasks)
    rows = [header + ["USD"] * priced]
    for task in [*tasks, sum_tasks(tasks)]:
        row = [task.rule, task.model, format_count(task.jobs), format_count(task.prompts)]
        row += [format_number(task.tokens_read / 1e6), format_number(task.tokens_written / 1e6)]
        row += [format_number(task.hours), format_number(task.gpu_hours)]
        row += [format_bytes(task.host_bytes), format_bytes(task.disk_bytes)]
        rows.append(row + [format_number(compute_usd(task, price))] * priced)
    return align_rows(rows, 2)


def estimate_duration(tasks: Sequence[Task], gpus: int) -> float:
    """Hours until the last job on these GPUs ends. Rules follow each other; the jobs of one run side by side."""
    hours = 0.0
    for task in tasks:
        if task.gpus:
            hours += math.ceil(task.jobs / max(1, gpus // task.gpus)) * task.hours / task.jobs
    return hours


def list_notes(inputs: PlanInputs, tasks: Sequence[Task], gpus: int) -> list[str]:
    """What the table rests on, and what it leaves out."""
    experiment = inputs.experiment
    gpu_hours, cpu_hours = 0.0, 0.0
    for task in tasks:
        gpu_hours += task.gpu_hours
        cpu_hours += 0 if task.gpu_hours else task.hours
    notes = [
        "An estimate, as good as the assumptions below. Hours: of all jobs, one after the other. Host: of one job."
    ]
    if gpu_hours:
        count = "one GPU" if gpus == 1 else f"{gpus} GPUs"
        duration = estimate_duration(tasks, gpus)
        idle = 1 - gpu_hours / (gpus * duration)
        waiting = f"{idle:.0%} of them waiting for other jobs; starts and ends of batches are in the hours"
        notes.append(f"With {count} (--gpus): {format_number(duration)} hours, {waiting}.")
        if widest := [task.rule for task in tasks if task.gpus > gpus]:
            notes.append(f"More GPUs than that are needed by a job of {', '.join(dict.fromkeys(widest))}.")
    if cpu_hours:
        threads = f"threads per job: {experiment.engine.threads} (engine.threads)"
        notes.append(f"On the CPU: {format_number(cpu_hours)} of these hours; {threads}.")
    for teacher, model in experiment.teachers.items():
        if not model.endpoint:
            price = estimate_read_price(inputs, f"teachers.{teacher}")
            text = f"Price of a read token for {teacher}, in generated tokens: {format_number(price)} by this plan"
            notes.append(f"{text}, {experiment.cost.read_price:g} in the config (cost.read_price).")
    notes += NOT_PLANNED
    if peak := estimate_checkpoint_peak(inputs):
        notes.append(f"Checkpoints take up to {format_bytes(peak)} more per student while it is trained.")
    counts = ", ".join(f"{split} {count:,.0f}" for split, count in inputs.problems.items())
    notes.append(f"Problems: {counts}" + " (train: before decontamination)" * experiment.problems.decontaminated + ".")
    for label, size in inputs.sizes.items():
        notes.append(f"Parameters, {label}: {size.total:,.0f} ({size.source}).")
    return notes


def estimate_checkpoint_peak(inputs: PlanInputs) -> float:
    """Bytes on the disk of the checkpoints of one student, of the largest."""
    experiment, peaks = inputs.experiment, []
    for student in experiment.students:
        size = inputs.sizes[f"students.{student}"]
        peaks.append(CHECKPOINTS * estimate_checkpoint_bytes(size, experiment.train))
    return max(peaks)
