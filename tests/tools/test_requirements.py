"""The conda environments have the pins of the lock files."""

from __future__ import annotations

import pytest
import yaml

from tests.support.paths import ROOT


@pytest.mark.parametrize(("lock", "file"), [("cpu", "environment.yml"), ("gpu", "environment-gpu.yml")])
def test_conda_users_get_the_same_pins(lock, file):
    lines = (ROOT / f"requirements/{lock}.txt").read_text().splitlines()
    locked = [line for line in lines if not line.startswith("#")]
    environment = yaml.safe_load((ROOT / file).read_text())
    assert next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict)) == locked
    requirements = [line.split("#")[0].strip() for line in (ROOT / f"requirements/{lock}.in").read_text().splitlines()]
    assert {line for line in requirements if "==" in line} <= {line.replace("_", "-") for line in locked}
