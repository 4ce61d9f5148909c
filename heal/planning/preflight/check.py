"""Check a config before any GPU time: fields, models, data sets, endpoints, lengths, memory, driver, cluster limits.

Reads the config, tokenizers, configs of models, lists of files and problems, but no weights; writes nothing. Reports
every fault at once. Cautions (shortened or skipped requests, idle GPUs) are printed and do not fail. Memory is checked
against this machine, or against GPUs that are named.

    heal check --config config/single_gpu.yaml
    heal check --config config/paper.yaml --gpu H100 --gpus 8    # for another machine than this one
    heal check --config config/paper.yaml --gpu H100 --gpus 8 --workflow-profile profiles/slurm
    heal check --config config/single_gpu.yaml --fields-only     # without models, data sets and endpoints
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from heal.command import Command
from heal.config.options import Count
from heal.config.run_config import RunConfig, read_run_config
from heal.errors import HealError
from heal.planning.inputs import list_models
from heal.planning.preflight.files import check_dataset_access, check_licenses, switch_to_cache, uses_hub
from heal.planning.preflight.findings import Caution, Findings
from heal.planning.preflight.gpu_memory import check_gpu_memory, describe_cache
from heal.planning.preflight.host import check_host, describe_needs
from heal.planning.preflight.lengths import check_lengths
from heal.planning.preflight.lookup import Lookup
from heal.planning.preflight.machine import (
    Machine,
    check_driver,
    check_gpu_count,
    describe_machine,
    detect_machine,
)
from heal.planning.preflight.models import check_installed, check_pair, check_student, check_teacher
from heal.planning.preflight.slurm import check_profile
from heal.planning.report import DEFAULT_CONFIG
from heal.training import tracking

NamedCheck = tuple[str, Callable[[], Findings | None]]
"""Field of the config, and the function that yields findings or raises HealError for a fault."""


class Check(Command):
    fields_only: bool = False
    """Skip models, data sets, endpoints and memory."""
    gpu: str | None = None
    """GPU type of the machine that will run it (H200, H100, A100, …); default: this machine's."""
    gpus: Count | None = None
    """Number of its GPUs."""
    workflow_profile: Path | None = None
    """Folder of a cluster profile, profiles/slurm: check its memory and time limits too."""

    def run(self) -> None:
        path = self.config or DEFAULT_CONFIG
        run_config = read_run_config(path)
        machine = self.find_machine()
        print("\n".join(describe_run(run_config)), flush=True)
        if self.fields_only:
            return
        if uses_hub(run_config.experiment) and (notice := switch_to_cache()):
            print(f"  {notice}", file=sys.stderr)
        lookup = Lookup(run_config)
        findings = list(find_faults(run_config, machine, self.workflow_profile, lookup))
        faults = [finding for finding in findings if not isinstance(finding, Caution)]
        for finding in findings:
            print(f"caution: {finding}" if isinstance(finding, Caution) else finding, file=sys.stderr)
        if faults:
            problem = f"{len(faults)} faults in models, data and machine"
            raise HealError(problem, where=str(path), fix="fix those above, and check again")
        print("  models and data sets: all present and usable")
        for line in describe_machine_use(lookup, machine):
            print(line)

    def find_machine(self) -> Machine:
        """The described machine, else this one. Raises HealError for --gpus without --gpu."""
        if self.gpu:
            return describe_machine(self.gpu, self.gpus or 1)
        if self.gpus:
            raise HealError("their type is unknown", where="--gpus", fix="give --gpu too, as in --gpu H100 --gpus 8")
        return detect_machine()


