"""Inputs of cost plans from the mini config with changes, and the `heal` command."""

import sys

import yaml

from heal import cli
from heal.config import experiment as config
from heal.config.options import validate
from heal.config.run_config import RunConfig
from heal.planning.inputs import PlanInputs, collect_inputs
from tests.support.paths import ROOT

MINI = ROOT / "config/config.yaml"


def make_experiment(change=lambda content: None, path=MINI):
    """A config's experiment with changes; the mini config in fixed sizes, so that its own can be chosen anew."""
    content = yaml.safe_load(path.read_text())
    if path == MINI:
        fix_sizes(content)
    change(content)
    return validate(config.Experiment, content, where=str(path))


def fix_sizes(content) -> None:
    content |= {"teacher_seeds": 1, "training_seeds": 3, "seeds_per_job": 3}
    content["problems"]["train"]["n"] = 500
    content["problems"]["test"]["hard"]["n"] = 150
    content["sampling"] |= {"n": 8, "shards": 2}
    content["gear"] |= {"traces_per_problem": 2, "repairs_per_trace": 4}
    content["train"]["max_steps"] = 600


def write_config(path, change=lambda content: None):
    """The experiment of `make_experiment` as a config file; returns its path."""
    path.write_text(
        yaml.safe_dump(make_experiment(change).model_dump(mode="json", exclude_unset=True), sort_keys=False)
    )
    return path


def make_inputs(change=lambda content: None, **options) -> PlanInputs:
    return collect_inputs(RunConfig(make_experiment(change), "config"), **options)


def run_cli(capsys, *words):
    """(exit status, stdout, stderr) of the `heal` command."""
    saved, sys.argv = sys.argv, ["heal", *map(str, words)]
    try:
        cli.run()
    except SystemExit as ended:
        return (ended.code or 0, *capsys.readouterr())
    finally:
        sys.argv = saved
