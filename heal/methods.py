"""List the methods: HEAL and every baseline, with paper and options.

heal methods
"""

from __future__ import annotations

from heal.command import Command
from heal.config.experiment import Experiment
from heal.registry import discover_methods


class Methods(Command):
    def run(self) -> None:
        for name, method in sorted(discover_methods().items()):
            print(f"{name}: {method.summary}\n  paper: {method.paper}")
            for option, field in method.Options.model_fields.items():
                description = " ".join((field.description or "").split())
                shared = option in Experiment.model_fields and option != "gear"
                default = "the section of the config" if shared else repr(field.default)
                print(f"  {option} (default: {default}): {description}")
