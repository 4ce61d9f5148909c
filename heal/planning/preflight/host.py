"""Check main memory and disk: what the plan says a run needs, against what is there."""

from __future__ import annotations

from collections.abc import Sequence

from heal.errors import HealError
from heal.planning.costs import Task, plan_costs
from heal.planning.format import format_bytes
from heal.planning.inputs import PlanInputs, collect_inputs
from heal.planning.preflight.findings import Findings
from heal.planning.preflight.lookup import Lookup
from heal.planning.preflight.machine import Machine
from heal.planning.report import estimate_checkpoint_peak


def plan_run(lookup: Lookup, machine: Machine) -> tuple[PlanInputs, list[Task]] | None:
    """The plan of the main comparison; None where a size is unknown, which `heal plan` reports."""
    try:
        inputs = collect_inputs(lookup.run_config, gpu="H100" if machine.gpus else "cpu")
        return inputs, plan_costs(inputs)
    except HealError:
        return None


def check_host(lookup: Lookup, machine: Machine) -> Findings:
    """Faults where main memory or disk are too small."""
    planned = plan_run(lookup, machine)
    if planned is None:
        return
    inputs, tasks = planned
    yield from check_host_memory(tasks, machine)
    yield from check_disk(inputs, tasks, machine)


def check_host_memory(tasks: Sequence[Task], machine: Machine) -> Findings:
    """One fault for each model of which a job does not fit in the main memory: the largest such job."""
    largest: dict[str, Task] = {}
    for task in tasks:
        so_far = largest.get(task.model)
        if so_far is None or task.host_bytes > so_far.host_bytes:
            largest[task.model] = task
    for model, task in largest.items():
        if machine.host_bytes is None or task.host_bytes <= machine.host_bytes:
            continue
        needed, available = format_bytes(task.host_bytes), format_bytes(machine.host_bytes)
        problem = f"a job of {task.rule} needs about {needed} of main memory, {available} are there"
        fix = "use a machine with more, fewer gpus for this model (each loads it once), or a smaller model"
        if not machine.gpus:
            problem = f"there is no GPU here, and on the CPU {problem}"
            fix = "use a machine with GPUs (`heal check --gpu H100 --gpus 8` checks for one), or a smaller model"
        yield HealError(problem, where=f"models, {model}", fix=fix)


def check_disk(inputs: PlanInputs, tasks: Sequence[Task], machine: Machine) -> Findings:
    """A fault where the files of the run, and one student's checkpoints, do not fit below results/."""
    files = sum(task.disk_bytes for task in tasks)
    checkpoints = estimate_checkpoint_peak(inputs)
    if machine.disk_bytes is not None and files + checkpoints > machine.disk_bytes:
        problem = (
            f"about {format_bytes(files)} of traces and models and {format_bytes(checkpoints)} of checkpoints are "
        )
        problem += f"written, {format_bytes(machine.disk_bytes)} are free"
        fix = "make results/ a link to a larger disk, or lower sampling.n, training_seeds or the number of methods"
        yield HealError(problem, where="results/", fix=fix)


def describe_needs(lookup: Lookup, machine: Machine) -> str | None:
    """What the largest job needs of the main memory, and the run of the disk; None where a size is unknown."""
    planned = plan_run(lookup, machine)
    if planned is None:
        return None
    inputs, tasks = planned
    largest = max(tasks, key=lambda task: task.host_bytes)
    disk = sum(task.disk_bytes for task in tasks) + estimate_checkpoint_peak(inputs)
    memory = f"main memory: {format_bytes(largest.host_bytes)} for a job ({largest.rule}, {largest.model})"
    return f"  needs {memory}; disk: {format_bytes(disk)}"
