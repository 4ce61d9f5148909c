"""The `heal` command: look at a configuration before anything runs, and hand a student on.

Reads a config, and what it names: models, data sets, endpoints, files of traces, a finished run, a student. Prints.

    heal check --config config/config.yaml      # as the workflow checks it; models, data sets and endpoints too
    heal methods                                # every method found, with paper and options
    heal import traces.jsonl                    # check traces that somebody already has, and say how to use them
    heal plan --config config/config.yaml       # what the run will cost, before anything is spent
    heal plan --from results/mini               # the plan beside what that run took
    heal push STUDENT --repo NAME/REPOSITORY    # a finished student to the hub; without --yes it only tells
"""

from __future__ import annotations

import os
import sys

from heal import registry
from heal.command import command_parser
from heal.config import experiment as config
from heal.config.data import Dataset
from heal.data import load_problems as problems
from heal.errors import HealError, exit_with_errors
from heal.pipeline import import_traces as imported
from heal.planning import ledger as plan_ledger
from heal.planning import report as plan_report
from heal.training import push


def check(path: str, fields_only: bool) -> None:
    experiment = config.load(path)
    methods = registry.resolve(experiment, where=path)
    students = (
        len(experiment.teachers) * experiment.teacher_seeds * len(experiment.students) * experiment.training_seeds
    )
    print(f"{path}: run {experiment.run!r} is well-formed.")
    tables = registry.comparisons(experiment, where=path)
    further = {
        kind: [name for name in tables[kind].methods if name not in tables["ablations"].methods] for kind in tables
    }
    shown = {"main table": experiment.methods, "ablations": experiment.ablations}
    for title, names in (shown | {kind: names for kind, names in further.items() if names}).items():
        print(f"  {title}: {len(names)} methods, {len(names) * students} students to train: {', '.join(names)}")
    needed = sorted({file for method in methods.values() for file in method.needs()})
    print(f"  trace files per teacher and draw: {', '.join(needed)}", flush=True)
    if fields_only:
        return
    from heal.planning.preflight import faults

    found = list(faults(experiment))
    for fault in found:
        print(fault, file=sys.stderr)
    if found:
        raise HealError(f"{len(found)} faults in models and data", where=path, fix="mend those above, and check again")
    print("  models and data sets: all there, and as they should be")


def methods() -> None:
    for kind, method in sorted(registry.discover().items()):
        print(f"{kind}: {method.summary}\n  paper: {method.paper}")
        for name, field in method.Options.model_fields.items():
            description = " ".join((field.description or "").split())
            default = "the section of the config" if name in config.Experiment.model_fields else repr(field.default)
            print(f"  {name} (default: {default}): {description}")


def import_traces(path: str) -> None:
    traces = imported.read_traces(path)
    problems.collect(Dataset(source="file", path=path), seed=0)  # the same rows, as problems
    print(f"{path}: {len(traces)} problems with {sum(map(len, traces.values()))} traces. In a config:")
    print(f"  problems:\n    train: {{source: file, path: {path}}}")
    print(f"  teachers:\n    name: {{path: the model that scores and repairs them, traces: {path}}}")


def main() -> None:
    parser = command_parser(__doc__)
    parser.prog = "heal"
    commands = parser.add_subparsers(dest="command", required=True)
    does = {
        "check": "check a config file as the workflow would",
        "methods": "list the methods found, with paper and options",
        "import": "check a file of traces and say how to use it",
        "plan": "what a run will cost, or what one cost beside its plan",
        "push": "send a finished student to the hub",
    }
    checking, _, importing, planning, pushing = (
        commands.add_parser(name, help=said, description=said) for name, said in does.items()
    )
    checking.add_argument("--config", default="config/config.yaml", help="the file (default: %(default)s)")
    checking.add_argument("--fields-only", action="store_true", help="leave models, data sets and endpoints alone")
    importing.add_argument("file", help="jsonl or parquet: question, answer, trace or traces")
    plan_report.add_arguments(planning)
    push.add_arguments(pushing)
    arguments = parser.parse_args()
    if arguments.command == "check":
        check(arguments.config, arguments.fields_only)
    elif arguments.command == "import":
        import_traces(arguments.file)
    elif arguments.command == "plan":
        (plan_ledger if arguments.run else plan_report).command(arguments)
    elif arguments.command == "push":
        push.command(arguments)
    else:
        methods()
    sys.stdout.flush()


def run() -> None:
    """The console script."""
    try:
        exit_with_errors(main)
    except BrokenPipeError:  # `heal plan | head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run()
