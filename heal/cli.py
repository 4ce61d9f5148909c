"""The `heal` command: look at a configuration before anything runs.

heal check --config config/config.yaml      # the same checks as the workflow makes, without it
heal methods                                # every method found, with paper and options
"""

from __future__ import annotations

import argparse

from heal import config, registry
from heal.errors import exit_with_errors


def check(path: str) -> None:
    experiment = config.load(path)
    methods = registry.resolve(experiment, where=path)
    students = len(experiment.teachers) * experiment.draws * len(experiment.students) * experiment.seeds
    print(f"{path}: run {experiment.run!r} is well-formed.")
    for title, names in (("main table", experiment.methods), ("ablations", experiment.ablations)):
        print(f"  {title}: {len(names)} methods, {len(names) * students} students to train: {', '.join(names)}")
    needed = sorted({file for method in methods.values() for file in method.needs()})
    print(f"  trace files per teacher and draw: {', '.join(needed)}")


def methods() -> None:
    for kind, method in sorted(registry.discover().items()):
        print(f"{kind}: {method.summary}\n  paper: {method.paper}")
        for name, field in method.Options.model_fields.items():
            description = " ".join((field.description or "").split())
            default = "the section of the config" if name in config.Experiment.model_fields else repr(field.default)
            print(f"  {name} (default: {default}): {description}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="heal", description="Look at a HEAL experiment before anything runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check a config file as the workflow would")
    checking.add_argument("--config", default="config/config.yaml", help="the file (default: %(default)s)")
    commands.add_parser("methods", help="list the methods found, with paper and options")
    arguments = parser.parse_args()
    if arguments.command == "check":
        check(arguments.config)
    else:
        methods()


def run() -> None:
    """The console script."""
    exit_with_errors(main)


if __name__ == "__main__":
    run()
