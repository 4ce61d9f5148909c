"""Which examples of a curriculum a student is trained on, with what weight, and what training.json says of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heal.errors import HealError
from heal.method.pace import STAGES
from heal.records import Row
from heal.training.conversations import NOT_SUPERVISED, Example, Skipped, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SKIP_REASONS = ("too_long", "unreadable", "template_altered")
"""Why examples are skipped; training.json lists their ids as `left_out_<reason>`."""


@dataclass(frozen=True)
class TrainingSet:
    """The examples that are trained on, in the curriculum's order, and the ids of the others."""

    rows: list[Row]
    examples: list[Example]
    too_long: list[str]
    """Ids of examples longer than `max_length`."""
    unreadable: list[str]
    """Ids of examples that the student's tokenizer cannot represent."""
    template_altered: list[str]
    """Ids of examples that the student's chat template changes."""

    def compute_weights(self, order: np.ndarray) -> np.ndarray:
        """float [examples], the weight of each, 1 on average over the exposures: another scale would change the
        learning rate. order: int [exposures], the example of each exposure."""
        weights_N = np.array([row.get("weight", 1.0) for row in self.rows])
        if (weights_N == weights_N[0]).all():
            return np.ones(len(weights_N))
        return weights_N / weights_N[order].mean()

    def describe(self, tokenizer: PreTrainedTokenizerBase, exposures_N: np.ndarray) -> Row:
        """Numbers of examples and tokens, and one example with its mask. exposures_N: int [examples]."""
        lengths, prompt_lengths = [], []
        for example in self.examples:
            lengths.append(len(example.ids))
            prompt_lengths.append(example.labels.count(NOT_SUPERVISED))
        total = int(exposures_N @ np.array(lengths))
        supervised = total - int(exposures_N @ np.array(prompt_lengths))
        ids, cut = self.examples[0].ids, prompt_lengths[0]
        return {
            "examples": len(self.rows),
            "examples_per_stage": count_stages([row["stage"] for row in self.rows]),
            "tokens": {"total": total, "supervised": supervised},
            "masked_example": {
                "id": self.rows[0]["id"],
                "not_supervised": tokenizer.decode(ids[:cut]),
                "supervised": tokenizer.decode(ids[cut:]),
            },
            "left_out_too_long": self.too_long,
            "left_out_unreadable": self.unreadable,
            "left_out_template_altered": self.template_altered,
            "eos": tokenizer.eos_token,
        }


def count_stages(stages: Sequence[int]) -> dict[str, int]:
    """PACE stage → how often it occurs."""
    counts = {str(stage): 0 for stage in STAGES}
    for stage in stages:
        counts[str(stage)] += 1
    return counts


def select_examples(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    max_length: int,
    *,
    curriculum: str,
    model: str,
    template_options: Mapping[str, Any],
) -> TrainingSet:
    """The examples of at most `max_length` tokens. Raises HealError where none is left, and as `encode`.

    curriculum, model: names for messages.
    """
    training_set = TrainingSet([], [], [], [], [])
    shortest = 0
    for row, example in zip(rows, encode(tokenizer, rows, model, template_options), strict=True):
        if isinstance(example, Skipped):
            skipped_ids = training_set.unreadable if example.reason == "unreadable" else training_set.template_altered
            skipped_ids.append(row["id"])
        elif len(example.ids) > max_length:
            training_set.too_long.append(row["id"])
            shortest = min(shortest or len(example.ids), len(example.ids))
        else:
            training_set.rows.append(row)
            training_set.examples.append(example)
    print_skipped(training_set.unreadable, len(rows), "the student's tokenizer cannot represent")
    print_skipped(training_set.template_altered, len(rows), "the student's chat template changes")
    if not training_set.rows:
        problem = f"every example is longer than max_length {max_length}"
        fix = f"raise train.max_length (the shortest has {shortest} tokens)"
        raise HealError(problem, where=curriculum, fix=fix)
    return training_set


def print_skipped(skipped_ids: Sequence[str], count: int, reason: str) -> None:
    """One line on stderr where examples are skipped. count: of all examples."""
    if skipped_ids:
        first = ", ".join(skipped_ids[:5])
        print(f"{len(skipped_ids)} of {count} examples skipped: {reason} {first}", file=sys.stderr, flush=True)
