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
    content = yaml.safe_load(path.read_text())
    change(content)
    return validate(config.Experiment, content, where=str(path))


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
