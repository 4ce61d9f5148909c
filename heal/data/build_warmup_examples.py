"""Build the worked examples that a model is warmed up on before the run uses it, by the world in its `warm_up` section.

Reads the run's prompts, so that the examples have the questions and hints of the run; writes curriculum rows for
`heal train`.

    heal build-warmup-examples --config config/smol.yaml --role teachers --name taught --out examples.jsonl
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from heal import records
from heal.command import Command, Section
from heal.config.data import WarmUpData
from heal.config.experiment import Guided, Hint
from heal.provenance import record_run
from heal.worlds.base import Prompts
from heal.worlds.registry import get_world, resolve_warmup_options

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""


class BuildWarmupExamples(Command):
    role: Literal["teachers", "students"] | None = None
    """Section of the config with the model; not needed where --examples.world and its options are given."""
    name: str | None = None
    """Name of the model there."""
    examples: Annotated[WarmUpData, Section("warm_up_examples.{role}.{name}")]
    """The world that builds the examples, and its options."""
    instruction: Annotated[str, Section("problems.instruction")] = ""
    """Text after every question and a blank line."""
    guided_template: Annotated[str, Section("guided.template")] = Guided().template
    """User turn that contains the answer."""
    hint_template: Annotated[str, Section("gear.hint.template")] = Hint().template
    """Hint that is injected mid-trace."""
    seed: Annotated[int, Section("seed")] = 0
    """Base seed of the run."""
    out: Path
    """The jsonl file to write."""

    def run(self) -> None:
        facts: dict[str, Any] = {"options": self.describe_options(), "seeds": [self.seed]}
        with record_run(self.out, "build-warmup-examples", VERSION, facts):
            world = get_world(self.examples.world, field="examples.world")
            options = resolve_warmup_options(world.name, self.examples.options)
            prompts = Prompts(self.instruction, self.guided_template, self.hint_template)
            rows = world.build_warmup_examples(options, prompts, self.seed)
            by_source = Counter(row["source"] for row in rows)
            by_origin = Counter(row["origin"] for row in rows)
            facts["examples"] = {"by_source": by_source, "by_origin": by_origin}
            records.write_jsonl(self.out, rows)
