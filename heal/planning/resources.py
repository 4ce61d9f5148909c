"""Memory and time that a cluster is asked for, for every rule with a model: what the plan says, with a margin.

The workflow's rules name these as `mem_mb` and `runtime`; a site's profile replaces them under `set-resources`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.planning.costs import Task, plan_costs
from heal.planning.inputs import collect_inputs

GPU = "H100"
"""GPU type of the plan (a site may have slower ones: hence the margin)."""
MEMORY_MARGIN = 1.5
MIN_GPU_MEM_MB, MIN_CPU_MEM_MB = 16_000, 4_000
"""Of a job with and without a GPU: CUDA, compiling, and the cache of the files that are read."""
RUNTIME_MARGIN = 3.0
MIN_RUNTIME_MIN = 60
RUNTIME_STEP_MIN = 30


@dataclass(frozen=True)
class JobResources:
    """What one job of a rule asks for."""

    mem_mb: int
    runtime: int
    """Minutes."""


DEFAULT = JobResources(mem_mb=64000, runtime=1440)
"""Where the plan knows neither size nor number of problems."""


def estimate_job_resources(run_config: RunConfig) -> dict[tuple[str, str], JobResources]:
    """(rule, name of the model) → resources of one job; {} where the plan lacks a number, as `heal plan` reports.

    Plans include the ablations and further comparisons, whose jobs are as large.
    """
    try:
        tasks = plan_costs(collect_inputs(run_config, ablations=True, comparisons=True, gpu=GPU))
    except HealError:
        return {}
    return derive_resources(tasks)


def derive_resources(tasks: Sequence[Task]) -> dict[tuple[str, str], JobResources]:
    """The resources of one job of each task."""
    resources = {}
    for task in tasks:
        minutes = max(MIN_RUNTIME_MIN, RUNTIME_MARGIN * 60 * task.hours / task.jobs)
        runtime = RUNTIME_STEP_MIN * math.ceil(minutes / RUNTIME_STEP_MIN)
        least = MIN_GPU_MEM_MB if task.gpus else MIN_CPU_MEM_MB
        mem_mb = max(least, math.ceil(MEMORY_MARGIN * task.host_bytes / 1e6))
        resources[(task.rule, task.model)] = JobResources(mem_mb, runtime)
    return resources
