"""HEAL as a method: its switches are named variants, and PURE only drops."""

from typing import get_args

import pytest

from heal import registry
from heal.config import experiment as config
from heal.method.base import Traces
from heal.method.detectors import list_detectors
from tests.support.paths import ROOT
from tests.support.trace_folder import METHODS, make_examples

GPU_ONLY = {"teacher"}  # a hint that the mini teacher cannot give


def list_values(options, *fields):
    """(field, value) for every value that these switches of a group of options can take."""
    return [(field, value) for field in fields for value in get_args(options.model_fields[field].annotation)]


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("gear", "detector", name) for name in list_detectors()]
    + [("hint", *pair) for pair in list_values(config.Hint, "source", "place")]
    + [("pure", *pair) for pair in list_values(config.Pure, "rule", "scope")]
    + [("pace", *pair) for pair in list_values(config.Pace, "schedule")],
)
def test_every_switch_of_the_method_is_a_named_variant(section, field, value):
    preset = "single_gpu.yaml" if value in GPU_ONLY else "config.yaml"
    experiment = config.load(ROOT / "config" / preset)
    variants = registry.resolve_gear_variants(experiment)
    values = set()
    for method in registry.resolve_methods(experiment).values():
        if method.name == "heal":
            gear = variants[method.variant]
            sections = {"gear": gear, "hint": gear.hint, "pure": method.options.pure, "pace": method.options.pace}
            values.add(getattr(sections[section], field))
    assert value in values, f"add a variant with {field}: {value} to {preset}"


def test_without_pure_nothing_is_dropped(trace_folder):
    with_pure, without = make_examples("heal", trace_folder), make_examples("heal_no_pure", trace_folder)
    assert {e.origin_id for e in with_pure} < {e.origin_id for e in without}


def test_pure_drops_its_share_of_stage_two_too_unless_told_otherwise(trace_folder):
    def read_guided(name):
        method = METHODS[name]
        traces = Traces(trace_folder, trace_folder / "train.parquet", method.needs(), 0)
        return {row["trace_id"] for rows in method.read_guided(traces).values() for row in rows}

    everything, kept = read_guided("heal_unfiltered_guided"), read_guided("heal")
    share = METHODS["heal"].options.pure.drop_share
    assert kept < everything and len(everything) - len(kept) == int(share * len(everything))
    assert read_guided("heal_no_pure") == everything