def describe_run(run_config: RunConfig) -> list[str]:
    """What the config asks for: tables with their methods and students, and trace files."""
    experiment = run_config.experiment
    per_method = len(experiment.teachers) * len(experiment.students)
    per_method *= experiment.teacher_seeds * experiment.training_seeds
    lines = [f"{run_config.where}: run {experiment.run!r} is well-formed."]
    tables = {"main table": list(experiment.methods), "ablations": list(experiment.ablations)}
    every = run_config.comparisons["ablations"].methods
    for name in experiment.comparisons:
        tables[name] = [method for method in run_config.comparisons[name].methods if method not in every]
    for name, methods in tables.items():
        if methods or name in ("main table", "ablations"):
            students = f"{len(methods) * per_method} students to train"
            lines.append(f"  {name}: {len(methods)} methods, {students}: {', '.join(methods)}")
    paths: set[str] = set()
    for method in run_config.methods.values():
        paths |= {file.path for file in method.needs()}
    return [*lines, f"  trace files per teacher and teacher sampling seed: {', '.join(sorted(paths))}"]


def describe_machine_use(lookup: Lookup, machine: Machine) -> Iterator[str]:
    """What the run needs, how much of each GPU is cache, and what was not checked."""
    needs = describe_needs(lookup, machine)
    if needs:
        yield needs
    for field, model in list_models(lookup.run_config.experiment).items():
        line = describe_cache(lookup, field, model, machine)
        if line:
            yield line
    if not machine.gpus and any(model.gpus for model in list_models(lookup.run_config.experiment).values()):
        yield "  GPU memory: not checked, there is no GPU here (--gpu H100 --gpus 8 describes a machine with some)"


def find_faults(
    run_config: RunConfig,
    machine: Machine | None = None,
    profile: Path | None = None,
    lookup: Lookup | None = None,
) -> Iterator[HealError]:
    """Everything that is wrong with a run's models, data and machine; `where` begins with the config's field."""
    lookup = lookup or Lookup(run_config)
    for field, check in list_checks(lookup, machine or Machine(), profile):
        try:
            yield from check() or ()
        except HealError as error:
            yield HealError(error.problem, where=f"{field}: {error.where}" if error.where else field, fix=error.fix)


def list_checks(lookup: Lookup, machine: Machine, profile: Path | None) -> Iterator[NamedCheck]:
    """All checks of a run."""
    experiment = lookup.run_config.experiment
    yield "engine.backend", partial(check_installed, experiment.engine)
    yield "GPUs", partial(check_driver, experiment)
    yield "train", partial(tracking.check, experiment.train.report_to, "report_to")
    yield from list_model_checks(lookup)
    yield from list_data_checks(lookup)
    for field, model in list_models(experiment).items():
        yield field, partial(check_licenses, experiment, field, model)
        yield field, partial(check_lengths, lookup, field, model)
        yield field, partial(check_gpu_memory, lookup, field, model, machine)
    yield "GPUs", partial(check_gpu_count, experiment, machine)
    yield "machine", partial(check_host, lookup, machine)
    if profile:
        yield "--workflow-profile", partial(check_profile, lookup, profile)


def list_model_checks(lookup: Lookup) -> Iterator[NamedCheck]:
    """Every teacher, every student, and pairs where a student learns from a teacher's probabilities."""
    experiment = lookup.run_config.experiment
    for name, teacher in experiment.teachers.items():
        yield f"teachers.{name}", partial(check_teacher, teacher, lookup)
    for name, student in experiment.students.items():
        yield f"students.{name}", partial(check_student, student, lookup)
    if any(method.distillation for method in lookup.run_config.methods.values()):
        for teacher_name, teacher in experiment.teachers.items():
            for student_name, student in experiment.students.items():
                field = f"teachers.{teacher_name}, students.{student_name}"
                yield field, partial(check_pair, teacher, student, lookup)


def list_data_checks(lookup: Lookup) -> Iterator[NamedCheck]:
    """Every problem set."""
    experiment = lookup.run_config.experiment
    fields = {"train": "problems.train", "dev": "problems.dev"}
    fields |= {name: f"problems.test.{name}" for name in experiment.problems.test}
    for split, field in fields.items():
        yield field, partial(check_problems, lookup, split)


def check_problems(lookup: Lookup, split: str) -> None:
    """Raises HealError where a problem set cannot be loaded."""
    check_dataset_access(lookup.run_config.get_split(split))
    lookup.get_questions(split)
