"""Check a cluster profile: memory and time limit of every rule with a model, against what the plan says a job needs.

What the profile leaves out is what the rules ask for themselves (heal.planning.resources), and fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yte
from humanfriendly import InvalidSize, InvalidTimespan, parse_size, parse_timespan

from heal.errors import HealError
from heal.planning.costs import EVALUATE_STUDENT, EVALUATE_TEACHER, EVALUATE_UNTRAINED, Task, plan_costs
from heal.planning.format import format_bytes, format_number
from heal.planning.inputs import collect_inputs
from heal.planning.preflight.findings import Caution, Findings
from heal.planning.preflight.lookup import Lookup
from heal.planning.resources import GPU

NOT_RESUMED = {EVALUATE_STUDENT, EVALUATE_TEACHER, EVALUATE_UNTRAINED}
"""Rules that begin again in their next attempt."""


def read_profile(folder: Path) -> dict[str, Any]:
    """The content of a workflow profile. Raises HealError where there is none, or it cannot be read."""
    path = folder / "profile.yaml"
    for name in ("profile.v9+.yaml", "config.yaml"):
        if not path.is_file():
            path = folder / name
    if not path.is_file():
        known = ", ".join(sorted(str(found.parent) for found in Path("profiles").glob("*/profile.yaml")))
        raise HealError("no workflow profile", where=str(folder), fix=f"give a folder with profile.yaml: {known}")
    try:
        with open(path, encoding="utf-8") as stream:
            content = yte.process_yaml(stream, require_use_yte=True)
    except Exception as error:  # YAML, or an expression in it
        fix = "fix it; `snakemake -n` with this profile shows the place"
        raise HealError(f"not readable ({type(error).__name__})", where=str(path), fix=fix) from None
    return content if isinstance(content, dict) else {}


def check_profile(lookup: Lookup, folder: Path) -> Findings:
    """Faults and cautions of the profile's `mem_mb` and `runtime`."""
    profile = read_profile(folder)
    try:
        tasks = plan_costs(collect_inputs(lookup.run_config, ablations=True, comparisons=True, gpu=GPU))
    except HealError as error:
        yield Caution(f"limits are not checked: {error.problem}", where=str(folder), fix=error.fix)
        return
    retries = int(profile.get("retries", 0))
    for task in tasks:
        settings = (profile.get("set-resources") or {}).get(task.rule) or {}
        place = f"{folder}: set-resources.{task.rule}"
        yield from check_memory(task, settings, place)
        yield from check_runtime(task, settings, retries, place)


def check_memory(task: Task, settings: Mapping[str, Any], place: str) -> Findings:
    """A fault where a job is given less main memory than it needs."""
    given = read_memory(settings, place)
    if given is not None and given < task.host_bytes:
        problem = f"{format_bytes(given)} for a job with {task.model} that needs about {format_bytes(task.host_bytes)}"
        fix = f"set it to {task.host_bytes / 1e6:.0f} or more, or leave it out: the rule asks for what it needs"
        yield HealError(problem, where=f"{place}.mem_mb", fix=fix)


def check_runtime(task: Task, settings: Mapping[str, Any], retries: int, place: str) -> Findings:
    """A fault where a job cannot end within its limit and all attempts; a caution where it needs several."""
    given = read_runtime(settings, place)
    needed = 60 * task.hours / task.jobs
    if given is None or given >= needed:
        return
    problem = f"{format_number(given)} minutes for a job with {task.model} that takes about {format_number(needed)} "
    problem += f"(heal plan, {GPU})"
    fix = f"set it to {needed:.0f} or more, or leave it out: the rule asks for what it needs"
    if task.rule not in NOT_RESUMED and needed <= (1 + retries) * given:
        yield Caution(f"{problem}: it goes on in its next attempt", where=f"{place}.runtime", fix=fix)
        return
    yield HealError(problem, where=f"{place}.runtime", fix=f"{fix}; or raise `retries` for a rule that resumes")


def read_memory(settings: Mapping[str, Any], place: str) -> float | None:
    """Bytes of `mem_mb` (a number) or `mem` (as in 64GB). Raises HealError for another text."""
    if "mem_mb" in settings:
        try:
            return 1e6 * float(settings["mem_mb"])
        except (TypeError, ValueError):
            problem = f"{settings['mem_mb']!r} is no number"
            raise HealError(problem, where=f"{place}.mem_mb", fix="give megabytes, or `mem: 64GB`") from None
    if "mem" in settings:
        try:
            return float(parse_size(str(settings["mem"])))
        except InvalidSize:
            raise HealError(f"{settings['mem']!r} is no size", where=f"{place}.mem", fix="as in 64GB") from None
    return None


def read_runtime(settings: Mapping[str, Any], place: str) -> float | None:
    """Minutes of `runtime`: a number, or as in 12h. Raises HealError for another text."""
    value = settings.get("runtime")
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return parse_timespan(str(value)) / 60
    except InvalidTimespan:
        raise HealError(f"{value!r} is no time", where=f"{place}.runtime", fix="give minutes, or as in 12h") from None
